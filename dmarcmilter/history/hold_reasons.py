"""Why messages are on hold: the outcomes with which we had them held, found by queue id and time.

Postfix's queue does not say who held a message, and short queue ids are used again.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from dmarcmilter.history import journal_search, outcome_reader, outcome_rows
from dmarcmilter.history.outcome_rows import Record, UnreadableError
from dmarcmilter.history.store import Store

APART = timedelta(hours=1)
"""Between the MTA's time of arrival and ours, which both are of the beginning of the message."""
NEEDLE = b'"action":"quarantine"'
"""In a line of the journal (msgspec writes no space)."""


def in_journal(directory: Path, arrived: Mapping[str, datetime]) -> dict[str, Record]:
    """The outcomes of these queue ids, by when they arrived. OSError for a file that cannot be read."""
    found: dict[str, Record] = {}
    if not arrived:
        return found
    since = min(arrived.values()) - APART
    for day in journal_search.days(directory, since):
        for record in _held(day):
            queue_id = record["queue_id"]
            if queue_id in arrived and is_of(record, arrived[queue_id]):
                found.setdefault(queue_id, record)
        if len(found) == len(arrived):
            break
    return found


def _held(paths: list[Path]) -> Iterator[Record]:
    for path in paths:
        for line in journal_search.backwards(path, NEEDLE):
            try:
                record = outcome_rows.parse(line).record
            except UnreadableError:
                continue
            yield record


def in_store(store: Store, arrived: Mapping[str, datetime]) -> dict[str, Record]:
    """The same from the database."""
    found: dict[str, Record] = {}
    with store.reading() as connection:
        for queue_id, when in arrived.items():
            ours = (record for record in outcome_reader.of_queue_id(connection, queue_id) if is_of(record, when))
            if record := next(ours, None):
                found[queue_id] = record
    return found


def is_of(record: Record, arrived: datetime) -> bool:
    """Whether this outcome had that message held."""
    if record["action"] != "quarantine":
        return False
    return abs(datetime.fromisoformat(record["time"]) - arrived) <= APART
