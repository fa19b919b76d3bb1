"""The work of `dmarcmilter report`: loaded only by it, for the SQL and SMTP that come with it."""

import logging
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table
from rich.text import Text

from dmarcmilter.cli.support import fail, resolver
from dmarcmilter.config.report_validation import parse_relay
from dmarcmilter.config.schema import Config, Reports
from dmarcmilter.daemon import log_output
from dmarcmilter.dmarc.public_suffix import Suffixes, SuffixListError
from dmarcmilter.dns import MessageLookup
from dmarcmilter.dns.lookup import Lookup
from dmarcmilter.history import migrations
from dmarcmilter.history.store import Store, StoreError
from dmarcmilter.reports.aggregate.planning import Withheld, whole_day
from dmarcmilter.reports.aggregate.xml_report import to_xml
from dmarcmilter.reports.delivery.bounces import is_failure
from dmarcmilter.reports.delivery.destinations import Verification
from dmarcmilter.reports.delivery.dkim_signing import KeyUnusableError, Signer, private_key
from dmarcmilter.reports.delivery.ledger import Ledger
from dmarcmilter.reports.delivery.relay import Relay, Sendmail, SmtpRelay, Transport
from dmarcmilter.reports.delivery.report_tables import Kind
from dmarcmilter.reports.delivery.sending import Progress as Told
from dmarcmilter.reports.delivery.sending import Sum, World
from dmarcmilter.reports.delivery.suppressions import Pause, Standing, Upkeep, bounced
from dmarcmilter.reports.run import Ask, Run, no_progress

STOPPED = 1
DAYS_SHOWN = 7
PIPE_WIDTH = 400


def are_on(config: Config, ask: Ask) -> bool:
    return any(_is_on(config, kind) for kind in ask.kinds)


def run(config: Config, ask: Ask) -> int:
    kinds = tuple(kind for kind in ask.kinds if _is_on(config, kind))
    if not kinds:
        fail("reports are off; [reports] enabled turns them on, and --dry-run shows what would be sent")
    with in_words(), Progress(console=Console(stderr=True), disable=not Console(stderr=True).is_terminal) as bar:
        tasks = {step: bar.add_task(step, total=None) for step in ("planning", "verifying destinations", "sending")}

        def progress(step: str, done: int, total: int) -> None:
            bar.update(tasks[step], completed=done, total=total)

        done = a_run(config, progress).go(replace(ask, kinds=kinds))
    _tell(done)
    return STOPPED if done.stopped else 0


def _is_on(config: Config, kind: Kind) -> bool:
    return config.reports.failure.enabled if kind is Kind.FAILURE else config.reports.enabled


def _tell(done: Sum) -> None:
    for line in done.lines:
        click.echo(line)
    for word, reason, level in (("stopped", done.stopped, logging.ERROR), ("left", done.left, logging.WARNING)):
        if reason:
            click.echo(log_output.with_priority(f"{word}: {reason}", level), err=True)
    click.echo(
        f"planned {done.planned}, withheld {done.withheld}, sent {done.sent}, refused {done.refused}, "
        f"failed {done.failed}, uncertain {done.uncertain}, postponed {done.postponed}"
    )


def preview(config: Config, ask: Ask) -> int:
    """Writes nothing, and needs reports not to be enabled."""
    if not config.reports.email:
        fail("[reports] email: needed to make reports")
    table = Table("policy domain", "messages", "size", "destination", "", box=None)
    with in_words():
        for found in a_run(config).preview(ask):
            if isinstance(found, Withheld):
                table.add_row(Text(found.domain), "", "", "", Text(f"withheld: {found.reason}"))
                continue
            planned, destinations = found
            attachment = planned.attachment
            for destination in destinations:
                allowed = destination.verification is Verification.ALLOWED
                to = ", ".join(destination.addresses) if allowed else destination.uri
                why = "" if allowed else f"{destination.verification.value}: {destination.reason}"
                size = f"{len(attachment.content)} octets"
                table.add_row(Text(attachment.domain), str(attachment.messages), size, Text(to), Text(why))
    a_console().print(table if table.row_count else "Nothing is due.")
    return 0


def show(config: Config, day: date | None, domain: str) -> int:
    with in_words():
        found = whole_day(a_store(config), config.reports, day or _yesterday(), domain)
    for report in found:
        click.echo(to_xml(report, config.reports.format).decode(), nl=False)
    if not found:
        click.echo(f"nothing to report about {domain} on {day or _yesterday()}", err=True)
    return 0 if found else 1


