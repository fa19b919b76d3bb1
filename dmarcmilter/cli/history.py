"""`dmarcmilter history`: the journal into the database, and what is too old out of it."""

import logging
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import click

from dmarcmilter.cli.common import config_option, fail, load
from dmarcmilter.history import purge as retention
from dmarcmilter.history import schema
from dmarcmilter.history.ingest import Ingest
from dmarcmilter.history.store import Store, StoreError


@click.group()
def history() -> None:
    """Fill and tidy the database of outcomes."""


@history.command("ingest")
@config_option
@click.option(
    "--follow", is_flag=True, help="Go on with what is written from now on; waits for a database that is down."
)
def ingest(path: str, *, follow: bool) -> None:
    """Take the journal's outcomes into the database, each exactly once.

    Exit status: 0 done, 2 the database cannot be used (never with --follow).
    """
    config = load(path)
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s", level=config.log.level.upper())
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


@history.command("purge")
@config_option
@click.option("--older-than", "days", type=click.IntRange(min=0), required=True, metavar="DAYS", help="UTC days.")
def purge(path: str, days: int) -> None:
    """Remove outcomes of before the last DAYS days from the database."""
    store = _opened(load(path).history.database)
    try:
        schema.migrate(store)
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
