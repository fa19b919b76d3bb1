"""What several commands share."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click

from dmarcmilter.cli.errors import EXIT_ERROR, permission_advice
from dmarcmilter.config import load as configuration
from dmarcmilter.config.load import ConfigError
from dmarcmilter.config.schema import Config
from dmarcmilter.config_check import systemd_unit
from dmarcmilter.daemon import log_output, privileges
from dmarcmilter.dns import Resolver, system_nameservers
from dmarcmilter.postfix import accounts
from dmarcmilter.postfix.accounts import Account, acting_as

__all__ = ["EXIT_ERROR", "config_option", "fail", "json_option", "load", "make_private", "resolver"]

PROGRAM = (os.__file__, __file__)
"""Files that whoever runs this program must be able to read: Python's own, and ours."""

config_option = click.option(
    "--config",
    "path",
    default="",
    metavar="FILE",
    help=f"The conf file; default: {configuration.DEFAULT_PATH} if it exists, else the defaults.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def make_private() -> None:
    """What this command makes is nobody else's; its caller's mask comes back when it ends."""
    before = privileges.keep_private()
    click.get_current_context().call_on_close(lambda: os.umask(before))


def fail(message: str) -> NoReturn:
    click.echo(log_output.with_priority(f"dmarcmilter: {message}", logging.ERROR), err=True)
    raise SystemExit(EXIT_ERROR)


def load(path: str) -> Config:
    """The conf file named, else the one at the default path, else the defaults."""
    path = path or default_path()
    try:
        return configuration.load(path) if path else Config()
    except ConfigError as error:
        advice = f": {permission_advice(path)}" if isinstance(error.__cause__, PermissionError) else ""
        fail(f"{error}{advice}")


def default_path() -> str:
    """The default conf file; empty: there is none. One that this user may not read is there all the same."""
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
    """Run by root: until the command ends, take the rights of the user that the filter runs as.

    So that no file of root's appears among the filter's own, which the filter could then not write.
    """
    account = filters_account(config, path)
    with acting_as(account):
        # A program in a folder of root's could not load the rest of itself.
        can_load = all(os.access(needed, os.R_OK, effective_ids=True) for needed in PROGRAM)
    if account is not None and can_load:
        click.get_current_context().with_resource(acting_as(account))


def filters_account(config: Config, path: str) -> Account | None:
    """The owner of the journal or of the folder that it is in, else the user of the unit; None: stay who we are.

    Only root can become another user. The unit counts for the conf file at the default path, which it names.
    """
    if os.geteuid() != 0:
        return None
    journal = Path(config.history.journal)
    for folder in (journal, journal.parent):
        with suppress(OSError):
            if (owner := folder.stat().st_uid) != 0:
                return accounts.by_uid(owner)
    unit = systemd_unit.find() if path in {"", configuration.DEFAULT_PATH} else None
    return accounts.account(unit.user, group=unit.group, more_groups=unit.groups) if unit is not None else None
