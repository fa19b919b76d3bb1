"""The sentences of an explanation, one catalogue file a language; values from outside made harmless on the way in."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

MAX_VALUE = 500
"""Characters of one value that are shown: longer than any domain, key name or reason; records are cut."""
MAX_DEPTH = 3
"""A reason may hold another one (that of a seal, that of a question to DNS), which holds at most one more."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_WHOLE = frozenset({"reason", "comment", "words", "term"})
"""Placeholders of reasons that stand for words with spaces; all others are names or numbers."""


class Language(StrEnum):
    EN = "en"
    JA = "ja"


@dataclass(frozen=True, slots=True)
class Sentence:
    code: str
    """Its key in the catalogue, the same in all languages."""
    text: str
    conf: str = ""
    """Lines of the conf file that go with it, ready to paste."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    language: Language
    templates: Mapping[str, str]
    """By `section.key`."""

    def say(self, code: str, /, *, conf: str = "", **values: object) -> Sentence:
        return Sentence(code, self.word(code, **values), conf)

    def word(self, code: str, /, **values: object) -> str:
        """A text of the catalogue with its placeholders filled."""
        return self.templates[code].format(**{name: harmless(value) for name, value in values.items()})

    def has(self, code: str) -> bool:
        return code in self.templates

    def reason(self, text: str, depth: int = MAX_DEPTH) -> str:
        """One of the program's own reasons, in this language; one that it does not know is quoted."""
        recorded = harmless(text)
        code, values = recognised(recorded) if depth else ("", {})
        if not code:
            return recorded if self.language is Language.EN or not recorded else f"「{recorded}」"
        if "reason" in values:
            values["reason"] = self.reason(values["reason"], depth - 1)
        shown = code.replace("reason.", "shown.")
        return self.templates[shown if shown in self.templates else code].format(**values)


def harmless(value: object) -> str:
    """For a terminal: bounded, and what is not printable (controls, also of direction and width) as its number."""
    text = str(value)
    shown = "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in text[:MAX_VALUE])
    return shown + ("..." if len(text) > MAX_VALUE else "")


@cache
def catalogue(language: Language) -> Catalogue:
    source = resources.files("dmarcmilter.explain").joinpath(f"{language}.toml")
    return Catalogue(language, dict(_flattened(tomllib.loads(source.read_text(encoding="utf-8")))))


def _flattened(sections: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    for section, entries in sections.items():
        for key, text in entries.items():
            yield f"{section}.{key}", text


def recognised(text: str) -> tuple[str, dict[str, str]]:
    """The code of a recorded reason and the values in it; ("", {}): not one of ours."""
    for code, pattern in reason_patterns():
        if found := pattern.fullmatch(text[: 2 * MAX_VALUE]):
            return code, found.groupdict()
    return "", {}


@cache
def reason_patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """The English reasons as patterns: the catalogue is the table by which a recorded reason is recognised."""
    entries = catalogue(Language.EN).templates.items()
    return tuple((code, re.compile(_pattern(text))) for code, text in entries if code.startswith("reason."))


def _pattern(template: str) -> str:
    """Names and numbers hold no space, so that matching stays linear in practice on texts of MAX_VALUE."""
    parts = _PLACEHOLDER.split(template)
    return "".join(
        re.escape(part) if index % 2 == 0 else f"(?P<{part}>{'.+' if part in _WHOLE else r'[^ ]+?'})"
        for index, part in enumerate(parts)
    )


def placeholders(template: str) -> frozenset[str]:
    return frozenset(_PLACEHOLDER.findall(template))
