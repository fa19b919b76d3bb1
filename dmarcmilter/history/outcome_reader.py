"""Read outcome records from the database, as they were in the journal."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from dmarcmilter.history.outcome_rows import DatabaseRow, StoredOutcome, rebuilt, signed_number
from dmarcmilter.history.store import DatabaseConnection, rows, stream
from dmarcmilter.outcome_record import OutcomeRecord, UndecodableError
from dmarcmilter.value import Value

log = logging.getLogger(__name__)

MAX_OUTCOMES = 100
"""Outcomes read for one id, newest first; older ones are left out. MTAs reuse short queue ids."""
MAX_CACHED = 20_000
"""Verdicts, and clients, kept in memory while outcomes are streamed. Beyond it they are read again."""

QUEUE_ID_SQL = "SELECT * FROM outcomes WHERE queue_id = :queue_id ORDER BY time DESC LIMIT :most"
HASH_SQL = "SELECT * FROM outcomes WHERE message_id_hash = :number ORDER BY time DESC LIMIT :most"
BETWEEN_SQL = "SELECT * FROM outcomes WHERE time >= :since AND time < :until ORDER BY time"
SPAN_SQL = "SELECT min(time) AS first, count(*) AS outcomes FROM outcomes WHERE time >= :since AND time < :until"
VERDICT_SQL = "SELECT * FROM verdicts WHERE id = :id"
POLICY_SQL = "SELECT * FROM policies WHERE id = :id"
CLIENT_SQL = "SELECT * FROM clients WHERE id = :id"
SIGNATURES_SQL = "SELECT * FROM signatures WHERE verdict_id = :id ORDER BY position"
OVERRIDES_SQL = "SELECT * FROM overrides WHERE verdict_id = :id ORDER BY position"


def of_queue_id(connection: DatabaseConnection, queue_id: str) -> Iterator[OutcomeRecord]:
    """The outcomes of a queue id, newest first. Rows that hold no outcome record are left out."""
    return _records(connection, _dicts(connection, QUEUE_ID_SQL, queue_id=queue_id, most=MAX_OUTCOMES))


def of_message_id(connection: DatabaseConnection, digits: str) -> Iterator[OutcomeRecord]:
    """The outcomes of messages whose Message-ID has this keyed hash, newest first."""
    return _records(connection, _dicts(connection, HASH_SQL, number=signed_number(digits), most=MAX_OUTCOMES))


def between(connection: DatabaseConnection, since: datetime, until: datetime) -> Iterator[OutcomeRecord | None]:
    """All outcomes of a period, oldest first; None for rows that hold no outcome record.

    Recently read verdicts and clients are taken from memory.
    """

    @lru_cache(maxsize=MAX_CACHED)
    def verdict(verdict_id: int) -> _Verdict:
        return _verdict(connection, verdict_id)

    @lru_cache(maxsize=MAX_CACHED)
    def client(client_id: int) -> DatabaseRow:
        return _dicts(connection, CLIENT_SQL, id=client_id)[0]

    for row in stream(connection, BETWEEN_SQL, since=_milliseconds(since), until=_milliseconds(until)):
        outcome = row._asdict()
        yield _joined(outcome, verdict(outcome["verdict_id"]), client(outcome["client_id"]))


def first_between(connection: DatabaseConnection, since: datetime, until: datetime) -> tuple[datetime | None, int]:
    """The time of the first outcome of a period, and the number of outcomes."""
    span = rows(connection, SPAN_SQL, since=_milliseconds(since), until=_milliseconds(until))[0]
    first = None if span.first is None else datetime.fromtimestamp(int(span.first) / 1000, UTC)
    return first, int(span.outcomes)


def _milliseconds(when: datetime) -> int:
    return int(when.timestamp() * 1000)


def _records(connection: DatabaseConnection, outcomes: list[DatabaseRow]) -> Iterator[OutcomeRecord]:
    for outcome in outcomes:
        client = _dicts(connection, CLIENT_SQL, id=outcome["client_id"])[0]
        record = _joined(outcome, _verdict(connection, outcome["verdict_id"]), client)
        if record is not None:
            yield record


class _Verdict(Value):
    row: DatabaseRow
    policy: DatabaseRow | None
    signatures: list[DatabaseRow]
    overrides: list[DatabaseRow]


def _verdict(connection: DatabaseConnection, verdict_id: int) -> _Verdict:
    row = _dicts(connection, VERDICT_SQL, id=verdict_id)[0]
    policies = _dicts(connection, POLICY_SQL, id=row["policy_id"])
    return _Verdict(
        row=row,
        policy=policies[0] if policies else None,
        signatures=_dicts(connection, SIGNATURES_SQL, id=verdict_id),
        overrides=_dicts(connection, OVERRIDES_SQL, id=verdict_id),
    )


def _joined(outcome: DatabaseRow, verdict: _Verdict, client: DatabaseRow) -> OutcomeRecord | None:
    try:
        return rebuilt(
            StoredOutcome(
                outcome=outcome,
                verdict=verdict.row,
                policy=verdict.policy,
                client=client,
                signatures=verdict.signatures,
                overrides=verdict.overrides,
            )
        )
    except UndecodableError as error:
        log.warning("history: outcome %s of the database not read: %s", outcome["id"], error)
        return None


def _dicts(connection: DatabaseConnection, sql: str, **values: Any) -> list[DatabaseRow]:
    return [row._asdict() for row in rows(connection, sql, **values)]
