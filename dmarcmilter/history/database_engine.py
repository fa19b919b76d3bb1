"""How SQLite and PostgreSQL are connected to, and how SQLite's transactions begin."""

import os
import sqlite3
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event

SQLITE_WAIT_MILLISECONDS = 30_000
"""For another writer of the same file (a purge, a second ingest)."""
POSTGRES_CONNECT_SECONDS = 10
"""So that a server that does not answer is noticed, and waited for with the journal as the buffer."""
FILE_MODE = 0o640
"""Of a SQLite file: who wrote to this site is for our group to read, and for nobody else."""

READING = (f"busy_timeout = {SQLITE_WAIT_MILLISECONDS}", "cache_size = -65536")
WRITING = (
    "journal_mode = WAL",
    # After a power failure the last transactions may be gone, rows and positions alike: they are read again.
    "synchronous = NORMAL",
    "journal_size_limit = 67108864",
)
"""PRAGMAs of a connection, the second for those who may write."""


def make(url: str) -> sa.Engine:
    """ArgumentError or ImportError for what is no URL of a database that we know."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    return sa.create_engine(parsed, pool_pre_ping=True, connect_args={"connect_timeout": POSTGRES_CONNECT_SECONDS})


def _give_to_owner_of_folder(made: int, path: str) -> None:
    """Whoever is root and looks at the history first must not keep the service from writing it."""
    folder = os.stat(os.path.dirname(path))  # noqa: PTH116, PTH120
    if os.geteuid() == 0 and folder.st_uid != 0:
        os.fchown(made, folder.st_uid, folder.st_gid)


def only_readable(path: str) -> bool:
    """Whether this user may read that SQLite file and not write it, as members of the filter's group.

    SQLite writes files beside it, too, so the folder counts as well.
    """
    if not os.access(path, os.R_OK, effective_ids=True):
        return False
    return not all(os.access(one, os.W_OK, effective_ids=True) for one in (path, os.path.dirname(path)))  # noqa: PTH120


def _read_only(path: str, parameters: Any) -> sqlite3.Connection:
    """A connection for a reader who can write nothing.

    SQLite finds the newest transactions by the files beside the database, which a writer keeps while it runs. When
    nobody runs they are gone, and all is in the database itself: then it is read as a file that does not change
    ("immutable"); the Store notices if it does.
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
        # SQLite would make a file that everybody can read. Where we cannot make one, it says why.
        with suppress(OSError):
            made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            try:
                _give_to_owner_of_folder(made, path)
            finally:
                os.close(made)
        return None

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        # Transactions are begun by us: the driver's own way begins them too late to keep a reader's view together.
        connection.isolation_level = None
        for pragma in READING if only_readable(str(url.database)) else (*READING, *WRITING):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        reader = connection.get_execution_options().get("dmarcmilter_reader")
        # A writer takes its lock at once: one that began by reading could be refused later, without a wait.
        connection.exec_driver_sql("BEGIN" if reader else "BEGIN IMMEDIATE")

    return engine
