"""Outcome objects out of the store again, as the journal had them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from dmarcmilter.history.outcome_rows import Record, Row, Stored, number_of, rebuilt
from dmarcmilter.history.store import Connection, rows, stream

MAX_FOUND = 100
"""Outcomes of one queue id: MTAs use short ones again."""
KEPT = 20_000
"""Verdicts and clients kept in memory while outcomes are streamed."""

QUEUE_ID_SQL = "SELECT * FROM outcomes WHERE queue_id = :queue_id ORDER BY time DESC LIMIT :most"
HASH_SQL = "SELECT * FROM outcomes WHERE message_id_hash = :number ORDER BY time DESC LIMIT :most"
BETWEEN_SQL = "SELECT * FROM outcomes WHERE time >= :since AND time < :until ORDER BY time"
SPAN_SQL = "SELECT min(time) AS first, count(*) AS outcomes FROM outcomes WHERE time >= :since AND time < :until"
VERDICT_SQL = "SELECT * FROM verdicts WHERE id = :id"
POLICY_SQL = "SELECT * FROM policies WHERE id = :id"
CLIENT_SQL = "SELECT * FROM clients WHERE id = :id"
SIGNATURES_SQL = "SELECT * FROM signatures WHERE verdict_id = :id ORDER BY position"
OVERRIDES_SQL = "SELECT * FROM overrides WHERE verdict_id = :id ORDER BY position"


def of_queue_id(connection: Connection, queue_id: str) -> Iterator[Record]:
    """The outcomes of one message's queue id, newest first."""
    for outcome in _dicts(connection, QUEUE_ID_SQL, queue_id=queue_id, most=MAX_FOUND):
        yield _record(connection, outcome)


def of_message_id(connection: Connection, digits: str) -> Iterator[Record]:
    """The outcomes of messages whose Message-ID has that keyed hash, newest first."""
    for outcome in _dicts(connection, HASH_SQL, number=number_of(digits), most=MAX_FOUND):
        yield _record(connection, outcome)


def between(connection: Connection, since: datetime, until: datetime) -> Iterator[Record]:
    """All outcomes of a span in their order; verdicts and clients that come again are not asked for again."""

    @lru_cache(maxsize=KEPT)
    def judged(verdict_id: int) -> _Verdict:
        return _verdict(connection, verdict_id)

    @lru_cache(maxsize=KEPT)
    def client(client_id: int) -> Row:
        return _dicts(connection, CLIENT_SQL, id=client_id)[0]

    for row in stream(connection, BETWEEN_SQL, since=_milliseconds(since), until=_milliseconds(until)):
        outcome = row._asdict()
        yield _joined(outcome, judged(outcome["verdict_id"]), client(outcome["client_id"]))


def first_between(connection: Connection, since: datetime, until: datetime) -> tuple[datetime | None, int]:
    """The time of the first outcome of a span, and how many there are."""
    found = rows(connection, SPAN_SQL, since=_milliseconds(since), until=_milliseconds(until))[0]
    first = None if found.first is None else datetime.fromtimestamp(int(found.first) / 1000, UTC)
    return first, int(found.outcomes)


def _milliseconds(when: datetime) -> int:
    return int(when.timestamp() * 1000)


def _record(connection: Connection, outcome: Row) -> Record:
    client = _dicts(connection, CLIENT_SQL, id=outcome["client_id"])[0]
    return _joined(outcome, _verdict(connection, outcome["verdict_id"]), client)


@dataclass(frozen=True, slots=True)
class _Verdict:
    row: Row
    policy: Row | None
    signatures: list[Row]
    overrides: list[Row]


def _verdict(connection: Connection, verdict_id: int) -> _Verdict:
    row = _dicts(connection, VERDICT_SQL, id=verdict_id)[0]
    policies = _dicts(connection, POLICY_SQL, id=row["policy_id"])
    return _Verdict(
        row=row,
        policy=policies[0] if policies else None,
        signatures=_dicts(connection, SIGNATURES_SQL, id=verdict_id),
        overrides=_dicts(connection, OVERRIDES_SQL, id=verdict_id),
    )


def _joined(outcome: Row, verdict: _Verdict, client: Row) -> Record:
    return rebuilt(
        Stored(
            outcome=outcome,
            verdict=verdict.row,
            policy=verdict.policy,
            client=client,
            signatures=verdict.signatures,
            overrides=verdict.overrides,
        )
    )


def _dicts(connection: Connection, sql: str, **values: Any) -> list[Row]:
    return [row._asdict() for row in rows(connection, sql, **values)]
