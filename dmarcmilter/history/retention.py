"""Delete outcomes older than the operator's retention, and the shared rows that only they used."""

from datetime import datetime, timedelta

from dmarcmilter.history.day_number import day_number
from dmarcmilter.history.store import Store, execute

ROWS_AT_ONCE = 20_000
"""Outcomes deleted in one transaction, for which the ingest waits if the database is SQLite."""

_DELETE_OUTCOMES = "DELETE FROM outcomes WHERE id IN (SELECT id FROM outcomes WHERE day < :day LIMIT :rows)"
_NEXT_GENERATION = "UPDATE state SET value = value + 1 WHERE name = 'generation'"
# In this order: each deletes what the one before it left unused.
_DELETE_UNUSED = (
    "DELETE FROM verdicts WHERE id IN (SELECT id FROM verdicts EXCEPT SELECT verdict_id FROM outcomes)",
    "DELETE FROM signatures WHERE verdict_id IN (SELECT verdict_id FROM signatures EXCEPT SELECT id FROM verdicts)",
    "DELETE FROM overrides WHERE verdict_id IN (SELECT verdict_id FROM overrides EXCEPT SELECT id FROM verdicts)",
    "DELETE FROM policies WHERE id IN (SELECT id FROM policies EXCEPT SELECT policy_id FROM verdicts)",
    "DELETE FROM clients WHERE id IN (SELECT id FROM clients EXCEPT SELECT client_id FROM outcomes)",
)


def first_day_kept(now: datetime, days: int) -> int:
    """The day (YYYYMMDD) that is `days` before today."""
    return day_number(now.date() - timedelta(days=days))


def purge(store: Store, first_day: int) -> int:
    """Delete the outcomes of days before `first_day` (YYYYMMDD); returns their number. StoreError."""
    total = 0
    while deleted := store.change(_DELETE_OUTCOMES, day=first_day, rows=ROWS_AT_ONCE):
        total += deleted
    if total:
        _delete_unused(store)
    return total


def _delete_unused(store: Store) -> None:
    """Delete shared rows that no outcome uses.

    Raising the generation first locks out writers, and makes them forget the ids that they have cached.
    """
    with store.writing() as connection:
        execute(connection, _NEXT_GENERATION)
        for statement in _DELETE_UNUSED:
            execute(connection, statement)
