"""Retention: what is older than the operator wants goes, and with it the shared rows that nobody uses any more."""

from datetime import datetime, timedelta

from dmarcmilter.history.store import Store, execute

ROWS_AT_ONCE = 20_000
"""Outcomes deleted in one transaction: the ingest of a SQLite store waits no longer than for these."""

# In this order: each removes what the one before it left unused.
UNUSED = (
    "DELETE FROM verdicts WHERE id IN (SELECT id FROM verdicts EXCEPT SELECT verdict_id FROM outcomes)",
    "DELETE FROM signatures WHERE verdict_id IN (SELECT verdict_id FROM signatures EXCEPT SELECT id FROM verdicts)",
    "DELETE FROM overrides WHERE verdict_id IN (SELECT verdict_id FROM overrides EXCEPT SELECT id FROM verdicts)",
    "DELETE FROM policies WHERE id IN (SELECT id FROM policies EXCEPT SELECT policy_id FROM verdicts)",
    "DELETE FROM clients WHERE id IN (SELECT id FROM clients EXCEPT SELECT client_id FROM outcomes)",
)


def first_day_kept(now: datetime, days: int) -> int:
    """The day number of today less `days`."""
    day = now.date() - timedelta(days=days)
    return day.year * 10_000 + day.month * 100 + day.day


def purge(store: Store, first_day: int) -> int:
    """Remove outcomes of the days before `first_day` (YYYYMMDD); how many there were. StoreError."""
    total = 0
    while deleted := _some(store, first_day):
        total += deleted
    if total:
        _remove_unused(store)
    return total


def _some(store: Store, first_day: int) -> int:
    with store.writing() as connection:
        return execute(
            connection,
            "DELETE FROM outcomes WHERE id IN (SELECT id FROM outcomes WHERE day < :day LIMIT :rows)",
            day=first_day,
            rows=ROWS_AT_ONCE,
        )


def _remove_unused(store: Store) -> None:
    """Writers remember ids of shared rows. The new generation makes them forget; taken first, it keeps them out."""
    with store.writing() as connection:
        execute(connection, "UPDATE state SET value = value + 1 WHERE name = 'generation'")
        for statement in UNUSED:
            execute(connection, statement)
