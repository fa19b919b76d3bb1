"""The command line, `dmarcmilter COMMAND`. No rule of mail authentication is decided here.

The module of a command is imported when the command is called: SQL, SMTP and libmilter are loaded only by the commands
that use them.
"""

import importlib
from collections.abc import Iterator, Mapping, MutableMapping
from typing import cast

import click

from dmarcmilter.build_kind import build_kind
from dmarcmilter.cli.errors import ErrorBoundary

COMMANDS = (
    "check",
    "config",
    "demo",
    "explain",
    "health",
    "history",
    "lookup",
    "quarantine",
    "replay",
    "report",
    "run",
    "stats",
)
"""Each is the name of a module of this package and of the click command in it."""


class Commands(Mapping[str, click.Command]):
    """The commands of COMMANDS by name; looking one up imports its module."""

    def __getitem__(self, name: str) -> click.Command:
        if name not in COMMANDS:
            raise KeyError(name)
        command: click.Command = getattr(importlib.import_module(f"dmarcmilter.cli.{name}"), name)
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


@click.group(
    cls=ErrorBoundary,
    commands=cast("MutableMapping[str, click.Command]", Commands()),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="dmarcmilter", message=f"%(prog)s, version %(version)s, {build_kind()}")
def main() -> None:
    """Inbound DMARC enforcement for Postfix and Sendmail."""
