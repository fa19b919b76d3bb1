"""The database: connections to SQLite or PostgreSQL, and the functions that run SQL on them.

SQL is written as text with named values (:name) that both databases understand. docs/dev/schema.md explains the tables;
migrations.py creates them, and outcome_rows.py says which column holds what of an outcome.
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

DatabaseConnection = sa.Connection

STREAM_ROWS = 1000
"""Rows of a streamed result held in memory at once."""


class StoreError(Exception):
    """The database cannot be used now: it is down, full, locked, or of another version. Trying again may help."""


class UnacceptableError(Exception):
    """The database refuses these values, and always will."""


class Store:
    """One database, used in short transactions. Mail never waits for it."""

    def __init__(self, url: str) -> None:
        try:
            self._engine = database_engine.make(url)
        except (exc.ArgumentError, ImportError) as error:
            raise StoreError(f"[history] database: {_one_line(error)}") from error
        except ValueError:
            # The port is no number: it may be part of a password, so neither the text nor the cause is shown.
            raise StoreError("[history] database: not an address of a database") from None
        self._url = without_password(url)
        self._opened: tuple[int, int] | None = None
        """Device and inode of the SQLite file that connections have open."""
        if self.is_sqlite:
            event.listen(self._engine, "connect", self._on_connect)

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    @property
    def is_missing(self) -> bool:
        """Whether the SQLite file does not exist; opening it would create it. StoreError if that cannot be seen."""
        try:
            if self._file is not None:
                self._file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError as error:
            raise StoreError(self._message(error.strerror or str(error))) from error
        return False

    @property
    def _file(self) -> Path | None:
        name = self._engine.url.database
        return Path(name) if self.is_sqlite and name and name != ":memory:" else None

    def _on_connect(self, *_: object) -> None:
        self._opened = _inode(self._file)

    def raise_if_replaced(self) -> None:
        """StoreError if the SQLite file was removed or replaced: rows written to the open connection would be lost."""
        if self._opened is not None and _inode(self._file) != self._opened:
            self._opened = None
            self._engine.dispose()
            raise StoreError(f"{self._file}: removed or replaced")

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A writing transaction, committed as a whole or not at all. StoreError or UnacceptableError."""
        self.raise_if_replaced()
        try:
            with self._translated_errors(), self._engine.begin() as connection:
                yield connection
        except (ValueError, OverflowError, TypeError, KeyError) as error:
            # Drivers raise these for values that they cannot send.
            raise UnacceptableError(f"{type(error).__name__}: {error}") from error

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that reads one state of the database. It waits for no writer, and no writer waits for it.

        StoreError.
        """
        self.raise_if_replaced()
        with self._translated_errors():
            with self._engine.connect().execution_options(**self._reader()) as connection:
                before = self._unlocked_state()
                yield connection
            if self._unlocked_state() != before:
                raise StoreError(self._message("it changed while it was read: run this command again"))

    def query(self, sql: str, **values: Any) -> list[Any]:
        """The rows of one query, in a transaction of its own."""
        with self.reading() as connection:
            return rows(connection, sql, **values)

    def change(self, sql: str, **values: Any) -> int:
        """Run one statement in a transaction of its own; returns the number of rows changed."""
        with self.writing() as connection:
            return execute(connection, sql, **values)

    def _unlocked_state(self) -> tuple[int, int, bool] | None:
        """Values that change when a file that is read without locks is written to; None if it is read with locks."""
        if self._file is None or not database_engine.only_readable(str(self._file)):
            return None
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, os.path.exists(f"{self._file}-wal")  # noqa: PTH110

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Turn SQLAlchemy's errors into UnacceptableError for values that the database never accepts, else StoreError.

        In doubt it is StoreError: the outcomes are tried again, and not lost.
        """
        try:
            yield
        except (exc.DataError, exc.IntegrityError) as error:
            raise UnacceptableError(_one_line(error)) from error
        except exc.SQLAlchemyError as error:
            raise StoreError(self._message(_one_line(error))) from error

    def _message(self, text: str) -> str:
        """An error with the database's file or address, and what can be done."""
        return f"{self._file or self._url}: {text}{_advice(text, self._file)}"

    def _reader(self) -> dict[str, Any]:
        return {"dmarcmilter_reader": True} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}

    def close(self) -> None:
        self._engine.dispose()


@lru_cache(maxsize=1024)
def _text(sql: str) -> sa.TextClause:
    """A statement, parsed once: there are few, and they are run often."""
    return sa.text(sql)


@lru_cache(maxsize=64)
def _text_with_lists(sql: str, names: tuple[str, ...]) -> sa.TextClause:
    return sa.text(sql).bindparams(*(sa.bindparam(name, expanding=True) for name in names))


def rows(connection: sa.Connection, sql: str, **values: Any) -> list[Any]:
    """The rows of a query."""
    return list(connection.execute(_text(sql), values))


def rows_in(connection: sa.Connection, sql: str, **lists: Sequence[Any]) -> list[Any]:
    """The rows of a query with `column IN :name`, for lists of values."""
    return list(connection.execute(_text_with_lists(sql, tuple(lists)), lists))


def execute(connection: sa.Connection, sql: str, **values: Any) -> int:
    """Run a statement; returns the number of rows that it changed."""
    return connection.execute(_text(sql), values).rowcount


def execute_many(connection: sa.Connection, sql: str, values: Sequence[Mapping[str, Any]]) -> None:
    """Run one statement once for each set of values."""
    if values:
        connection.execute(_text(sql), values)


def stream(connection: sa.Connection, sql: str, *, at_once: int = STREAM_ROWS, **values: Any) -> Iterator[Any]:
    """The rows of a query that may not fit into memory: at most `at_once` are held."""
    # As an option of the connection it would hold for all later statements too.
    with connection.execute(_text(sql), values, execution_options={"yield_per": at_once}) as result:
        yield from result


def _advice(text: str, file: Path | None) -> str:
    if "readonly database" in text:
        return " (only root and the filter's user may write to it; `history ingest` upgrades an older schema)"
    if file is not None and "unable to open" in text:
        return " (not readable for this user, or its folder does not exist)"
    return " (only root, the filter's user and members of its group may read it)" if "ermission denied" in text else ""


def _inode(path: Path | None) -> tuple[int, int] | None:
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status else None


def _one_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "orig", None) or error).split())
