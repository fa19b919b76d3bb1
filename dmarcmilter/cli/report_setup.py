"""Running reports for the commands: the run made of the conf file, its progress bar and its result."""

import logging
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table
from rich.text import Text

from dmarcmilter.cli.command_setup import act_as_filters_user, fail, resolver
from dmarcmilter.cli.command_setup import load as load_conf
from dmarcmilter.config.report_validation import parse_relay
from dmarcmilter.config.schema import Config, ReportsSection
from dmarcmilter.daemon import log_output
from dmarcmilter.dmarc.public_suffix import Suffixes, SuffixListError
from dmarcmilter.dns.lookup import Lookup
from dmarcmilter.dns.message_lookup import MessageLookup
from dmarcmilter.history import migrations
from dmarcmilter.history.store import Store, StoreError
from dmarcmilter.reports.delivery.deliveries_table import ReportKind
from dmarcmilter.reports.delivery.dkim_signing import KeyUnusableError, ReportSigner, private_key
from dmarcmilter.reports.delivery.parallel_verification import ReportDns
from dmarcmilter.reports.delivery.relay import Relay, Sendmail, SmtpRelay, Transport
from dmarcmilter.reports.delivery.sending import RunResult, SendingProgress
from dmarcmilter.reports.run import Run, RunRequest, no_progress
from dmarcmilter.value import replace

EXIT_STOPPED = 1
"""Exit status of `report run` when the relay, the lock or the day stopped it."""
PIPE_WIDTH = 400
"""Columns of a table in a file or a pipe; longer rows are folded."""


def load(path: str) -> Config:
    """Load the conf file and act as the filter's user, to whom reports, their archive and the database belong."""
    config = load_conf(path)
    act_as_filters_user(config, path)
    return config


@contextmanager
def errors_reported() -> Iterator[None]:
    """Turn errors of the database, of files and of the public suffix list into one sentence."""
    try:
        yield
    except (StoreError, OSError, SuffixListError) as error:
        fail(str(error))


def open_store(config: Config) -> Store:
    store = Store(config.history.database)
    migrations.migrate(store)
    return store


def prepare_run(config: Config, progress: SendingProgress = no_progress) -> Run:
    return Run(
        open_store(config),
        config.reports,
        _dns(config),
        transport(config.reports),
        _signer(config.reports),
        clock=time.time,
        progress=progress,
    )


def send_due(config: Config, request: RunRequest) -> int:
    """Make and send what is due of the kinds that are on; return the exit status."""
    kinds = tuple(kind for kind in request.kinds if is_on(config, kind))
    if not kinds:
        fail("reports are off; [reports] enabled turns them on, and --dry-run shows what would be sent")
    with errors_reported(), Progress(console=Console(stderr=True), disable=not Console(stderr=True).is_terminal) as bar:
        tasks = {step: bar.add_task(step, total=None) for step in ("planning", "verifying destinations", "sending")}

        def progress(step: str, done: int, total: int) -> None:
            bar.update(tasks[step], completed=done, total=total)

        result = prepare_run(config, progress).go(replace(request, kinds=kinds))
    show_result(result)
    return EXIT_STOPPED if result.stopped else 0


def is_on(config: Config, kind: ReportKind) -> bool:
    return config.reports.failure.enabled if kind is ReportKind.FAILURE else config.reports.enabled


def show_result(result: RunResult) -> None:
    for line in result.lines:
        click.echo(line)
    for word, reason, level in (("stopped", result.stopped, logging.ERROR), ("left", result.left, logging.WARNING)):
        if reason:
            click.echo(log_output.with_priority(f"{word}: {reason}", level), err=True)
    click.echo(
        f"planned {result.planned}, withheld {result.withheld}, sent {result.sent}, refused {result.refused}, "
        f"failed {result.failed}, uncertain {result.uncertain}, postponed {result.postponed}"
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


def transport(settings: ReportsSection) -> Transport:
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


def _signer(settings: ReportsSection) -> ReportSigner | None:
    if not settings.sign_key:
        return None
    key = Path(settings.sign_key).read_bytes()
    try:
        private_key(key)
    except KeyUnusableError as error:
        fail(f"[reports] sign_key: {settings.sign_key}: {error}")
    return ReportSigner(settings.sign_domain, settings.sign_selector, key)


def table_console() -> Console:
    """A console for tables; in a file or a pipe a row is one line."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def show_table(console: Console, titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    if rows:
        table = Table(*(Column(title, overflow="fold") for title in titles), box=None)
        for row in rows:
            table.add_row(*(Text(value) for value in row))  # Text, not markup: other servers wrote some of it
        console.print(table)


def shown_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
