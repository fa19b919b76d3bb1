"""The store: the tables as SQLAlchemy Core sees them, and connections to SQLite or PostgreSQL.

docs/history.md explains the tables; schema.py makes them. A message is one row of `outcomes`; what many messages have
in common (the verdict with its identifiers, the policy record, the client) is stored once and shared.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from dmarcmilter.history import database_engine
from dmarcmilter.history.database_url import without_password

Connection = sa.Connection

STREAM_ROWS = 1000
"""Held in memory at once when a result is streamed."""

metadata = sa.MetaData()

policies = sa.Table(
    "policies",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("domain", sa.Text, nullable=False, index=True),
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("discovery", sa.Text, nullable=False),
    sa.Column("usable", sa.Boolean, nullable=False),
    sa.Column("p", sa.Text, nullable=False),
    sa.Column("sp", sa.Text),
    sa.Column("np", sa.Text),
    sa.Column("adkim", sa.Text, nullable=False),
    sa.Column("aspf", sa.Text, nullable=False),
    sa.Column("pct", sa.Integer),
    sa.Column("t", sa.Text),
    sa.Column("psd", sa.Text, nullable=False),
    sa.Column("fo", sa.Text, nullable=False),
    sa.Column("rua", sa.Text, nullable=False),
    sa.Column("ruf", sa.Text, nullable=False),
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("policy_id", sa.BigInteger, index=True),
    sa.Column("author_domain", sa.Text),
    sa.Column("author_problem", sa.Text),
    sa.Column("organizational_domain", sa.Text),
    sa.Column("mail_from_domain", sa.Text),
    sa.Column("spf_result", sa.Text, nullable=False),
    sa.Column("spf_domain", sa.Text),
    sa.Column("spf_scope", sa.Text, nullable=False),
    sa.Column("spf_aligned", sa.Boolean, nullable=False),
    sa.Column("dkim_aligned", sa.Boolean, nullable=False),
    sa.Column("arc_result", sa.Text, nullable=False),
    sa.Column("dmarc_result", sa.Text, nullable=False),
    sa.Column("tag", sa.Text),
    sa.Column("published", sa.Text),
    sa.Column("requested", sa.Text),
    sa.Column("sampled_out", sa.Boolean, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("disposition", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("would", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)

signatures = sa.Table(
    "signatures",
    metadata,
    sa.Column("verdict_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("domain", sa.Text),
    sa.Column("selector", sa.Text),
    sa.Column("algorithm", sa.Text),
    sa.Column("testing", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

overrides = sa.Table(
    "overrides",
    metadata,
    sa.Column("verdict_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("rfc7489", sa.Text, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("entry", sa.Text),
)

clients = sa.Table(
    "clients",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("ip", sa.Text),
    sa.Column("helo", sa.Text),
)

outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("day", sa.Integer, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False, index=True),
    sa.Column("queue_id", sa.Text, index=True),
    sa.Column("verdict_id", sa.BigInteger, nullable=False),
    sa.Column("client_id", sa.BigInteger, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("dns_queries", sa.Integer, nullable=False),
    sa.Column("dns_cache_hits", sa.Integer, nullable=False),
    sa.Column("dns_microseconds", sa.BigInteger, nullable=False),
    sa.Column("microseconds", sa.BigInteger, nullable=False),
    sa.Column("message_id_hash", sa.BigInteger, index=True),
    sa.Column("detail", sa.Text),
    sa.Index("ix_outcomes_day", "day", "verdict_id", "client_id"),
)

journal_files = sa.Table(
    "journal_files",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("outcomes", sa.BigInteger, nullable=False),
    sa.Column("unreadable", sa.BigInteger, nullable=False),
)

state = sa.Table(
    "state",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

schema_version = sa.Table("schema_version", metadata, sa.Column("number", sa.Integer, primary_key=True))


class StoreError(Exception):
    """The database cannot be used now: it is down, full, locked, or not the one we know. Trying again may help."""


class UnacceptableError(Exception):
    """The database refuses these values, now and always."""


class Store:
    """One database. Short transactions; nothing of it is in the way of mail."""

    def __init__(self, url: str) -> None:
        try:
            self._engine = database_engine.make(url)
        except (exc.ArgumentError, ImportError) as error:
            raise StoreError(f"[history] database: {_one_line(error)}") from error
        except ValueError:
            # A port that is none, where a part of the password may stand: its text is not repeated, nor is its cause.
            raise StoreError("[history] database: not an address of a database") from None
        self._url = without_password(url)
        self._opened: tuple[int, int] | None = None
        """Which file a connection is to, for SQLite."""
        if self.is_sqlite:
            event.listen(self._engine, "connect", self._on_connect)

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    @property
    def is_missing(self) -> bool:
        """A SQLite file that nobody has made yet; opening it would make it. StoreError when that cannot be seen."""
        try:
            if self._file is not None:
                self._file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError as error:
            raise StoreError(self._said(error.strerror or str(error))) from error
        return False

    @property
    def _file(self) -> Path | None:
        name = self._engine.url.database
        return Path(name) if self.is_sqlite and name and name != ":memory:" else None

    def _on_connect(self, *_: object) -> None:
        self._opened = _inode(self._file)

    def must_be_the_same(self) -> None:
        """StoreError for a SQLite file that was removed or replaced: what is open still takes rows, and nobody would
        ever see them.
        """
        if self._opened is not None and _inode(self._file) != self._opened:
            self._opened = None
            self._engine.dispose()
            raise StoreError(f"{self._file}: removed or replaced")

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction: all of it or nothing. StoreError or UnacceptableError."""
        self.must_be_the_same()
        try:
            with self._trouble(), self._engine.begin() as connection:
                yield connection
        except (ValueError, OverflowError, TypeError, KeyError) as error:
            # What drivers raise for values that they cannot send, and we for records without what we need.
            raise UnacceptableError(f"{type(error).__name__}: {error}") from error

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A view of one moment, that waits for no writer and holds none up. StoreError."""
        self.must_be_the_same()
        with self._trouble():
            with self._engine.connect().execution_options(**self._reader()) as connection:
                before = self._unlocked_state()
                yield connection
            if self._unlocked_state() != before:
                raise StoreError(self._said("it changed while it was read: run this command again"))

    def query(self, sql: str, **values: Any) -> list[Any]:
        """The rows of one query, in a transaction of its own."""
        with self.reading() as connection:
            return rows(connection, sql, **values)

    def change(self, sql: str, **values: Any) -> int:
        """Run one statement in a transaction of its own; returns the number of rows changed."""
        with self.writing() as connection:
            return execute(connection, sql, **values)

    def _unlocked_state(self) -> tuple[int, int, bool] | None:
        """What shows that a file which is read without locks was written to; None: it is read with locks."""
        if self._file is None or not database_engine.only_readable(str(self._file)):
            return None
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, os.path.exists(f"{self._file}-wal")  # noqa: PTH110

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        """What the database says, sorted into values that it will never take, and all else, which may pass.

        When in doubt it passes: what is tried again is not lost.
        """
        try:
            yield
        except (exc.DataError, exc.IntegrityError) as error:
            raise UnacceptableError(_one_line(error)) from error
        except exc.SQLAlchemyError as error:
            raise StoreError(self._said(_one_line(error))) from error

    def _said(self, text: str) -> str:
        """With the database's file or address, and what can be done."""
        return f"{self._file or self._url}: {text}{_advice(text, self._file)}"

    def _reader(self) -> dict[str, Any]:
        return {"dmarcmilter_reader": True} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}

    def close(self) -> None:
        self._engine.dispose()


