"""The work of `dmarcmilter report failures show`."""

import click

from dmarcmilter.cli.reportwork import a_console, a_run, a_store, in_words, show_table, shown_time
from dmarcmilter.cli.support import fail
from dmarcmilter.config.schema import Config
from dmarcmilter.reports.delivery.report_tables import Kind
from dmarcmilter.reports.delivery.sending import sender_of
from dmarcmilter.reports.delivery.suppressions import FailureLine, Upkeep
from dmarcmilter.reports.failure.incident_spool import Entry
from dmarcmilter.reports.failure.mail_message import compose
from dmarcmilter.reports.run import Run

SHOWN = 50
"""Of the newest reports."""


def overview(config: Config) -> None:
    with in_words():
        run, upkeep = a_run(config), Upkeep(a_store(config))
        waiting = [_waiting(entry, str(judged.fate), judged.reason) for entry, judged in run.incidents()]
        made, counts = upkeep.failures(SHOWN), upkeep.counts(Kind.FAILURE)
    console = a_console()
    console.print("failure reports are " + ("on" if config.reports.failure.enabled else "off"))
    show_table(console, ("waits", "from", "client", "times", "what becomes of it", ""), waiting)
    show_table(console, ("made", "at", "about", "times", "to", ""), [_made(line) for line in made])
    show_table(console, ("deliveries", ""), [(state, str(count)) for state, count in sorted(counts.items())])


def _waiting(entry: Entry, fate: str, reason: str) -> tuple[str, ...]:
    found = entry.incident
    client = str(found.outcome.get("client_ip") or "")
    return found.id, str(found.outcome["author_domain"]), client, str(found.count), fate, reason


def _made(line: FailureLine) -> tuple[str, ...]:
    return line.id, shown_time(line.created), line.domain, str(line.incidents), line.target, line.state


def show(config: Config, identifier: str) -> int:
    """The message of a report, or what would become it."""
    with in_words():
        content = Upkeep(a_store(config)).failure(identifier) or _of_spool(config, a_run(config), identifier)
    if not content:
        click.echo(f"{identifier}: no failure report, or no longer kept", err=True)
        return 1
    click.echo(content.replace(b"\r\n", b"\n").decode("ascii"), nl=False)
    return 0


def _of_spool(config: Config, run: Run, identifier: str) -> bytes:
    found = [entry.incident for entry, _ in run.incidents() if entry.incident.id == identifier]
    if found and not config.reports.email:
        fail("[reports] email: needed to make reports")
    return compose(found[0], sender_of(config.reports), config.reports.format) if found else b""
