"""`dmarcmilter health`: for Nagios, containers and people."""

import json

import click

from dmarcmilter.cli.common import config_option, json_option, load
from dmarcmilter.health import checks
from dmarcmilter.health.finding import Finding, line, worst


@click.command()
@config_option
@json_option
@click.option(
    "--skip",
    multiple=True,
    type=click.Choice(list(checks.CHECKS)),
    help="Leave that check out (may be repeated); `--skip ingest` where no database is used.",
)
def health(path: str, *, as_json: bool, skip: tuple[str, ...]) -> None:
    """Whether the filter works: socket, workers, name servers, journal, ingest.

    Prints one line. Exit status: 0 healthy, 1 degraded (mail flows, something else does not), 2 down (mail is not
    judged).
    """
    findings = list(checks.run(load(path), skip=frozenset(skip)))
    click.echo(json.dumps(_plain(findings), indent=2) if as_json else line(findings))
    raise SystemExit(int(worst(findings)))


def _plain(findings: list[Finding]) -> dict[str, object]:
    return {
        "health": worst(findings).word,
        "checks": {found.check: {"health": found.health.word, "text": found.text} for found in findings},
    }
