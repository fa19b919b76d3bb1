"""Why messages are on hold: the outcomes because of which the filter had them held, by queue id and time.

Postfix's queue does not say who held a message, and short queue ids are used again.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from dmarcmilter.history import journal_search, outcome_reader, outcome_rows
from dmarcmilter.history.store import Store
from dmarcmilter.outcome import OutcomeRecord, UndecodableError

MAX_DIFFERENCE = timedelta(hours=1)
"""Between the MTA's time of arrival and ours, both of the beginning of the message. More: it is another message."""
NEEDLE = b'"action":"quarantine"'
"""In a line of the journal (msgspec writes no space)."""


def in_journal(directory: Path, arrived: Mapping[str, datetime]) -> dict[str, OutcomeRecord]:
    """The outcomes of these queue ids, given when they arrived. OSError for a file that cannot be read."""
    records: dict[str, OutcomeRecord] = {}
    if not arrived:
        return records
    since = min(arrived.values()) - MAX_DIFFERENCE
    for day in journal_search.days(directory, since):
        for record in _held(day):
            queue_id = record.queue_id
            if queue_id is not None and queue_id in arrived and is_of(record, arrived[queue_id]):
                records.setdefault(queue_id, record)
        if len(records) == len(arrived):
            break
    return records


def _held(paths: list[Path]) -> Iterator[OutcomeRecord]:
    for path in paths:
        for line in journal_search.backwards(path, NEEDLE):
            try:
                yield outcome_rows.parse(line).record
            except UndecodableError:
                continue


def in_store(store: Store, arrived: Mapping[str, datetime]) -> dict[str, OutcomeRecord]:
    """The same from the database."""
    records: dict[str, OutcomeRecord] = {}
    with store.reading() as connection:
        for queue_id, when in arrived.items():
            outcomes = outcome_reader.of_queue_id(connection, queue_id)
            if record := next((record for record in outcomes if is_of(record, when)), None):
                records[queue_id] = record
    return records


def is_of(record: OutcomeRecord, arrived: datetime) -> bool:
    """Whether this is the outcome because of which the message that arrived then is on hold."""
    if record.action != "quarantine":
        return False
    return abs(datetime.fromisoformat(record.time) - arrived) <= MAX_DIFFERENCE
