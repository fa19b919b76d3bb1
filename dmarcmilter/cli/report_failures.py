"""`dmarcmilter report failures`: failure reports, made and sent, or shown."""

import click

from dmarcmilter.cli.command_setup import config_option, fail
from dmarcmilter.cli.report_setup import (
    errors_reported,
    load,
    open_store,
    prepare_run,
    send_due,
    show_table,
    shown_time,
    table_console,
)
from dmarcmilter.config.schema import Config
from dmarcmilter.reports.delivery.deliveries_table import Deliveries, ReportKind
from dmarcmilter.reports.delivery.made_reports_table import FailureReportLine, ReportLedger
from dmarcmilter.reports.failure.incident_spool import SpooledIncident
from dmarcmilter.reports.failure.mail_message import compose
from dmarcmilter.reports.run import Run, RunRequest
from dmarcmilter.reports.sender import sender_of

SHOWN = 50
"""Failure reports listed, the newest ones; older ones are left out."""


@click.group()
def failures() -> None:
    """Send and show failure reports about single messages ([reports.failure])."""


@failures.command("run")
@config_option
def run_failures(path: str) -> None:
    """Make and send the failure reports that are due; `report run` does it too, before the aggregate reports.

    Exit status: as `report run`.
    """
    raise SystemExit(send_due(load(path), RunRequest(kinds=(ReportKind.FAILURE,))))


@failures.command("show")
@config_option
@click.argument("identifier", default="", metavar="[ID]")
def show_failures(path: str, identifier: str) -> None:
    """List waiting incidents and reports, or print the message of one ID without To, Date and signature.

    Exit status: 0, or 1 when there is no such report.
    """
    config = load(path)
    if identifier:
        raise SystemExit(_show_message(config, identifier))
    _overview(config)


def _overview(config: Config) -> None:
    with errors_reported():
        run, store = prepare_run(config), open_store(config)
        waiting = [_waiting(entry, str(ruling.fate), ruling.reason) for entry, ruling in run.incidents()]
        made, counts = ReportLedger(store).failure_lines(SHOWN), Deliveries(store).counts(ReportKind.FAILURE)
    console = table_console()
    console.print("failure reports are " + ("on" if config.reports.failure.enabled else "off"))
    show_table(console, ("waits", "from", "client", "times", "what becomes of it", ""), waiting)
    show_table(console, ("made", "at", "about", "times", "to", ""), [_made(line) for line in made])
    show_table(console, ("deliveries", ""), [(state, str(count)) for state, count in sorted(counts.items())])


def _waiting(entry: SpooledIncident, fate: str, reason: str) -> tuple[str, ...]:
    incident = entry.incident
    client = incident.outcome.client_ip or ""
    return incident.id, incident.outcome.author_domain, client, str(incident.count), fate, reason


def _made(line: FailureReportLine) -> tuple[str, ...]:
    return line.id, shown_time(line.created), line.domain, str(line.incidents), line.target, line.state


def _show_message(config: Config, identifier: str) -> int:
    """Print the message of a failure report, or the one that an incident of the spool would become."""
    with errors_reported():
        content = ReportLedger(open_store(config)).failure_message_of(identifier) or _preview(
            config, prepare_run(config), identifier
        )
    if not content:
        click.echo(f"{identifier}: no failure report, or no longer kept", err=True)
        return 1
    click.echo(content.replace(b"\r\n", b"\n").decode("ascii"), nl=False)
    return 0


def _preview(config: Config, run: Run, identifier: str) -> bytes:
    incidents = [entry.incident for entry, _ in run.incidents() if entry.incident.id == identifier]
    if incidents and not config.reports.email:
        fail("[reports] email: needed to make reports")
    return compose(incidents[0], sender_of(config.reports), config.reports.format) if incidents else b""