def status(config: Config) -> None:
    with in_words():
        store = a_store(config)
        upkeep, now = Upkeep(store), int(time.time())
        counts, days, troubles = upkeep.counts(), upkeep.recent_days(DAYS_SHOWN), upkeep.troubles()
        pauses = Standing(store).pauses(now)
    console = a_console()
    console.print("reports are " + ("on" if config.reports.enabled else "off"))
    show_table(console, ("day", "reports", "messages"), [tuple(map(str, row)) for row in days])
    show_table(console, ("deliveries", ""), [(state, str(count)) for state, count in sorted(counts.items())])
    show_table(console, ("policy domain", "to", "", "why"), troubles)
    _show_suppressions(console, pauses)


def suppressions(config: Config) -> None:
    with in_words():
        pauses = Standing(a_store(config)).pauses(int(time.time()))
    console = a_console()
    _show_suppressions(console, pauses)
    if not pauses:
        console.print("No address is suppressed.")


def _show_suppressions(console: Console, pauses: Sequence[Pause]) -> None:
    rows = [
        (found.address, found.organization or "all domains", shown_time(found.until), str(found.failures), found.detail)
        for found in pauses
    ]
    show_table(console, ("suppressed", "reports about", "until", "refusals", "the last"), rows)


def bounce(config: Config, recipient: str, message: bytes) -> int:
    if message and not is_failure(message):
        click.echo("not a bounce that says that delivery failed: nothing changes")
        return 0
    pattern = re.escape(config.reports.bounce_address).replace(re.escape("{token}"), "([0-9a-f]+)")
    found = re.fullmatch(pattern, recipient.strip("<>"), re.IGNORECASE)
    if not found or not found.groups():
        fail(f"{recipient} is not made by [reports] bounce_address with a {{token}}")
    with in_words():
        store = a_store(config)
        address = bounced(Ledger(store), Standing(store), found[1].lower(), int(time.time()))
    click.echo(
        f"a bounce from {address} is recorded" if address else "no report was sent from this address", err=not address
    )
    return 0 if address else 1


def forgive(config: Config, address: str) -> int:
    with in_words():
        store = a_store(config)
        known = Standing(store).clear(address)
        waited = Ledger(store).end_waiting(address, int(time.time())) if known else 0
    said = f"{address} gets reports again, {waited} of them at the next run"
    click.echo(said if known else f"{address} was not suppressed", err=not known)
    return 0 if known else 1


def a_console() -> Console:
    """In a file or a pipe a row is one line."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def show_table(console: Console, titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    if rows:
        table = Table(*(Column(title, overflow="fold") for title in titles), box=None)
        for row in rows:
            table.add_row(*(Text(value) for value in row))  # never markup: servers wrote some of it
        console.print(table)


def shown_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _yesterday() -> date:
    return datetime.now(UTC).date() - timedelta(days=1)


@contextmanager
def in_words() -> Iterator[None]:
    """What may be wrong around us, in one sentence."""
    try:
        yield
    except (StoreError, OSError, SuffixListError) as error:
        fail(str(error))


def a_store(config: Config) -> Store:
    store = Store(config.history.database)
    migrations.migrate(store)
    return store


def a_run(config: Config, progress: Told = no_progress) -> Run:
    return Run(
        a_store(config),
        config.reports,
        _world(config),
        _transport(config.reports),
        _signer(config.reports),
        clock=time.time,
        progress=progress,
    )


def _world(config: Config) -> World:
    shared = resolver(config)

    @contextmanager
    def lookups() -> Iterator[Lookup]:
        session = MessageLookup(shared, config.dns.message_budget, config.dns.message_queries)
        try:
            yield session
        finally:
            session.close()

    return World(lookups, Suffixes.load(config.dmarc.psl_file), config.dmarc.discovery)


def _transport(settings: Reports) -> Transport:
    if not settings.relay:
        return Sendmail(settings.sendmail)
    host, port = parse_relay(settings.relay)
    secret = settings.relay_password_file
    password = Path(secret).read_text(encoding="utf-8").strip() if secret else ""
    return SmtpRelay(
        Relay(
            host,
            port,
            helo=settings.submitter or socket.getfqdn(),
            starttls=settings.starttls,
            ca_file=settings.relay_ca_file,
            username=settings.relay_username,
            password=password,
        )
    )


def _signer(settings: Reports) -> Signer | None:
    if not settings.sign_key:
        return None
    key = Path(settings.sign_key).read_bytes()
    try:
        private_key(key)
    except KeyUnusableError as error:
        fail(f"[reports] sign_key: {settings.sign_key}: {error}")
    return Signer(settings.sign_domain, settings.sign_selector, key)
