"""Write outcomes and the position in their journal file in one transaction, so that each outcome is written once.

The columns of the tables and how they follow from an outcome are in outcome_rows.py; rows are inserted by their names.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice

from dmarcmilter.history import outcome_rows
from dmarcmilter.history.outcome_rows import DatabaseRow, ParsedLine
from dmarcmilter.history.store import DatabaseConnection, Store, UnacceptableError, execute, execute_many, rows, rows_in
from dmarcmilter.outcome_record import OutcomeRecord
from dmarcmilter.value import Value

MAX_REMEMBERED = 200_000
"""Ids of shared rows kept in memory, for each table. Beyond it the oldest are read from the database again."""
DIGESTS_AT_ONCE = 500
"""Digests in one query: old versions of SQLite take 999 parameters."""

Ids = dict[bytes, int]
"""Ids of the rows of one table, by their digest."""

_POSITION = "SELECT position, unreadable FROM journal_files WHERE digest = :digest"
# Moves only from where this reading started.
_ADVANCE = """
    UPDATE journal_files SET position = :end, outcomes = outcomes + :outcomes, unreadable = unreadable + :unreadable
    WHERE digest = :digest AND position = :start"""
_GENERATION = "SELECT value FROM state WHERE name = 'generation'"


class Advance(Value):
    """A part of a journal file that is written: from `start` to `end`, where the next reading starts."""

    digest: bytes
    name: str
    start: int
    end: int
    unreadable: int
    """Lines that could not be read."""


class Reached(Value):
    """How far a journal file was read."""

    position: int
    unreadable: int
    """Lines that could not be read."""


class Writer:
    """Writes outcomes. Remembers the ids of shared rows until rows are deleted."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._verdicts: Ids = {}
        self._clients: Ids = {}
        self._generation = -1

    def reached(self, digest: bytes) -> Reached:
        """How far this journal file was read."""
        files = self._store.query(_POSITION, digest=digest)
        return Reached(files[0].position, files[0].unreadable) if files else Reached(0, 0)

    def write(self, lines: Sequence[ParsedLine], advance: Advance) -> bool:
        """Write all lines or none; False if another process has read them already."""
        with self._store.writing() as connection:
            self._forget_if_purged(connection)
            if not _advanced(connection, advance, len(lines)):
                return False
            verdicts, clients = self._insert(connection, lines)
        # Only after the commit: ids of a transaction that failed may never have existed.
        _remember(self._verdicts, verdicts)
        _remember(self._clients, clients)
        return True

    def refusal(self, line: ParsedLine) -> str:
        """Why the database refuses this line; empty if it does not. Writes nothing."""
        try:
            with self._store.writing() as connection:
                self._insert(connection, [line])
                connection.rollback()
        except UnacceptableError as error:
            return str(error)
        return ""

    def _insert(self, connection: DatabaseConnection, lines: Sequence[ParsedLine]) -> tuple[Ids, Ids]:
        verdicts = self._verdict_ids(connection, lines)
        clients = self._client_ids(connection, lines)
        outcomes = [
            line.outcome | {"verdict_id": verdicts[line.verdict_digest], "client_id": clients[line.client_digest]}
            for line in lines
        ]
        _insert(connection, "outcomes", outcomes)
        return verdicts, clients

    def _forget_if_purged(self, connection: DatabaseConnection) -> None:
        """Forget all ids if shared rows were deleted since they were read.

        On PostgreSQL the lock of this row makes this transaction and a deletion wait for each other. SQLite has one
        writer at a time anyway.
        """
        lock = "" if self._store.is_sqlite else " FOR SHARE"
        generation = rows(connection, _GENERATION + lock)[0].value
        if generation != self._generation:
            self._verdicts.clear()
            self._clients.clear()
            self._generation = generation

    def _client_ids(self, connection: DatabaseConnection, lines: Sequence[ParsedLine]) -> Ids:
        wanted = {line.client_digest: line for line in lines}
        known, missing = _known(connection, "clients", wanted, self._clients)
        new = [outcome_rows.client(wanted[digest].record) | {"digest": digest} for digest in missing]
        return known | _added(connection, "clients", new)

    def _verdict_ids(self, connection: DatabaseConnection, lines: Sequence[ParsedLine]) -> Ids:
        wanted = {line.verdict_digest: line for line in lines}
        known, missing = _known(connection, "verdicts", wanted, self._verdicts)
        records = {digest: wanted[digest].record for digest in missing}
        policies = _policy_ids(connection, records.values())
        new = []
        for digest, record in records.items():
            policy = outcome_rows.policy(record)
            policy_id = policies[policy[0]] if policy else None
            new.append(outcome_rows.verdict(record) | {"digest": digest, "policy_id": policy_id})
        ids = _added(connection, "verdicts", new)
        for table, columns in (("signatures", outcome_rows.signatures), ("overrides", outcome_rows.overrides)):
            parts = [row | {"verdict_id": ids[digest]} for digest in missing for row in columns(records[digest])]
            _insert(connection, table, parts)
        return known | ids


