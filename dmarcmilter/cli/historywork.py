"""The work of `dmarcmilter history`: loaded only by it, for the SQL that comes with it."""

import signal
import threading
from datetime import UTC, datetime
from pathlib import Path

import click

from dmarcmilter.cli.common import fail
from dmarcmilter.config.schema import Config
from dmarcmilter.daemon import log_output
from dmarcmilter.history import migrations, retention
from dmarcmilter.history.ingest import Ingest
from dmarcmilter.history.store import Store, StoreError


def ingest(config: Config, *, follow: bool) -> None:
    log_output.configure(config.log)
    reader = Ingest(
        Path(config.history.journal),
        _opened(config.history.database),
        retention_days=config.history.retention_days,
        delete_after_days=config.history.delete_journal_after_days,
    )
    if follow:
        reader.follow(_stopped_by_signals())
        return
    try:
        found = reader.once()
    except (StoreError, OSError) as error:
        fail(str(error))
    click.echo(f"{found} outcomes taken in, {reader.counts.unreadable} lines not readable")


def purge(config: Config, days: int) -> None:
    store = _opened(config.history.database)
    try:
        migrations.migrate(store)
        gone = retention.purge(store, retention.first_day_kept(datetime.now(UTC), days))
    except StoreError as error:
        fail(str(error))
    click.echo(f"{gone} outcomes removed")


def _opened(url: str) -> Store:
    try:
        return Store(url)
    except StoreError as error:
        fail(str(error))


def _stopped_by_signals() -> threading.Event:
    """The batch under way is finished first."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
