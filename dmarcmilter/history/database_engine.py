"""Connections to SQLite and PostgreSQL, and how SQLite's transactions begin."""

import os
import sqlite3
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event

SQLITE_WAIT_MILLISECONDS = 30_000
"""Milliseconds to wait for another writer of the same file (a purge, a second ingest); then StoreError."""
POSTGRES_CONNECT_SECONDS = 10
"""Seconds to wait for a connection. Beyond it the server counts as down; the journal keeps the outcomes."""
FILE_MODE = 0o640
"""Mode of a SQLite file: only the filter's group may read who wrote to this site."""

READING = (f"busy_timeout = {SQLITE_WAIT_MILLISECONDS}", "cache_size = -65536")
WRITING = (
    "journal_mode = WAL",
    # A power failure may undo the last transactions, rows and positions alike: they are read again from the journal.
    "synchronous = NORMAL",
    "journal_size_limit = 67108864",
)
"""PRAGMAs of connections that write, beside READING."""


def make(url: str) -> sa.Engine:
    """The engine for a database URL. ArgumentError or ImportError if it is not one of a supported database."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    return sa.create_engine(parsed, pool_pre_ping=True, connect_args={"connect_timeout": POSTGRES_CONNECT_SECONDS})


def _give_to_owner_of_folder(made: int, path: str) -> None:
    """If root is the first to use the database, the service must still be able to write to it."""
    folder = os.stat(os.path.dirname(path))  # noqa: PTH116, PTH120
    if os.geteuid() == 0 and folder.st_uid != 0:
        os.fchown(made, folder.st_uid, folder.st_gid)


def only_readable(path: str) -> bool:
    """Whether this user may read the SQLite file but not write to it, like members of the filter's group.

    SQLite also writes files beside it, so the folder counts too.
    """
    if not os.access(path, os.R_OK, effective_ids=True):
        return False
    return not all(os.access(name, os.W_OK, effective_ids=True) for name in (path, os.path.dirname(path)))  # noqa: PTH120


def _read_only(path: str, parameters: Any) -> sqlite3.Connection:
    """A connection for a user who may not write.

    SQLite finds the newest transactions in files beside the database, which exist while a writer runs. Without them all
    data is in the database itself, which is then opened as a file that does not change ("immutable"); the Store notices
    if it does.
    """
    uri = f"file:{quote(path)}?mode=ro"
    connection: sqlite3.Connection = sqlite3.connect(uri, uri=True, **parameters)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if os.path.exists(f"{path}-wal"):  # noqa: PTH110
            raise
        connection = sqlite3.connect(f"{uri}&immutable=1", uri=True, **parameters)
    return connection


def _sqlite(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url)

    @event.listens_for(engine, "do_connect")
    def open_file(_dialect: object, _record: object, arguments: Any, parameters: Any) -> sqlite3.Connection | None:
        path = str(arguments[0])
        if not path.startswith("/"):  # in memory
            return None
        if only_readable(path):
            return _read_only(path, parameters)
        # SQLite would create a file that everyone can read. If creating it fails here, SQLite reports the reason.
        with suppress(OSError):
            made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            try:
                _give_to_owner_of_folder(made, path)
            finally:
                os.close(made)
        return None

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        # Transactions begin below: the driver would begin them too late to give a reader one consistent view.
        connection.isolation_level = None
        for pragma in READING if only_readable(str(url.database)) else (*READING, *WRITING):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        reader = connection.get_execution_options().get("dmarcmilter_reader")
        # A writer takes its lock at once: if it began by reading, SQLite could refuse the lock later without waiting.
        connection.exec_driver_sql("BEGIN" if reader else "BEGIN IMMEDIATE")

    return engine
