"""Choices in a database: the operator's SELECT, run for one form of an address at a time."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from dmarcmilter.policy.recipients.choice import Choice, StoredChoice
from dmarcmilter.policy.recipients.database_cache import DatabaseError, MeaninglessError

PARAMETER = "address"
LIBPQ_DRIVERS = ("psycopg", "psycopg2")
NO_SUCH_CHARACTER = ("22021", "22P05")
"""SQLSTATE character_not_in_repertoire and PostgreSQL's untranslatable_character."""
MAX_TOLD = 200
"""Characters of a database's complaint that are logged."""

_TRUE = {"1", "y", "yes", "t", "true", "on"}
_FALSE = {"", "0", "n", "no", "f", "false", "off"}


class Database:
    """May be used from several threads, each with a connection of its own."""

    def __init__(self, url: str, query: str, default: Choice, *, timeout: float, connections: int) -> None:
        """DatabaseError when such a database or query can never be asked. Connects only when it is asked."""
        self._against = StoredChoice.EXEMPT if default is Choice.ENFORCE else StoredChoice.ENFORCE
        self._default = StoredChoice.ENFORCE if default is Choice.ENFORCE else StoredChoice.EXEMPT
        self._query = sa.text(query)
        parameters = set(self._query.compile().params)
        if parameters != {PARAMETER}:
            raise DatabaseError(f"[recipients] query: it must have the parameter :{PARAMETER} and no other")
        try:
            self._engine = _engine(sa.make_url(url), timeout, connections)
        except (exc.ArgumentError, ImportError) as error:
            raise DatabaseError(f"[recipients] database: {_one_line(error)}") from None
        except ValueError:  # a port that is none, where a part of the password may stand: not repeated
            raise DatabaseError("[recipients] database: not an address of a database") from None

    def ask(self, form: str) -> StoredChoice:
        """The choice that is stored under exactly this form of an address.

        An address that the database's character set cannot hold has no choice. It does not count as a failure of the
        database: otherwise, senders of such addresses could stop the queries for all others for a while.
        """
        try:
            return StoredChoice.NOTHING if "\0" in form else self._meaning(self._first(form))
        except UnicodeEncodeError:
            return StoredChoice.NOTHING
        except exc.SQLAlchemyError as error:
            if getattr(getattr(error, "orig", None), "sqlstate", "") in NO_SUCH_CHARACTER:
                return StoredChoice.NOTHING
            raise DatabaseError(_told(error, form)) from None
        except (ValueError, OverflowError, UnicodeError) as error:  # what drivers raise for values they cannot send
            raise DatabaseError(type(error).__name__) from None

    def close(self) -> None:
        self._engine.dispose()

    def _first(self, form: str) -> Any:
        """The first column of the first row; None: no row."""
        try:
            return self._scalar(form)
        except exc.DBAPIError as error:
            # A database that was restarted has closed the connections that are kept: once more, with a new one.
            if not error.connection_invalidated:
                raise
            return self._scalar(form)

    def _scalar(self, form: str) -> Any:
        with self._engine.connect() as connection:
            return connection.execute(self._query, {PARAMETER: form}).scalar()

    def _meaning(self, value: Any) -> StoredChoice:
        """The choice that a value means: a word names it, true is the opposite of the default, false the default."""
        if value is None:
            return StoredChoice.NOTHING
        word = (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip().lower()
        if word in {choice.value for choice in Choice}:
            return StoredChoice(word)
        if word in _TRUE:
            return self._against
        if word in _FALSE:
            return self._default
        raise MeaninglessError(
            "[recipients] query: an answer that is neither exempt nor enforce, neither true nor false"
        )


def _engine(url: sa.URL, timeout: float, connections: int) -> sa.Engine:
    """The engine. It sets nothing on the server, because a pooler may give the connection to others afterwards."""
    options: dict[str, Any] = {}
    if url.get_backend_name() == "sqlite":
        options = {"timeout": timeout}
    elif url.get_driver_name() in LIBPQ_DRIVERS:
        # Threads must return from a server that has vanished. libpq raises a timeout below 2 seconds to 2.
        seconds = max(2, round(timeout))
        options = {"connect_timeout": seconds, "tcp_user_timeout": seconds * 1000}
    engine = sa.create_engine(
        url,
        # No transaction around each question: that would triple the ways to the server and back.
        isolation_level="AUTOCOMMIT",
        pool_size=connections,
        max_overflow=0,
        connect_args=options,
    )
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only = ON"))
    return engine


def _told(error: exc.SQLAlchemyError, form: str) -> str:
    """The database's message, or only its type if the message may contain the address."""
    original = getattr(error, "orig", None)
    if not isinstance(error, exc.OperationalError | exc.ProgrammingError) or original is None:
        return type(original or error).__name__
    local = form.partition("@")[0]
    text = _one_line(original)
    return type(original).__name__ if form in text or (local and local in text) else text


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:MAX_TOLD]
