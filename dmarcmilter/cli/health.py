"""`dmarcmilter health`: for Nagios, containers and people."""

import json
from collections.abc import Callable
from typing import Final

import click

from dmarcmilter.build_kind import build_kind
from dmarcmilter.cli.command_setup import config_option, default_path, json_option, load
from dmarcmilter.config.schema import Config
from dmarcmilter.config_check import files_and_mta_health
from dmarcmilter.config_check.environment import Environment, of_running_filter
from dmarcmilter.health import checks
from dmarcmilter.health.check_result import CheckResult, line, worst

CHECKS: Final[dict[str, Callable[[Config, Environment], CheckResult]]] = {
    "socket": lambda config, _: checks.milter_socket(config),
    "workers": lambda config, _: checks.workers(config),
    "dns": lambda config, _: checks.name_servers(config),
    "journal": files_and_mta_health.journal,
    "ingest": lambda config, _: checks.ingest(config),
    "files": files_and_mta_health.filters_files,
    "mta": files_and_mta_health.mta,
}
"""All checks by name, in the order in which they run and are shown."""


@click.command()
@config_option
@json_option
@click.option(
    "--skip",
    multiple=True,
    type=click.Choice(list(CHECKS)),
    help="Leave out this check (may be repeated); use `--skip ingest` without a database.",
)
@click.option(
    "--user", default="", metavar="NAME", help="The user that the filter runs as; default: that of the running filter."
)
@click.option("--postfix", "postfix_directory", default="", metavar="DIR", help="Postfix's configuration directory.")
def health(path: str, user: str, postfix_directory: str, *, as_json: bool, skip: tuple[str, ...]) -> None:
    """Check that the filter works: socket, workers, name servers, journal, ingest, files, and Postfix.

    Run by root it tries the rights of the filter's user and of Postfix's. Prints one line, which ends with compiled or
    interpreted: how this installation's mail path runs. Exit status: 0 healthy, 1 degraded (mail flows, something else
    does not), 2 down (mail is deferred or not evaluated).
    """
    config = load(path)
    environment = of_running_filter(
        config.milter.socket, path or default_path(), user, postfix_directory=postfix_directory
    )
    results = [check(config, environment) for name, check in CHECKS.items() if name not in skip]
    click.echo(json.dumps(_plain(results), indent=2) if as_json else line(results))
    raise SystemExit(int(worst(results)))


def _plain(results: list[CheckResult]) -> dict[str, object]:
    return {
        "health": worst(results).word,
        "build": build_kind(),
        "checks": {result.check: {"health": result.health.word, "text": result.text} for result in results},
    }
