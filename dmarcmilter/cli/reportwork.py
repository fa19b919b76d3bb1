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
from dmarcmilter.reports.aggregate.planning import Withheld, whole_day_report
from dmarcmilter.reports.aggregate.reported_days import ReportedDays
from dmarcmilter.reports.aggregate.xml_report import to_xml
from dmarcmilter.reports.delivery.bounces import is_failure
from dmarcmilter.reports.delivery.deliveries import Deliveries, DeliveryProblem, ReportKind
from dmarcmilter.reports.delivery.destination_verification import ReportDns
from dmarcmilter.reports.delivery.destinations import Verification
from dmarcmilter.reports.delivery.dkim_signing import KeyUnusableError, ReportSigner, private_key
from dmarcmilter.reports.delivery.relay import Relay, Sendmail, SmtpRelay, Transport
from dmarcmilter.reports.delivery.sending import Progress as RunProgress
from dmarcmilter.reports.delivery.sending import RunResult
from dmarcmilter.reports.delivery.suppressions import Suppression, Suppressions, record_bounce
from dmarcmilter.reports.run import Run, RunRequest, no_progress

STOPPED = 1
DAYS_SHOWN = 7
PIPE_WIDTH = 400


def are_on(config: Config, request: RunRequest) -> bool:
    return any(_is_on(config, kind) for kind in request.kinds)


def run(config: Config, request: RunRequest) -> int:
    kinds = tuple(kind for kind in request.kinds if _is_on(config, kind))
    if not kinds:
        fail("reports are off; [reports] enabled turns them on, and --dry-run shows what would be sent")
    with in_words(), Progress(console=Console(stderr=True), disable=not Console(stderr=True).is_terminal) as bar:
        tasks = {step: bar.add_task(step, total=None) for step in ("planning", "verifying destinations", "sending")}

        def progress(step: str, done: int, total: int) -> None:
            bar.update(tasks[step], completed=done, total=total)

        result = a_run(config, progress).go(replace(request, kinds=kinds))
    _show_result(result)
    return STOPPED if result.stopped else 0


def _is_on(config: Config, kind: ReportKind) -> bool:
    return config.reports.failure.enabled if kind is ReportKind.FAILURE else config.reports.enabled


def _show_result(result: RunResult) -> None:
    for line in result.lines:
        click.echo(line)
    for word, reason, level in (("stopped", result.stopped, logging.ERROR), ("left", result.left, logging.WARNING)):
        if reason:
            click.echo(log_output.with_priority(f"{word}: {reason}", level), err=True)
    click.echo(
        f"planned {result.planned}, withheld {result.withheld}, sent {result.sent}, refused {result.refused}, "
        f"failed {result.failed}, uncertain {result.uncertain}, postponed {result.postponed}"
    )


def preview(config: Config, request: RunRequest) -> int:
    """Writes nothing, and needs reports not to be enabled."""
    if not config.reports.email:
        fail("[reports] email: needed to make reports")
    table = Table("policy domain", "messages", "size", "destination", "", box=None)
    with in_words():
        for item in a_run(config).preview(request):
            if isinstance(item, Withheld):
                table.add_row(Text(item.domain), "", "", "", Text(f"withheld: {item.reason}"))
                continue
            planned, destinations = item
            attachment = planned.attachment
            for destination in destinations:
                allowed = destination.verification is Verification.ALLOWED
                to = ", ".join(destination.addresses) if allowed else destination.uri
                why = "" if allowed else f"{destination.verification.value}: {destination.reason}"
                size = f"{len(attachment.content)} bytes"
                table.add_row(Text(attachment.domain), str(attachment.messages), size, Text(to), Text(why))
    a_console().print(table if table.row_count else "Nothing is due.")
    return 0


def show(config: Config, day: date | None, domain: str) -> int:
    with in_words():
        report = whole_day_report(a_store(config), config.reports, day or _yesterday(), domain)
    if report is None:
        click.echo(f"nothing to report about {domain} on {day or _yesterday()}", err=True)
        return 1
    click.echo(to_xml(report, config.reports.format).decode(), nl=False)
    return 0


def status(config: Config) -> None:
    with in_words():
        store = a_store(config)
        deliveries, days = Deliveries(store), ReportedDays(store).recent(DAYS_SHOWN)
        counts, problems = deliveries.counts(), deliveries.problems()
        active = Suppressions(store).all(int(time.time()))
    console = a_console()
    console.print("reports are " + ("on" if config.reports.enabled else "off"))
    show_table(console, ("day", "reports", "messages"), [tuple(map(str, row)) for row in days])
    show_table(console, ("deliveries", ""), [(state, str(count)) for state, count in sorted(counts.items())])
    show_table(console, ("policy domain", "to", "", "why"), [_columns(problem) for problem in problems])
    _show_suppressions(console, active)


def _columns(problem: DeliveryProblem) -> tuple[str, ...]:
    return problem.domain, problem.target, problem.state, problem.detail


def suppressions(config: Config) -> None:
    with in_words():
        active = Suppressions(a_store(config)).all(int(time.time()))
    console = a_console()
    _show_suppressions(console, active)
    if not active:
        console.print("No address is suppressed.")


def _show_suppressions(console: Console, active: Sequence[Suppression]) -> None:
    rows = [
        (line.address, line.organization or "all domains", shown_time(line.until), str(line.failures), line.detail)
        for line in active
    ]
    show_table(console, ("suppressed", "reports about", "until", "refusals", "the last"), rows)


def bounce(config: Config, recipient: str, message: bytes) -> int:
    if message and not is_failure(message):
        click.echo("not a bounce that says that delivery failed: nothing changes")
        return 0
    pattern = re.escape(config.reports.bounce_address).replace(re.escape("{token}"), "([0-9a-f]+)")
    token = re.fullmatch(pattern, recipient.strip("<>"), re.IGNORECASE)
    if not token or not token.groups():
        fail(f"{recipient} is not made by [reports] bounce_address with a {{token}}")
    with in_words():
        store = a_store(config)
        address = record_bounce(Deliveries(store), Suppressions(store), token[1].lower(), int(time.time()))
    click.echo(
        f"a bounce from {address} is recorded" if address else "no report was sent from this address", err=not address
    )
    return 0 if address else 1


def unsuppress(config: Config, address: str) -> int:
    with in_words():
        store = a_store(config)
        known = Suppressions(store).remove(address)
        waiting = Deliveries(store).end_waiting(address, int(time.time())) if known else 0
    done = f"{address} gets reports again, {waiting} of them at the next run"
    click.echo(done if known else f"{address} was not suppressed", err=not known)
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


def a_run(config: Config, progress: RunProgress = no_progress) -> Run:
    return Run(
        a_store(config),
        config.reports,
        _dns(config),
        _transport(config.reports),
        _signer(config.reports),
        clock=time.time,
        progress=progress,
    )


def _dns(config: Config) -> ReportDns:
    shared = resolver(config)

    @contextmanager
    def lookups() -> Iterator[Lookup]:
        session = MessageLookup(shared, config.dns.message_budget, config.dns.message_queries)
        try:
            yield session
        finally:
            session.close()

    return ReportDns(lookups, Suffixes.load(config.dmarc.psl_file), config.dmarc.discovery)


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


def _signer(settings: Reports) -> ReportSigner | None:
    if not settings.sign_key:
        return None
    key = Path(settings.sign_key).read_bytes()
    try:
        private_key(key)
    except KeyUnusableError as error:
        fail(f"[reports] sign_key: {settings.sign_key}: {error}")
    return ReportSigner(settings.sign_domain, settings.sign_selector, key)
