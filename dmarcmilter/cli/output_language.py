"""The language that explanations are in: asked for, else the terminal's."""

import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from dmarcmilter.reasons import Language


def of_locale(environment: Mapping[str, str]) -> Language:
    """The first of the three that is set decides, as for every program (POSIX, Environment Variables 8.2)."""
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
    """To standard output, also where the locale's encoding has not all the characters of the language."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding))
