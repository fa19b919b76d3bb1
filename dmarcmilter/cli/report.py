"""`dmarcmilter report`: aggregate and failure reports, made and sent, or looked at."""

import sys
from datetime import date

import click

from dmarcmilter.cli.support import act_as_filters_user, config_option, make_private
from dmarcmilter.cli.support import load as load_conf
from dmarcmilter.cli.time_arguments import FORMS, Day
from dmarcmilter.config.schema import Config

day_option = click.option("--day", type=Day(), metavar="DAY", help=f"The UTC day that contains {FORMS}.")


def load(path: str) -> Config:
    """The conf. Reports, their archive and the database are the filter's user's to write."""
    config = load_conf(path)
    act_as_filters_user(config, path)
    return config


@click.group()
def report() -> None:
    """Make, send and show aggregate and failure reports."""
    make_private()


@report.command("run")
@config_option
@day_option
@click.option("--domain", default="", metavar="DOMAIN", help="Plan reports of this policy domain only.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent and where; send and store nothing.")
@click.option(
    "--resend-uncertain",
    is_flag=True,
    help="Also send reports that may have arrived when a run or connection broke off.",
)
@click.option("--if-on", is_flag=True, help="Do nothing and succeed if reports are off; for the timer.")
def run(path: str, day: date | None, domain: str, *, dry_run: bool, resend_uncertain: bool, if_on: bool) -> None:
    """Make and send the reports that are due; a timer runs this each hour.

    Exit status: 0 done, also if destinations were refused or work is left for the next run, which is logged with the
    reason; 1 the relay cannot be used, another run is in progress, or the day cannot be planned; 2 for an error.
    """
    # SQL and SMTP are loaded by those who use them, not by every command.
    from dmarcmilter.cli import reportwork  # noqa: PLC0415
    from dmarcmilter.reports.run import RunRequest  # noqa: PLC0415

    request = RunRequest(day, domain.lower(), resend_uncertain)
    config = load(path)
    if if_on and not reportwork.are_on(config, request):
        return
    raise SystemExit(reportwork.preview(config, request) if dry_run else reportwork.run(config, request))


@report.command("show")
@config_option
@day_option
@click.argument("domain")
def show(path: str, day: date | None, domain: str) -> None:
    """Print the report (XML) about DOMAIN for a day, by default yesterday, whatever was sent of it.

    Exit status: 0, or 1 when there is nothing to report.
    """
    from dmarcmilter.cli import reportwork  # noqa: PLC0415

    raise SystemExit(reportwork.show(load(path), day, domain.lower()))


@report.command("status")
@config_option
def status(path: str) -> None:
    """Show what was sent, what waits, what failed, and which addresses are suppressed."""
    from dmarcmilter.cli import reportwork  # noqa: PLC0415

    reportwork.status(load(path))


@report.command("suppressions")
@config_option
def suppressions(path: str) -> None:
    """List the addresses that get no reports at present, about which domains, and why."""
    from dmarcmilter.cli import reportwork  # noqa: PLC0415

    reportwork.suppressions(load(path))


@report.command("bounce")
@config_option
@click.argument("recipient")
def bounce(path: str, recipient: str) -> None:
    """Record a bounce that came to RECIPIENT, the bounce_address with its token; call it from the MTA.

    Reads the message from standard input, and counts only one that says that delivery failed (RFC 3464). Reports about
    the same organization to the address that bounced wait for a while. Exit status: 0, or 1 for an unknown token.
    """
    from dmarcmilter.cli import reportwork  # noqa: PLC0415
    from dmarcmilter.reports.delivery.bounces import read  # noqa: PLC0415

    message = b"" if sys.stdin is None or sys.stdin.isatty() else read(sys.stdin.buffer)
    raise SystemExit(reportwork.bounce(load(path), recipient, message))


@report.command("unsuppress")
@config_option
@click.argument("address")
def unsuppress(path: str, address: str) -> None:
    """End the suppression of ADDRESS after refusals or bounces; waiting reports are sent, too.

    Exit status: 0, or 1 when it was not suppressed.
    """
    from dmarcmilter.cli import reportwork  # noqa: PLC0415

    raise SystemExit(reportwork.unsuppress(load(path), address))


@report.command("forgive", hidden=True)
@config_option
@click.argument("address")
@click.pass_context
def forgive(context: click.Context, path: str, address: str) -> None:
    """The older name of `report unsuppress`."""
    click.echo("warning: `report forgive` is now called `report unsuppress`", err=True)
    context.invoke(unsuppress, path=path, address=address)


@report.group()
def failures() -> None:
    """Send and show failure reports about single messages ([reports.failure])."""


@failures.command("run")
@config_option
def run_failures(path: str) -> None:
    """Make and send the failure reports that are due; `report run` does it too, before the aggregate reports.

    Exit status: as `report run`.
    """
    from dmarcmilter.cli import reportwork  # noqa: PLC0415
    from dmarcmilter.reports.delivery.deliveries import ReportKind  # noqa: PLC0415
    from dmarcmilter.reports.run import RunRequest  # noqa: PLC0415

    raise SystemExit(reportwork.run(load(path), RunRequest(kinds=(ReportKind.FAILURE,))))


@failures.command("show")
@config_option
@click.argument("identifier", default="", metavar="[ID]")
def show_failures(path: str, identifier: str) -> None:
    """List waiting incidents and reports, or print the message of one ID without To, Date and signature.

    Exit status: 0, or 1 when there is no such report.
    """
    from dmarcmilter.cli import reportfailures  # noqa: PLC0415

    config = load(path)
    if identifier:
        raise SystemExit(reportfailures.show(config, identifier))
    reportfailures.overview(config)
