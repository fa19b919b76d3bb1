"""The sentences of an explanation, from one catalogue file a language. Values from outside are made harmless."""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources

from dmarcmilter.reasons import Language, Reason
from dmarcmilter.value import Value

MAX_VALUE = 500
"""Characters of one value that are shown; a longer value is cut. No domain or key name is that long."""


class Sentence(Value):
    """One sentence of an explanation."""

    code: str
    """Its key in the catalogue, the same in all languages."""
    text: str
    conf: str = ""
    """Lines of the conf file that go with it, ready to paste."""


class Catalogue(Value):
    """The texts of one language."""

    language: Language
    templates: Mapping[str, str]
    """Texts with placeholders, by `section.key`."""

    def say(self, code: str, /, *, conf: str = "", **values: object) -> Sentence:
        """One sentence with its placeholders filled."""
        return Sentence(code, self.word(code, **values), conf)

    def word(self, code: str, /, **values: object) -> str:
        """A text of the catalogue with its placeholders filled."""
        return self.templates[code].format(**{name: harmless(value) for name, value in values.items()})

    def has(self, code: str) -> bool:
        """Whether the catalogue has a text of this code."""
        return code in self.templates

    def reason(self, reason: Reason | None) -> str:
        """The text of a reason in this language; empty for None."""
        return "" if reason is None else reason.explained(self.language, harmless)


def harmless(value: object) -> str:
    """A value safe for a terminal: cut at MAX_VALUE, with characters that are not printable shown as their numbers."""
    text = str(value)
    shown = "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in text[:MAX_VALUE])
    return shown + ("..." if len(text) > MAX_VALUE else "")


@cache
def catalogue(language: Language) -> Catalogue:
    """The catalogue of a language, read once."""
    source = resources.files("dmarcmilter.explain").joinpath(f"{language}.toml")
    return Catalogue(language, dict(_flattened(tomllib.loads(source.read_text(encoding="utf-8")))))


def _flattened(sections: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    for section, entries in sections.items():
        for key, text in entries.items():
            yield f"{section}.{key}", text