@lru_cache(maxsize=1024)
def _text(sql: str) -> sa.TextClause:
    """Parsed once: statements are few and called often."""
    return sa.text(sql)


def rows(connection: sa.Connection, sql: str, **values: Any) -> list[Any]:
    """The rows of a query, for modules that need no more of SQLAlchemy than this."""
    return list(connection.execute(_text(sql), values))


def execute(connection: sa.Connection, sql: str, **values: Any) -> int:
    """The number of rows that a statement changed."""
    return connection.execute(_text(sql), values).rowcount


def execute_many(connection: sa.Connection, sql: str, values: Sequence[Mapping[str, Any]]) -> None:
    """One statement with many sets of values."""
    if values:
        connection.execute(_text(sql), values)


def stream(connection: sa.Connection, sql: str, *, at_once: int = STREAM_ROWS, **values: Any) -> Iterator[Any]:
    """The same for results that may not fit into memory: at most `at_once` rows are held."""
    # An option of this statement alone: the connection's own would hold for all that follow.
    with connection.execute(_text(sql), values, execution_options={"yield_per": at_once}) as found:
        yield from found


def _advice(text: str, file: Path | None) -> str:
    if "readonly database" in text:
        return " (only root and the filter's user may write it; an older schema is renewed by `history ingest`)"
    if file is not None and "unable to open" in text:
        return " (not readable for this user, or its folder does not exist)"
    return " (only root, the filter's user and members of its group may read it)" if "ermission denied" in text else ""


def _inode(path: Path | None) -> tuple[int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None


def _one_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "orig", None) or error).split())
