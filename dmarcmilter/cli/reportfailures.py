"""The work of `dmarcmilter report failures show`."""

import click

from dmarcmilter.cli.reportwork import a_console, a_run, a_store, in_words, show_table, shown_time
from dmarcmilter.cli.support import fail
from dmarcmilter.config.schema import Config
from dmarcmilter.reports.delivery.deliveries import Deliveries, ReportKind
from dmarcmilter.reports.delivery.ledger import FailureReportLine, ReportLedger
from dmarcmilter.reports.failure.incident_spool import SpooledIncident
from dmarcmilter.reports.failure.mail_message import compose
from dmarcmilter.reports.run import Run
from dmarcmilter.reports.sender import sender_of

SHOWN = 50
"""Failure reports listed, the newest ones; older ones are left out."""


def overview(config: Config) -> None:
    with in_words():
        run, store = a_run(config), a_store(config)
        waiting = [_waiting(entry, str(ruling.fate), ruling.reason) for entry, ruling in run.incidents()]
        made, counts = ReportLedger(store).failure_lines(SHOWN), Deliveries(store).counts(ReportKind.FAILURE)
    console = a_console()
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


def show(config: Config, identifier: str) -> int:
    """Print the message of a failure report, or the one that an incident of the spool would become."""
    with in_words():
        content = ReportLedger(a_store(config)).failure_message_of(identifier) or _preview(
            config, a_run(config), identifier
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
