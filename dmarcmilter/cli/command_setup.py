"""Shared by the commands: the conf file and its options, the resolver, the filter's user, ending with an error."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click

from dmarcmilter.cli.errors import EXIT_ERROR, permission_advice
from dmarcmilter.config import account_rights
from dmarcmilter.config import load as configuration
from dmarcmilter.config.account_rights import Account, acting_as
from dmarcmilter.config.load import ConfigError
from dmarcmilter.config.schema import Config
from dmarcmilter.config_check import systemd_unit_reader
from dmarcmilter.daemon import log_output, privileges
from dmarcmilter.dns.resolver import Resolver, system_nameservers

__all__ = ["EXIT_ERROR", "config_option", "fail", "json_option", "load", "make_private", "resolver"]

PROGRAM_FILES = (os.__file__, __file__)
"""One file of Python's library and one of this package: a user who cannot read them cannot run the program."""

config_option = click.option(
    "--config",
    "path",
    default="",
    metavar="FILE",
    help=f"The conf file; default: {configuration.DEFAULT_PATH} if it exists, else the defaults.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def make_private() -> None:
    """Keep files that this command makes readable by their owner alone; restore the umask when it ends."""
    before = privileges.keep_private()
    click.get_current_context().call_on_close(lambda: os.umask(before))


def fail(message: str) -> NoReturn:
    """Print one line on standard error and end with EXIT_ERROR."""
    click.echo(log_output.with_priority(f"dmarcmilter: {message}", logging.ERROR), err=True)
    raise SystemExit(EXIT_ERROR)


def load(path: str) -> Config:
    """Load the named conf file, else the one at the default path, else the defaults; `fail` where it is not valid."""
    path = path or default_path()
    try:
        return configuration.load(path) if path else Config()
    except ConfigError as error:
        advice = f": {permission_advice(path)}" if isinstance(error.__cause__, PermissionError) else ""
        fail(f"{error}{advice}")


def default_path() -> str:
    """The path of the default conf file, also where this user may not read it; empty when there is none."""
    try:
        os.stat(configuration.DEFAULT_PATH)  # noqa: PTH116  Path.exists raises for a folder that may not be entered
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError:
        pass
    return configuration.DEFAULT_PATH


def resolver(config: Config) -> Resolver:
    return Resolver(config.dns.servers() or system_nameservers(), timeout=config.dns.timeout)


def act_as_filters_user(config: Config, path: str) -> None:
    """Run by root: take the rights of the user that the filter runs as, until the command ends.

    Otherwise the command would make files of root's among the filter's own, which the filter could not write.
    """
    account = filters_account(config, path)
    with acting_as(account):
        # A program installed where only root may read could not load the rest of its modules.
        can_load = all(os.access(file, os.R_OK, effective_ids=True) for file in PROGRAM_FILES)
    if account is not None and can_load:
        click.get_current_context().with_resource(acting_as(account))


def filters_account(config: Config, path: str) -> Account | None:
    """The owner of the journal or of its parent folder, else the user of systemd's unit; None: keep the current user.

    Only root can become another user. The unit is used only with the conf file at the default path, which it names.
    """
    if os.geteuid() != 0:
        return None
    journal = Path(config.history.journal)
    for folder in (journal, journal.parent):
        with suppress(OSError):
            if (owner := folder.stat().st_uid) != 0:
                return account_rights.by_uid(owner)
    unit = systemd_unit_reader.find() if path in {"", configuration.DEFAULT_PATH} else None
    return account_rights.account(unit.user, group=unit.group, more_groups=unit.groups) if unit is not None else None
