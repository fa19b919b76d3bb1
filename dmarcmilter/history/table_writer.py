"""Lines of the journal into the store: rows and the position in the file in one transaction, so exactly once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from dmarcmilter.history import outcome_rows, store
from dmarcmilter.history.outcome_rows import Line, Row
from dmarcmilter.history.store import Store, UnacceptableError

MAX_REMEMBERED = 200_000
"""Ids of shared rows kept in memory, for each table; beyond it they are asked for again."""
ASKED_AT_ONCE = 500
"""Digests in one query: old SQLite takes 999 parameters."""

Ids = dict[bytes, int]


@dataclass(frozen=True, slots=True)
class Advance:
    """Of one journal file, from where it was read to where the next reading starts."""

    digest: bytes
    name: str
    start: int
    end: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class Reached:
    position: int
    unreadable: int
    """Lines."""


class Writer:
    """Keeps the ids of shared rows that it has seen, for as long as no purge may have taken them."""

    def __init__(self, target: Store) -> None:
        self._store = target
        self._verdicts: Ids = {}
        self._clients: Ids = {}
        self._generation = -1

    def reached(self, digest: bytes) -> Reached:
        """How far this journal file has been read."""
        files = store.journal_files
        with self._store.reading() as connection:
            query = sa.select(files.c.position, files.c.unreadable).where(files.c.digest == digest)
            found = connection.execute(query).one_or_none()
        return Reached(found.position, found.unreadable) if found else Reached(0, 0)

    def write(self, lines: Sequence[Line], advance: Advance) -> bool:
        """All or nothing; False: another process has read these lines already."""
        with self._store.writing() as connection:
            self._forget_if_purged(connection)
            if not _advanced(connection, advance, len(lines)):
                return False
            verdicts, clients = self._insert(connection, lines)
        # Only now: what a failed transaction was told may never have been.
        _remember(self._verdicts, verdicts)
        _remember(self._clients, clients)
        return True

    def refusal(self, line: Line) -> str:
        """Why the database would not take this line; empty: it would. Nothing is written."""
        try:
            with self._store.writing() as connection:
                self._insert(connection, [line])
                connection.rollback()
        except UnacceptableError as error:
            return str(error)
        return ""

    def _insert(self, connection: sa.Connection, lines: Sequence[Line]) -> tuple[Ids, Ids]:
        verdicts = self._verdict_ids(connection, lines)
        clients = self._client_ids(connection, lines)
        found = [
            line.outcome | {"verdict_id": verdicts[line.verdict_digest], "client_id": clients[line.client_digest]}
            for line in lines
        ]
        if found:
            connection.execute(sa.insert(store.outcomes), found)
        return verdicts, clients

    def _forget_if_purged(self, connection: sa.Connection) -> None:
        """A purge removes shared rows; it and this transaction wait for each other on this row."""
        state = store.state
        generation = connection.execute(
            sa.select(state.c.value).where(state.c.name == "generation").with_for_update(read=True)
        ).scalar_one()
        if generation != self._generation:
            self._verdicts.clear()
            self._clients.clear()
            self._generation = generation

    def _client_ids(self, connection: sa.Connection, lines: Sequence[Line]) -> Ids:
        wanted = {line.client_digest: line for line in lines}
        known, missing = _known(connection, store.clients, wanted, self._clients)
        new = [outcome_rows.client(wanted[digest].record) | {"digest": digest} for digest in missing]
        return known | _added(connection, store.clients, new)

    def _verdict_ids(self, connection: sa.Connection, lines: Sequence[Line]) -> Ids:
        wanted = {line.verdict_digest: line for line in lines}
        known, missing = _known(connection, store.verdicts, wanted, self._verdicts)
        records = {digest: wanted[digest].record for digest in missing}
        policies = _policy_ids(connection, records.values())
        new = []
        for digest, record in records.items():
            policy = outcome_rows.policy(record)
            policy_id = policies[policy[0]] if policy else None
            new.append(outcome_rows.verdict(record) | {"digest": digest, "policy_id": policy_id})
        ids = _added(connection, store.verdicts, new)
        for table, columns in ((store.signatures, outcome_rows.signatures), (store.overrides, outcome_rows.overrides)):
            parts = [row | {"verdict_id": ids[digest]} for digest in missing for row in columns(records[digest])]
            _insert_if_new(connection, table, parts)
        return known | ids


def _advanced(connection: sa.Connection, advance: Advance, outcomes: int) -> bool:
    """Move the position, if it still is where this reading started."""
    files = store.journal_files
    start = {"digest": advance.digest, "name": advance.name, "position": 0, "outcomes": 0, "unreadable": 0}
    if advance.start == 0:
        _insert_if_new(connection, files, [start])
    moved = connection.execute(
        sa.update(files)
        .where(files.c.digest == advance.digest, files.c.position == advance.start)
        .values(
            position=advance.end,
            outcomes=files.c.outcomes + outcomes,
            unreadable=files.c.unreadable + advance.unreadable,
        )
    )
    return moved.rowcount == 1


def _policy_ids(connection: sa.Connection, records: Iterable[outcome_rows.Record]) -> Ids:
    wanted = dict(filter(None, map(outcome_rows.policy, records)))
    known, missing = _known(connection, store.policies, wanted, {})
    return known | _added(connection, store.policies, [wanted[digest] | {"digest": digest} for digest in missing])


def _known(
    connection: sa.Connection, table: sa.Table, wanted: Iterable[bytes], remembered: Ids
) -> tuple[Ids, list[bytes]]:
    """The ids that are there, and the digests that are not.

    These are sorted: all writers insert in the same order, so none waits for one that waits for it.
    """
    known = {digest: remembered[digest] for digest in wanted if digest in remembered}
    known |= _asked(connection, table, [digest for digest in wanted if digest not in known])
    return known, sorted(digest for digest in wanted if digest not in known)


def _asked(connection: sa.Connection, table: sa.Table, digests: list[bytes]) -> Ids:
    found: Ids = {}
    for start in range(0, len(digests), ASKED_AT_ONCE):
        some = digests[start : start + ASKED_AT_ONCE]
        query = sa.select(table.c.digest, table.c.id).where(table.c.digest.in_(some))
        found.update((bytes(digest), number) for digest, number in connection.execute(query))
    return found


def _added(connection: sa.Connection, table: sa.Table, new: list[Row]) -> Ids:
    """Insert what nobody else has inserted meanwhile, and ask for the ids of all."""
    _insert_if_new(connection, table, new)
    return _asked(connection, table, [row["digest"] for row in new])


def _insert_if_new(connection: sa.Connection, table: sa.Table, new: list[Row]) -> None:
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    if new:
        connection.execute(dialect.insert(table).on_conflict_do_nothing(), new)


def _remember(memory: Ids, ids: Ids) -> None:
    """The oldest go first, when it is full."""
    memory.update(ids)
    for digest in list(islice(memory, max(0, len(memory) - MAX_REMEMBERED))):
        del memory[digest]
