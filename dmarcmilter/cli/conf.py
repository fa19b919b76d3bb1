"""`dmarcmilter config`: check a conf file, show what is in force."""

from typing import Any

import click
import msgspec

from dmarcmilter import config as configuration
from dmarcmilter.advice import advise
from dmarcmilter.cli.common import fail
from dmarcmilter.config import ConfigError
from dmarcmilter.settings import Config


@click.group()
def config() -> None:
    """Check or show a conf file."""


@config.command("check")
@click.argument("path", metavar="FILE")
def check(path: str) -> None:
    """Validate FILE, and warn of settings that silently do not enforce.

    Exit status: 0 valid (perhaps with warnings), 2 not valid.
    """
    found = _load(path)
    warnings = advise(found)
    for warning in warnings:
        click.echo(f"warning: {warning}")
    click.echo(f"{path}: valid" + (f", {len(warnings)} warnings" if warnings else ""))


@config.command("show")
@click.argument("path", metavar="FILE", default="")
@click.option("-n", "--changed", "only_changed", is_flag=True, help="Only what differs from the defaults.")
def show(path: str, *, only_changed: bool) -> None:
    """Print the effective settings as TOML; without FILE: the defaults."""
    found = _load(path) if path else Config()
    values = configuration.changed(found) if only_changed else configuration.plain(found)
    for section, table in values.items():
        _print(section, table)


def _print(section: str, value: Any) -> None:
    """A table, with the tables in it after its own keys, or an array of tables."""
    for entry in value if isinstance(value, list) else [value]:
        click.echo(f"[[{section}]]" if isinstance(value, list) else f"[{section}]")
        inner = {key: table for key, table in entry.items() if isinstance(table, dict)}
        for key in [name for name in entry if name not in inner]:
            click.echo(f"{key} = {_toml(entry[key])}")
        click.echo()
        for key, table in inner.items():
            _print(f"{section}.{key}", table)


def _load(path: str) -> Config:
    try:
        return configuration.load(path)
    except ConfigError as error:
        fail(str(error))


def _toml(value: object) -> str:
    """Strings, numbers, booleans and lists of strings read the same in JSON and TOML."""
    return msgspec.json.encode(value).decode()
