"""Outcomes and the position in the journal file: written together, once, and by one reader only."""

import json

import pytest

from dmarcmilter.history import outcome_rows, outcome_writer
from dmarcmilter.history.outcome_writer import Advance, Reached, Writer
from dmarcmilter.history.store import StoreError
from tests.support import databases, journals
from tests.support.stored_outcomes import queue_ids


def lines(*records):
    return [outcome_rows.parse(json.dumps(record).encode()) for record in records]


def advance(start=0, end=100, unreadable=0, digest=b"d"):
    return Advance(digest, "20270115-1-1.jsonl", start, end, unreadable)


def count(store, table):
    return databases.ask(store, f"SELECT count(*) FROM {table}")[0][0]


def test_a_file_goes_on_where_the_last_reading_ended(store):
    writer = Writer(store)
    assert writer.reached(b"d") == Reached(0, 0)
    assert writer.write(lines(journals.record(queue_id="Q1")), advance())
    assert writer.write(lines(journals.record(queue_id="Q2")), advance(100, 250, unreadable=3))
    assert writer.reached(b"d") == Reached(250, 3)
    assert queue_ids(store) == ["Q1", "Q2"]


@pytest.mark.parametrize("start", [0, 50, 101])
def test_what_another_process_has_read_is_not_written_again(store, start):
    first = journals.record(queue_id="Q1")
    assert Writer(store).write(lines(first), advance())
    assert not Writer(store).write(lines(first), advance(start, 300))
    assert (queue_ids(store), Writer(store).reached(b"d").position) == (["Q1"], 100)


def test_lines_that_could_not_be_read_move_the_position_too(store):
    assert Writer(store).write([], advance(0, 80, unreadable=2))
    assert Writer(store).reached(b"d") == Reached(80, 2)


def test_shared_rows_are_written_once_by_all_writers(store):
    """The second writer has none of the first one's ids in memory."""
    for number in range(2):
        alike = [journals.record("reject", helo="h.example") for _ in range(3)]
        assert Writer(store).write(lines(*alike), advance(digest=bytes([number])))
    assert [count(store, table) for table in ("outcomes", "verdicts", "clients", "policies")] == [6, 1, 1, 1]


def test_ids_of_rows_that_were_purged_are_forgotten(store):
    writer = Writer(store)
    assert writer.write(lines(journals.record("reject")), advance())
    with store.writing() as connection:
        for table in ("outcomes", "overrides", "signatures", "verdicts", "clients"):
            outcome_writer.execute(connection, f"DELETE FROM {table}")
        outcome_writer.execute(connection, "UPDATE state SET value = value + 1 WHERE name = 'generation'")
    assert writer.write(lines(journals.record("reject")), advance(100, 200))
    assert databases.ask(store, "SELECT count(*) FROM outcomes o JOIN verdicts v ON v.id = o.verdict_id")[0][0] == 1


def test_ids_of_a_transaction_that_failed_are_not_remembered(store, monkeypatch):
    writer = Writer(store)
    with monkeypatch.context() as patch:

        def fail(self, connection, lines):
            Writer._verdict_ids(self, connection, lines)
            raise StoreError("the server is gone")

        patch.setattr(writer, "_insert", fail.__get__(writer))
        with pytest.raises(StoreError):
            writer.write(lines(journals.record("reject")), advance())
    assert count(store, "verdicts") == 0
    assert writer.reached(b"d").position == 0
    assert writer.write(lines(journals.record("reject")), advance())
    assert count(store, "verdicts") == count(store, "outcomes") == 1


def test_a_refusal_is_asked_for_without_writing(store):
    assert Writer(store).refusal(*lines(journals.record("reject"))) == ""
    assert count(store, "outcomes") == count(store, "verdicts") == 0


def test_memory_of_ids_is_bounded(store, monkeypatch):
    monkeypatch.setattr(outcome_writer, "MAX_REMEMBERED", 2)
    writer = Writer(store)
    for number in range(5):
        record = journals.record("reject", helo=f"h{number}.example")
        assert writer.write(lines(record), advance(number * 100, number * 100 + 100))
    assert len(writer._clients) == 2
    assert writer.write(lines(journals.record("reject", helo="h0.example")), advance(500, 600))
    assert count(store, "clients") == 5


def test_more_digests_than_one_query_takes(store, monkeypatch):
    monkeypatch.setattr(outcome_writer, "DIGESTS_AT_ONCE", 3)
    records = [journals.record("reject", helo=f"h{number}.example") for number in range(10)]
    assert Writer(store).write(lines(*records), advance())
    assert Writer(store).write(lines(*records), advance(digest=b"other"))
    assert (count(store, "clients"), count(store, "outcomes")) == (10, 20)
