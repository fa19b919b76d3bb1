"""Outcome objects out of the store again, as the journal had them."""

from collections.abc import Iterator
from typing import Any

from dmarcmilter.history.rows import Record, Row, Stored, rebuilt
from dmarcmilter.history.store import Connection, rows

MAX_FOUND = 100
"""Outcomes of one queue id: MTAs use short ones again."""

QUEUE_ID_SQL = "SELECT * FROM outcomes WHERE queue_id = :queue_id ORDER BY time DESC LIMIT :most"
VERDICT_SQL = "SELECT * FROM verdicts WHERE id = :id"
POLICY_SQL = "SELECT * FROM policies WHERE id = :id"
CLIENT_SQL = "SELECT * FROM clients WHERE id = :id"
SIGNATURES_SQL = "SELECT * FROM signatures WHERE verdict_id = :id ORDER BY position"
OVERRIDES_SQL = "SELECT * FROM overrides WHERE verdict_id = :id ORDER BY position"


def of_queue_id(connection: Connection, queue_id: str) -> Iterator[Record]:
    """The outcomes of one message's queue id, newest first."""
    for outcome in _dicts(connection, QUEUE_ID_SQL, queue_id=queue_id, most=MAX_FOUND):
        yield _record(connection, outcome)


def _record(connection: Connection, outcome: Row) -> Record:
    verdict = _dicts(connection, VERDICT_SQL, id=outcome["verdict_id"])[0]
    policies = _dicts(connection, POLICY_SQL, id=verdict["policy_id"])
    return rebuilt(
        Stored(
            outcome=outcome,
            verdict=verdict,
            policy=policies[0] if policies else None,
            client=_dicts(connection, CLIENT_SQL, id=outcome["client_id"])[0],
            signatures=_dicts(connection, SIGNATURES_SQL, id=verdict["id"]),
            overrides=_dicts(connection, OVERRIDES_SQL, id=verdict["id"]),
        )
    )


def _dicts(connection: Connection, sql: str, **values: Any) -> list[Row]:
    return [row._asdict() for row in rows(connection, sql, **values)]
