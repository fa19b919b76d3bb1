"""What several commands share."""

import logging
import os
from pathlib import Path
from typing import NoReturn

import click

from dmarcmilter import config as configuration
from dmarcmilter import log_output, privileges
from dmarcmilter.config import ConfigError
from dmarcmilter.resolver import Resolver, system_nameservers
from dmarcmilter.settings import Config

EXIT_ERROR = 2

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
    """The conf file named, else the one at the usual place, else the defaults."""
    if not path and Path(configuration.DEFAULT_PATH).exists():
        path = configuration.DEFAULT_PATH
    try:
        return configuration.load(path) if path else Config()
    except ConfigError as error:
        fail(str(error))


def resolver(config: Config) -> Resolver:
    return Resolver(config.dns.servers() or system_nameservers(), timeout=config.dns.timeout)
