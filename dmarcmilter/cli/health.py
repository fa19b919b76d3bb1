"""`dmarcmilter health`: for Nagios, containers and people."""

import json

import click

from dmarcmilter.cli.support import config_option, default_path, json_option, load
from dmarcmilter.config_check.environment import of_running_filter
from dmarcmilter.health import checks
from dmarcmilter.health.finding import Finding, line, worst


@click.command()
@config_option
@json_option
@click.option(
    "--skip",
    multiple=True,
    type=click.Choice(list(checks.CHECKS)),
    help="Leave out this check (may be repeated); use `--skip ingest` without a database.",
)
@click.option(
    "--user", default="", metavar="NAME", help="The user that the filter runs as; default: that of the running filter."
)
@click.option("--postfix", "postfix_directory", default="", metavar="DIR", help="Postfix's configuration directory.")
def health(path: str, user: str, postfix_directory: str, *, as_json: bool, skip: tuple[str, ...]) -> None:
    """Check that the filter works: socket, workers, name servers, journal, ingest, files, and Postfix.

    Run by root it tries the rights of the filter's user and of Postfix's. Prints one line. Exit status: 0 healthy, 1
    degraded (mail flows, something else does not), 2 down (mail is deferred or not evaluated).
    """
    config = load(path)
    scene = of_running_filter(config.milter.socket, path or default_path(), user, postfix_directory=postfix_directory)
    findings = list(checks.run(config, scene, skip=frozenset(skip)))
    click.echo(json.dumps(_plain(findings), indent=2) if as_json else line(findings))
    raise SystemExit(int(worst(findings)))


def _plain(findings: list[Finding]) -> dict[str, object]:
    return {
        "health": worst(findings).word,
        "checks": {found.check: {"health": found.health.word, "text": found.text} for found in findings},
    }
