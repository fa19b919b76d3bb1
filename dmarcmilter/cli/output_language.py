"""The language of explanations: --lang, else that of the locale."""

import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from dmarcmilter.reasons import Language


def of_locale(environment: Mapping[str, str]) -> Language:
    """The language of the locale: the first of three variables that is set (POSIX, Environment Variables 8.2)."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if locale := environment.get(name):
            tongue = locale.partition(".")[0].partition("_")[0].lower()
            return Language.JA if tongue == Language.JA else Language.EN
    return Language.EN


def _chosen(_context: click.Context, _parameter: click.Parameter, value: Any) -> Language:
    return Language(value) if value else of_locale(os.environ)


language_option = click.option(
    "--lang",
    type=click.Choice([str(language) for language in Language]),
    callback=_chosen,
    help="The language of sentences; default: that of the locale, if it is one of these, else en.",
)


def say(text: str) -> None:
    """Print text; characters that the locale's encoding lacks become question marks."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding))
