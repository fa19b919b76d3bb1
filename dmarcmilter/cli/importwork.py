"""The work of `dmarcmilter history import-opendmarc`: loaded only by it, for the SQL that comes with it."""

import stat
from pathlib import Path

import click

from dmarcmilter.cli.common import fail
from dmarcmilter.config.schema import Config
from dmarcmilter.daemon import log_output
from dmarcmilter.history import migrations
from dmarcmilter.history.store import Store, StoreError
from dmarcmilter.history.table_writer import Writer
from dmarcmilter.opendmarc.history_import import Import, NoHistoryError

EXIT_NO_HISTORY = 1


def import_opendmarc(config: Config, file: str, *, dry: bool) -> None:
    log_output.configure(config.log)
    path = Path(file)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            fail(f"{file} is not a file")
        work = Import(path, _writer(config.history.database, dry=dry), dry=dry)
        counts = work.run()
    except NoHistoryError as error:
        click.echo(f"dmarcmilter: {file}: {error}", err=True)
        raise SystemExit(EXIT_NO_HISTORY) from None
    except OSError as error:
        fail(f"{file}: {error.strerror or error}")
    except StoreError as error:
        fail(str(error))
    words = [f"{counts.outcomes} outcomes {'would be ' if dry else ''}taken in", f"{counts.unreadable} not readable"]
    words += [f"the first {counts.skipped} octets were taken in before"] if counts.skipped else []
    words += [f"{counts.rest} octets at the end are no whole record yet"] if counts.rest else []
    click.echo(", ".join(words))


def _writer(url: str, *, dry: bool) -> Writer | None:
    """None: a dry run over a database that has nothing in it; it is not made for that."""
    store = Store(url)
    if not dry:
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
