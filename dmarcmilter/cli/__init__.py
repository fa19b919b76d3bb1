"""The commands. Thin: no rule of mail authentication lives here."""

import click

from dmarcmilter.cli.check import check
from dmarcmilter.cli.common import fail
from dmarcmilter.cli.config import config
from dmarcmilter.cli.demo import demo
from dmarcmilter.cli.errors import Program
from dmarcmilter.cli.explain import explain
from dmarcmilter.cli.health import health
from dmarcmilter.cli.history import history
from dmarcmilter.cli.lookup import lookup
from dmarcmilter.cli.quarantine import quarantine
from dmarcmilter.cli.replay import replay
from dmarcmilter.cli.report import report
from dmarcmilter.cli.stats import stats
from dmarcmilter.daemon import privileges
from dmarcmilter.daemon.privileges import PrivilegesError


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dmarcmilter")
def main() -> None:
    """Inbound DMARC enforcement for Postfix and Sendmail."""


@main.command()
@click.option("--config", "path", default="", metavar="FILE", help="The conf file; without it: the defaults.")
@click.option("--user", default="", metavar="NAME", help="Started by root: become this user before anything is opened.")
def run(path: str, user: str) -> None:
    """Run the filter in the foreground."""
    from dmarcmilter.daemon import supervisor  # noqa: PLC0415  the other commands need no libmilter

    try:
        if user:
            privileges.become(user)
    except PrivilegesError as error:
        fail(str(error))
    raise SystemExit(supervisor.serve(path))


for command in (check, config, demo, explain, health, history, lookup, quarantine, replay, report, stats):
    main.add_command(command)
