"""The public suffix list: for Organizational Domains by RFC 7489 3.2, and to guard the tree walk.

The newest of three lists is used: the operator's, the system's, and that of the package publicsuffixlist. The list in
publicsuffix2, of 2019, is the fallback. The lookup of publicsuffix2 is not used, because it treats every name above a
rule as a rule and lacks the `*` default (https://publicsuffix.org/list/, algorithm): `SuffixRules.suffix_length`
replaces it. Its parser takes a tenth of a second, which each command and each start of the filter would wait for.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Self

import publicsuffix2
import publicsuffixlist

from dmarcmilter.mail.domain import Domain, labels
from dmarcmilter.value import Value, replace

OPERATOR_LIST = "/var/lib/dmarcmilter/public_suffix_list.dat"
"""Path where the operator may put a newer list than the system's."""
SYSTEM_LIST = "/usr/share/publicsuffix/public_suffix_list.dat"
"""Path of the list in the distribution's package publicsuffix."""

MAX_FILE = 8 * 1024 * 1024
"""Largest list accepted, in bytes; the real one has about 330,000. A larger file is not used."""
MIN_RULES = 5000
"""Fewest rules of a list at a default path; one with fewer, as after a truncated download, is not used. The real list
has 10,000."""
MIN_RULES_NAMED = 1
"""Fewest rules of a list whose path the operator set; one without any rule is refused."""

_RULE = re.compile(r"(?:\*\.|!)?[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63}){0,40}")
_VERSION = re.compile(r"//[ \t]*VERSION:[ \t]*(\d{4}-\d{2}-\d{2})")
_VERSION_LINES = 50
"""Lines at the beginning of a list in which its VERSION line is looked for."""


class SuffixListError(Exception):
    """A list cannot be used. The text is for the operator."""


class SuffixRules(Value):
    """The rules of a list by kind."""

    exact: frozenset[str]
    wildcards: frozenset[str]
    """Wildcard rules, without the `*.`."""
    exceptions: frozenset[str]

    @classmethod
    def of(cls, rules: Iterable[str]) -> Self:
        exact, wildcards, exceptions = set(), set(), set()
        for rule in rules:
            if rule.startswith("!"):
                exceptions.add(rule[1:])
            elif rule.startswith("*."):
                wildcards.add(rule[2:])
            else:
                exact.add(rule)
        return cls(frozenset(exact), frozenset(wildcards), frozenset(exceptions))

    def merged(self, other: Self) -> "SuffixRules":
        """The rules of both."""
        return SuffixRules(
            self.exact | other.exact, self.wildcards | other.wildcards, self.exceptions | other.exceptions
        )

    @property
    def count(self) -> int:
        return len(self.exact) + len(self.wildcards) + len(self.exceptions)

    def suffix_length(self, parts: list[str]) -> int:
        """Number of labels of the public suffix: by an exception, else the longest rule, else `*` (the last label)."""
        for start in range(len(parts)):
            name = ".".join(parts[start:])
            if name in self.exceptions:
                return len(parts) - start - 1
            if name in self.exact or ".".join(parts[start + 1 :]) in self.wildcards:
                return len(parts) - start
        return 1


