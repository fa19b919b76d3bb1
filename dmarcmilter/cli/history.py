"""`dmarcmilter history`: take the journal into the database, import OpenDMARC's history, remove old outcomes."""

import signal
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import click

from dmarcmilter.cli.command_setup import act_as_filters_user, config_option, fail, load, make_private
from dmarcmilter.cli.time_arguments import FORMS, Days
from dmarcmilter.daemon import log_output
from dmarcmilter.history import migrations, retention
from dmarcmilter.history.ingest import Ingest
from dmarcmilter.history.outcome_writer import Writer
from dmarcmilter.history.store import Store, StoreError
from dmarcmilter.opendmarc.history_import import Import, NoHistoryError

EXIT_NO_HISTORY = 1
"""Exit status of import-opendmarc for a file that is no history of OpenDMARC."""


@click.group()
def history() -> None:
    """Fill and clean the database of outcomes."""
    make_private()


@history.command("ingest")
@config_option
@click.option("--follow", is_flag=True, help="Keep running for new outcomes; wait while the database is down.")
def ingest(path: str, *, follow: bool) -> None:
    """Copy the journal's outcomes into the database, each exactly once.

    Exit status: 0 done, 2 the database cannot be used (--follow waits for it).
    """
    config = load(path)
    act_as_filters_user(config, path)
    log_output.configure(config.log)
    reader = Ingest(
        Path(config.history.journal),
        _store(config.history.database),
        retention_days=config.history.retention_days,
        delete_after_days=config.history.delete_journal_after_days,
    )
    if follow:
        reader.follow(_stop_event())
        return
    try:
        count = reader.once()
    except (StoreError, OSError) as error:
        fail(str(error))
    click.echo(f"{count} outcomes taken in, {reader.counts.unreadable} lines not readable")


@history.command("purge")
@config_option
@click.option(
    "--older-than", "days", type=Days(), required=True, metavar="DAYS", help=f"UTC days before today; or {FORMS}."
)
def purge(path: str, days: int) -> None:
    """Remove outcomes older than DAYS days from the database."""
    config = load(path)
    act_as_filters_user(config, path)
    store = _store(config.history.database)
    try:
        migrations.migrate(store)
        removed = retention.purge(store, retention.first_day_kept(datetime.now(UTC), days))
    except StoreError as error:
        fail(str(error))
    click.echo(f"{removed} outcomes removed")


@history.command("import-opendmarc")
@click.argument("file", metavar="FILE")
@config_option
@click.option("-n", "--dry-run", "dry_run", is_flag=True, help="Count only; write nothing.")
def import_opendmarc(file: str, path: str, *, dry_run: bool) -> None:
    """Import the outcomes of OpenDMARC's history FILE into the database, each exactly once.

    OpenDMARC may still be writing to FILE: a second import takes what is new. Imported outcomes count in statistics;
    they are never reported to domains, because reporting them was OpenDMARC's task.

    Exit status: 0 done, 1 FILE is not a history file of OpenDMARC, 2 FILE or the database cannot be used.
    """
    config = load(path)
    log_output.configure(config.log)
    try:
        if not stat.S_ISREG(Path(file).stat().st_mode):
            fail(f"{file} is not a file")
        counts = Import(Path(file), _writer(config.history.database, dry_run=dry_run), dry=dry_run).run()
    except NoHistoryError as error:
        click.echo(f"dmarcmilter: {file}: {error}", err=True)
        raise SystemExit(EXIT_NO_HISTORY) from None
    except OSError as error:
        fail(f"{file}: {error.strerror or error}")
    except StoreError as error:
        fail(str(error))
    parts = [
        f"{counts.outcomes} outcomes {'would be ' if dry_run else ''}taken in",
        f"{counts.unreadable} not readable",
    ]
    if counts.skipped:
        parts.append(f"the first {counts.skipped} bytes were taken in before")
    if counts.rest:
        parts.append(f"{counts.rest} bytes at the end are no whole record yet")
    click.echo(", ".join(parts))


def _store(url: str) -> Store:
    try:
        return Store(url)
    except StoreError as error:
        fail(str(error))


def _writer(url: str, *, dry_run: bool) -> Writer | None:
    """Open the database for an import; None for a dry run where there are no tables, because it makes none."""
    store = Store(url)
    if not dry_run:
        migrations.migrate(store)
    elif store.is_missing or not _has_tables(store):
        return None
    return Writer(store)


def _has_tables(store: Store) -> bool:
    try:
        Writer(store).reached(b"")
    except StoreError:
        return False
    return True


def _stop_event() -> threading.Event:
    """Set by SIGTERM and SIGINT; the batch in progress is finished first."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
