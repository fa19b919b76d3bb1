"""The texts of all reason codes, one file for each language."""

import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from importlib import resources

from dmarcmilter.reasons.code import Code
from dmarcmilter.value import Value

PLACEHOLDER = re.compile(r"\{(\w+)\}")
"""Pattern of a parameter in a text."""


class Language(StrEnum):
    """A language in which reasons have texts."""

    EN = "en"
    JA = "ja"


class Texts(Value):
    """The templates of one language, by code."""

    text: Mapping[str, str]
    """Texts for records and reports; every code has one."""
    explained: Mapping[str, str]
    """Texts shown to people instead; some codes have one."""


@cache
def texts(language: Language) -> Texts:
    """The catalogue of a language, read once."""
    file = resources.files("dmarcmilter.reasons").joinpath(f"{language}.toml")
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    return Texts(tables["text"], tables.get("explained", {}))


def placeholders(template: str) -> frozenset[str]:
    """The names of the parameters in a text."""
    return frozenset(PLACEHOLDER.findall(template))


@cache
def parameters_of(code: Code) -> frozenset[str]:
    """The names of the parameters that a code has."""
    return placeholders(texts(Language.EN).text[code])
