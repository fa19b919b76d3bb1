"""Find the outcomes of messages on hold, which say why this filter had them held, by queue id and time.

Postfix's queue does not say which program held a message, and Postfix reuses short queue ids.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from dmarcmilter.history import journal_search, outcome_reader, outcome_rows
from dmarcmilter.history.store import Store
from dmarcmilter.outcome_record import OutcomeRecord, UndecodableError

MAX_DIFFERENCE = timedelta(hours=1)
"""Largest difference between the MTA's time of arrival and that of the outcome, both taken when the message began.
Beyond it, the outcome is of another message.
"""
NEEDLE = b'"action":"quarantine"'
"""Bytes in the line of every outcome that led to quarantine (msgspec writes no spaces)."""


def in_journal(directory: Path, arrived: Mapping[str, datetime]) -> dict[str, OutcomeRecord]:
    """The outcomes of held messages in the journal, for queue ids with times of arrival. OSError if unreadable."""
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
    """The outcomes of held messages in the database, for queue ids with times of arrival."""
    records: dict[str, OutcomeRecord] = {}
    with store.reading() as connection:
        for queue_id, when in arrived.items():
            outcomes = outcome_reader.of_queue_id(connection, queue_id)
            if record := next((record for record in outcomes if is_of(record, when)), None):
                records[queue_id] = record
    return records


def is_of(record: OutcomeRecord, arrived: datetime) -> bool:
    """Whether this outcome had the message held that arrived at this time."""
    if record.action != "quarantine":
        return False
    return abs(datetime.fromisoformat(record.time) - arrived) <= MAX_DIFFERENCE