def _advanced(connection: DatabaseConnection, advance: Advance, outcomes: int) -> bool:
    """Move the position in the journal file; False if it is not where this reading started."""
    if advance.start == 0:
        start = {"digest": advance.digest, "name": advance.name, "position": 0, "outcomes": 0, "unreadable": 0}
        _insert(connection, "journal_files", [start])
    moved = execute(
        connection,
        _ADVANCE,
        digest=advance.digest,
        start=advance.start,
        end=advance.end,
        outcomes=outcomes,
        unreadable=advance.unreadable,
    )
    return moved == 1


def _policy_ids(connection: DatabaseConnection, records: Iterable[OutcomeRecord]) -> Ids:
    wanted = dict(filter(None, map(outcome_rows.policy, records)))
    known, missing = _known(connection, "policies", wanted, {})
    return known | _added(connection, "policies", [wanted[digest] | {"digest": digest} for digest in missing])


def _known(
    connection: DatabaseConnection, table: str, wanted: Iterable[bytes], remembered: Ids
) -> tuple[Ids, list[bytes]]:
    """The ids of rows that exist, and the digests of those that do not.

    These are sorted: all writers insert in the same order, so that no two wait for each other.
    """
    known = {digest: remembered[digest] for digest in wanted if digest in remembered}
    known |= _ids(connection, table, [digest for digest in wanted if digest not in known])
    return known, sorted(digest for digest in wanted if digest not in known)


def _ids(connection: DatabaseConnection, table: str, digests: Sequence[bytes]) -> Ids:
    ids: Ids = {}
    for start in range(0, len(digests), DIGESTS_AT_ONCE):
        batch = digests[start : start + DIGESTS_AT_ONCE]
        sql = f"SELECT digest, id FROM {table} WHERE digest IN :digests"  # noqa: S608  tables of this module
        ids.update((bytes(row.digest), row.id) for row in rows_in(connection, sql, digests=batch))
    return ids


def _added(connection: DatabaseConnection, table: str, new: Sequence[DatabaseRow]) -> Ids:
    """Insert the rows that no other writer has inserted meanwhile, and read the ids of all."""
    _insert(connection, table, new)
    return _ids(connection, table, [row["digest"] for row in new])


def _insert(connection: DatabaseConnection, table: str, new: Sequence[Mapping[str, object]]) -> None:
    """Insert rows of the same columns. Those whose key exists already are left out."""
    if new:
        execute_many(connection, _insert_sql(table, tuple(new[0])), new)


@lru_cache(maxsize=64)
def _insert_sql(table: str, columns: tuple[str, ...]) -> str:
    values = ", ".join(f":{column}" for column in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values}) ON CONFLICT DO NOTHING"  # noqa: S608


def _remember(memory: Ids, ids: Ids) -> None:
    """Add ids; when there are too many, the oldest go first."""
    memory.update(ids)
    for digest in list(islice(memory, max(0, len(memory) - MAX_REMEMBERED))):
        del memory[digest]