class Suffixes(Value):
    """A public suffix list in use."""

    source: str
    """Path of the list."""
    version: str
    """Date of the list (year-month-day); empty: unknown."""
    skipped: tuple[str, ...]
    """Messages about lists that could not be used, and about lines that are not rules."""
    all_rules: SuffixRules
    icann_rules: SuffixRules

    @classmethod
    def load(cls, path: str = "") -> Self:
        """Load this file, or the newest list; SuffixListError if none can be used."""
        if path:
            return cls._read(Path(path), at_least=MIN_RULES_NAMED, skipped=())
        beside = Path(publicsuffixlist.__file__).with_name("public_suffix_list.dat")
        candidates = [file for file in (Path(OPERATOR_LIST), Path(SYSTEM_LIST), beside) if _is_file(file)]
        skipped: tuple[str, ...] = ()
        for file in sorted(candidates, key=_list_date, reverse=True):
            try:
                return cls._read(file, at_least=MIN_RULES, skipped=skipped)
            except SuffixListError as error:
                skipped = (*skipped, str(error))
        # The last choice: the list is of 2019, and the date of the file only says when it was installed.
        return cls._read(Path(publicsuffix2.PSL_FILE), at_least=MIN_RULES, skipped=skipped, dated=False)

    @classmethod
    def _read(cls, file: Path, *, at_least: int, skipped: tuple[str, ...], dated: bool = True) -> Self:
        try:
            with file.open("rb") as stream:
                raw = stream.read(MAX_FILE + 1)
        except OSError as error:
            raise SuffixListError(f"public suffix list {file}: {error.strerror or error}") from error
        if len(raw) > MAX_FILE:
            raise SuffixListError(f"public suffix list {file}: larger than {MAX_FILE} bytes")
        suffixes = cls.of_text(raw.decode("utf-8", "replace"), source=str(file), skipped=skipped)
        count = suffixes.all_rules.count
        if count < at_least:
            raise SuffixListError(f"public suffix list {file}: {count} rules, fewer than {at_least}")
        return replace(suffixes, version=_list_date(file) if dated else "")

    @classmethod
    def of_text(cls, text: str, *, source: str = "", skipped: tuple[str, ...] = ()) -> Self:
        """The rules of a list in the format of https://publicsuffix.org/list/."""
        icann, private, unread = _sections(text)
        if unread:
            skipped = (*skipped, f"public suffix list {source}: {unread} lines are not rules and were skipped")
        icann_rules = SuffixRules.of(icann)
        return cls(
            source=source,
            version="",
            skipped=skipped,
            all_rules=icann_rules.merged(SuffixRules.of(private)),
            icann_rules=icann_rules,
        )

    def organizational_domain(self, domain: Domain) -> Domain | None:
        """The public suffix and one more label (RFC 7489 3.2); None: the name is itself a public suffix."""
        parts = labels(domain)
        length = self.all_rules.suffix_length(parts) + 1
        return Domain(".".join(parts[-length:])) if len(parts) >= length else None

    def registered_domain(self, domain: Domain) -> Domain | None:
        """The public suffix by the ICANN section alone and one more label: the name that was registered."""
        parts = labels(domain)
        length = self.icann_rules.suffix_length(parts) + 1
        return Domain(".".join(parts[-length:])) if len(parts) >= length else None

    def is_icann_suffix(self, domain: Domain) -> bool:
        """Whether it is a public suffix of the ICANN section, or a top-level domain without a rule.

        The parent of a wildcard rule (`ck` of `*.ck`) counts too: registered names lie below it.
        """
        parts = labels(domain)
        return domain in self.icann_rules.wildcards or self.icann_rules.suffix_length(parts) == len(parts)


def _is_file(file: Path) -> bool:
    """Whether the file exists; a file in a folder that this user may not enter counts as missing."""
    try:
        return file.is_file()
    except OSError:
        return False


def _list_date(file: Path) -> str:
    """Date of a list (year-month-day): from its VERSION line, else from the modification time of the file."""
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            head = list(islice(lines, _VERSION_LINES))
        changed = file.stat().st_mtime
    except OSError:
        return ""
    version = next(filter(None, map(_VERSION.match, head)), None)
    return version[1] if version else datetime.fromtimestamp(changed, UTC).strftime("%Y-%m-%d")


def _sections(text: str) -> tuple[list[str], list[str], int]:
    """ICANN rules (all outside the PRIVATE markers), private rules, and the number of lines that are not rules."""
    icann: list[str] = []
    private: list[str] = []
    unread = 0
    section = icann
    for line in text.splitlines():
        if line.startswith("//"):
            if "===BEGIN PRIVATE" in line:
                section = private
            elif "===END PRIVATE" in line:
                section = icann
            continue
        words = line.split(maxsplit=1)
        if not words:
            continue
        rule = _to_ascii(words[0])
        if rule is None:
            unread += 1
        else:
            section.append(rule)
    return icann, private, unread


def _to_ascii(word: str) -> str | None:
    """A rule in A-labels; None: not a rule. The list's U-labels are the same in IDNA 2003 and 2008."""
    try:
        rule = word.lower() if word.isascii() else word.encode("idna").decode("ascii")
    except UnicodeError:
        return None
    return rule if _RULE.fullmatch(rule) else None
