r"""Reader of forward-paths and reverse-paths, the addresses of RCPT and MAIL (RFC 5321 4.1.2, RFC 6531 3.3).

MTAs accept more than the grammar, and rewrite it before they deliver: `j\oe@a.example`, `joe(c)@a.example` and
`<@b.example:joe@a.example>` are all Joe's to Postfix. A reader that takes another address from one of them decides
about somebody else. So what is outside the grammar is not read, and what MTAs could take in two ways is not plain.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from unicodedata import normalize

from dmarcmilter.mail import domain as domains
from dmarcmilter.mail.domain import Domain

MAX_PATH = 1024
"""Bytes of a path that is read; a longer one has no mailbox. RFC 5321 4.5.3.1.3 allows 256."""
MAX_PLAIN_LOCAL = 256
"""Bytes of a plain local-part. RFC 5321 4.5.3.1.1 allows 64, and addresses for bounces are longer."""
MAX_KEPT = 256
"""Paths whose reading is remembered: several stages of a message read its reverse-path."""

# Dots may stand anywhere: Japanese mobile carriers gave out addresses such as `a..b.@example.com`, and MTAs take them.
_UNQUOTED = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\U0010ffff-]+"
_QUOTED = r'"(?:[ !#-\[\]-~\x80-\U0010ffff]|\\[ -~])*"'
_NAME = r"[A-Za-z0-9_.\x80-\U0010ffff-]+"
_PATH = re.compile(
    rf"(?P<before> *)(?P<route>@{_NAME}(?:,@{_NAME})*:)?"
    rf"(?P<local>{_UNQUOTED}|{_QUOTED}|)@(?P<domain>{_NAME})(?P<after> *)"
)
_QUOTED_PAIR = re.compile(r"\\(.)")
# Without `%` and `!`, by which MTAs route (user%domain@relay, domain!user).
_PLAIN_LOCAL = re.compile(r"[A-Za-z0-9#$&'*+/=?^_`{|}~.\x80-\U0010ffff-]+")
# Printable ASCII that needs quotes and has no part in routing (`@`, `%`, `!`, `:`, `,`).
_QUOTED_ONLY = re.compile(r"[ -~]+")
_ROUTING = re.compile(r"[@%!:,]")


@dataclass(frozen=True)
class Mailbox:
    """A Mailbox of RFC 5321 4.1.2."""

    local: str
    """The local-part as it is meant: without quotes and backslashes. What is not UTF-8 in it is surrogates."""
    domain: Domain
    plain: bool
    """Every MTA reads it as this address: no source route, no blanks, nothing in the local-part by which MTAs route or
    that needs quotes."""
    exact: bool
    """An MTA that is given just this spelling finds this recipient again: plain without quotes, or quoted as needed."""

    @cached_property
    def key(self) -> str:
        """The local-part for comparison: NFC (RFC 6532 3.1), case plays no part.

        Computed once: each [[override]] compares each recipient.
        """
        return folded(self.local)

    def is_same(self, other: "Mailbox") -> bool:
        return (self.key, self.domain) == (other.key, other.domain)


def read(raw: bytes) -> Mailbox | None:
    """The mailbox of a path without its angle brackets; None: it has none, or not in one reading.

    None for the null reverse-path, `postmaster` alone, address literals, comments, backslashes outside quotes, control
    characters and whatever else RFC 5321 does not allow. A source route is dropped, as RFC 5321 4.1.1.3 has it.
    """
    if len(raw) > MAX_PATH:
        return None
    return _read_ascii(raw) if raw.isascii() else _read(raw)


def _read(raw: bytes) -> Mailbox | None:
    found = _PATH.fullmatch(raw.decode("utf-8", "surrogateescape"))
    domain = domains.parse(found["domain"]) if found else None
    if found is None or domain is None:
        return None
    written = found["local"]
    is_quoted = written.startswith('"')
    # Splitting takes a tenth of the time that substituting does.
    local = "".join(_QUOTED_PAIR.split(written[1:-1])) if is_quoted else written
    is_bare = not (found["before"] or found["route"] or found["after"]) and _is_plain_name(found["domain"])
    plain = is_bare and _is_plain(local)
    needs_quotes = is_bare and is_quoted and written == _quoted(local) and not _PLAIN_LOCAL.fullmatch(local)
    exact = not _ROUTING.search(local) and bool(needs_quotes and _QUOTED_ONLY.fullmatch(local))
    return Mailbox(local, domain, plain, exact or (plain and not is_quoted))


@lru_cache(maxsize=MAX_KEPT)
def _read_ascii(raw: bytes) -> Mailbox | None:
    """The same, remembered: nothing in it depends on the message's LabelBudget."""
    return _read(raw)


def read_all(paths: Iterable[bytes]) -> list[Mailbox | None]:
    """The recipients of one message. Beyond domains.MAX_MAPPED characters of U-labels further such domains are None:
    an MTA may take a thousand recipients, each of which would cost a millisecond.
    """
    with domains.LabelBudget():
        return [read(path) for path in paths]


def is_null(raw: bytes) -> bool:
    """The null reverse-path. MTAs take blanks between the angle brackets for it too."""
    return not raw.strip(b" \t")


def folded(local: str) -> str:
    return normalize("NFC", normalize("NFC", local).casefold())


def _is_plain(local: str) -> bool:
    if not _PLAIN_LOCAL.fullmatch(local) or len(local.encode("utf-8", "surrogateescape")) > MAX_PLAIN_LOCAL:
        return False
    return not _could_be_another(local)


def _is_plain_name(domain: str) -> bool:
    return not (domain.endswith(".") or "\u3002" in domain or _could_be_another(domain))


def _could_be_another(text: str) -> bool:
    """Whether some MTA may take it for another text, without what does not print or with ASCII in its place."""
    return not text.isascii() and (not text.isprintable() or any(map(_could_be_ascii, text)))


def _could_be_ascii(char: str) -> bool:
    """Whether it becomes ASCII when case is folded or compatibility is mapped, as U+017F (long s) becomes `s`."""
    return not char.isascii() and any(one.isascii() for one in normalize("NFKC", char.casefold()).casefold())


def _quoted(local: str) -> str:
    """With no more backslashes than needed."""
    return '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'
