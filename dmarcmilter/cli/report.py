"""`dmarcmilter report`: make, send and show aggregate and failure reports."""

import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dmarcmilter.cli.command_setup import config_option, fail, make_private
from dmarcmilter.cli.report_failures import failures
from dmarcmilter.cli.report_setup import (
    errors_reported,
    is_on,
    load,
    open_store,
    prepare_run,
    send_due,
    show_table,
    shown_time,
    table_console,
)
from dmarcmilter.cli.time_arguments import FORMS, Day
from dmarcmilter.config.schema import Config
from dmarcmilter.reports.aggregate.planning import Withheld, whole_day_report
from dmarcmilter.reports.aggregate.reported_days import ReportedDays
from dmarcmilter.reports.aggregate.xml_report import to_xml
from dmarcmilter.reports.delivery.bounce_recognition import is_failure, read
from dmarcmilter.reports.delivery.deliveries_table import Deliveries
from dmarcmilter.reports.delivery.destination_verification import DestinationVerification
from dmarcmilter.reports.delivery.suppressions import Suppression, Suppressions, record_bounce
from dmarcmilter.reports.run import RunRequest

DAYS_SHOWN = 7
"""Reported days that `report status` shows, the newest ones."""

day_option = click.option("--day", type=Day(), metavar="DAY", help=f"The UTC day that contains {FORMS}.")


@click.group()
def report() -> None:
    """Make, send and show aggregate and failure reports."""
    make_private()


report.add_command(failures)


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
    request = RunRequest(day, domain.lower(), resend_uncertain)
    config = load(path)
    if if_on and not any(is_on(config, kind) for kind in request.kinds):
        return
    raise SystemExit(_preview(config, request) if dry_run else send_due(config, request))


def _preview(config: Config, request: RunRequest) -> int:
    """Show what would be sent, also while reports are off; write nothing."""
    if not config.reports.email:
        fail("[reports] email: needed to make reports")
    table = Table("policy domain", "messages", "size", "destination", "", box=None)
    with errors_reported():
        for item in prepare_run(config).preview(request):
            if isinstance(item, Withheld):
                table.add_row(Text(item.domain), "", "", "", Text(f"withheld: {item.reason}"))
                continue
            planned, destinations = item
            attachment = planned.attachment
            for destination in destinations:
                allowed = destination.verification is DestinationVerification.ALLOWED
                to = ", ".join(destination.addresses) if allowed else destination.uri
                why = "" if allowed else f"{destination.verification.value}: {destination.reason}"
                size = f"{len(attachment.content)} bytes"
                table.add_row(Text(attachment.domain), str(attachment.messages), size, Text(to), Text(why))
    table_console().print(table if table.row_count else "Nothing is due.")
    return 0


@report.command("show")
@config_option
@day_option
@click.argument("domain")
def show(path: str, day: date | None, domain: str) -> None:
    """Print the report (XML) about DOMAIN for a day, by default yesterday, whatever was sent of it.

    Exit status: 0, or 1 when there is nothing to report.
    """
    config, policy_domain = load(path), domain.lower()
    reported_day = day or datetime.now(UTC).date() - timedelta(days=1)
    with errors_reported():
        aggregate = whole_day_report(open_store(config), config.reports, reported_day, policy_domain)
    if aggregate is None:
        click.echo(f"nothing to report about {policy_domain} on {reported_day}", err=True)
        raise SystemExit(1)
    click.echo(to_xml(aggregate, config.reports.format).decode(), nl=False)


@report.command("status")
@config_option
def status(path: str) -> None:
    """Show what was sent, what waits, what failed, and which addresses are suppressed."""
    config = load(path)
    with errors_reported():
        store = open_store(config)
        deliveries, days = Deliveries(store), ReportedDays(store).recent(DAYS_SHOWN)
        counts, problems = deliveries.counts(), deliveries.problems()
        active = Suppressions(store).all(int(time.time()))
    console = table_console()
    console.print("reports are " + ("on" if config.reports.enabled else "off"))
    show_table(console, ("day", "reports", "messages"), [tuple(map(str, row)) for row in days])
    show_table(console, ("deliveries", ""), [(state, str(count)) for state, count in sorted(counts.items())])
    rows = [(problem.domain, problem.target, problem.state, problem.detail) for problem in problems]
    show_table(console, ("policy domain", "to", "", "why"), rows)
    _show_suppressions(console, active)


@report.command("suppressions")
@config_option
def suppressions(path: str) -> None:
    """List the addresses that get no reports at present, about which domains, and why."""
    with errors_reported():
        active = Suppressions(open_store(load(path))).all(int(time.time()))
    console = table_console()
    _show_suppressions(console, active)
    if not active:
        console.print("No address is suppressed.")


def _show_suppressions(console: Console, active: Sequence[Suppression]) -> None:
    rows = [
        (line.address, line.organization or "all domains", shown_time(line.until), str(line.failures), line.detail)
        for line in active
    ]
    show_table(console, ("suppressed", "reports about", "until", "refusals", "the last"), rows)


@report.command("bounce")
@config_option
@click.argument("recipient")
def bounce(path: str, recipient: str) -> None:
    """Record a bounce that came to RECIPIENT, the bounce_address with its token; call it from the MTA.

    Reads the message from standard input, and counts only one that says that delivery failed (RFC 3464). Reports about
    the same organization to the address that bounced wait for a while. Exit status: 0, or 1 for an unknown token.
    """
    message = b"" if sys.stdin is None or sys.stdin.isatty() else read(sys.stdin.buffer)
    raise SystemExit(_record_bounce(load(path), recipient, message))


def _record_bounce(config: Config, recipient: str, message: bytes) -> int:
    if message and not is_failure(message):
        click.echo("not a bounce that says that delivery failed: nothing changes")
        return 0
    pattern = re.escape(config.reports.bounce_address).replace(re.escape("{token}"), "([0-9a-f]+)")
    token = re.fullmatch(pattern, recipient.strip("<>"), re.IGNORECASE)
    if not token or not token.groups():
        fail(f"{recipient} is not made by [reports] bounce_address with a {{token}}")
    with errors_reported():
        store = open_store(config)
        address = record_bounce(Deliveries(store), Suppressions(store), token[1].lower(), int(time.time()))
    click.echo(
        f"a bounce from {address} is recorded" if address else "no report was sent from this address", err=not address
    )
    return 0 if address else 1


@report.command("unsuppress")
@config_option
@click.argument("address")
def unsuppress(path: str, address: str) -> None:
    """End the suppression of ADDRESS after refusals or bounces; waiting reports are sent, too.

    Exit status: 0, or 1 when it was not suppressed.
    """
    config = load(path)
    with errors_reported():
        store = open_store(config)
        is_known = Suppressions(store).remove(address)
        waiting = Deliveries(store).end_waiting(address, int(time.time())) if is_known else 0
    if not is_known:
        click.echo(f"{address} was not suppressed", err=True)
        raise SystemExit(1)
    click.echo(f"{address} gets reports again, {waiting} of them at the next run")


@report.command("forgive", hidden=True)
@config_option
@click.argument("address")
@click.pass_context
def forgive(context: click.Context, path: str, address: str) -> None:
    """The older name of `report unsuppress`."""
    click.echo("warning: `report forgive` is now called `report unsuppress`", err=True)
    context.invoke(unsuppress, path=path, address=address)
