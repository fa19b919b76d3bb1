"""How far the ingest is, as it tells beside the journal, and what is made of it."""

import json
import os
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.history import ingest_progress_file, journal_line_reader
from dmarcmilter.history.ingest import Ingest
from dmarcmilter.history.ingest_progress_file import EVERY_SECONDS, MAX_BYTES, NAME, IngestProgress
from dmarcmilter.metrics import gauges
from tests.support import journals


@pytest.fixture
def journal(tmp_path):
    folder = tmp_path / "journal"
    folder.mkdir()
    return folder


def append(folder, *, name=journals.NAME, count=3, torn=b""):
    lines = b"".join(json.dumps(journals.record()).encode() + b"\n" for _ in range(count))
    with (folder / name).open("ab") as file:
        file.write(lines + torn)
    return len(lines)


def test_the_ingest_tells_how_far_it_is(store, journal):
    octets = append(journal)
    reader = Ingest(journal, store)
    assert gauges.journal(str(journal)).unread == octets
    assert gauges.journal(str(journal)).ingest_age is None
    reader.once()
    state = gauges.journal(str(journal))
    assert state.unread == 0
    assert 0 <= state.ingest_age < 5
    more = append(journal, torn=b'{"v":')
    assert gauges.journal(str(journal)).unread == more + 5
    reader.once()
    # A line that is not complete has not been taken in.
    assert gauges.journal(str(journal)).unread == 5


def test_a_new_ingest_tells_the_same(store, journal):
    append(journal)
    append(journal, name="20270116-1799971200000-18.jsonl")
    Ingest(journal, store).once()
    before = ingest_progress_file.read(journal).ingested_bytes
    (journal / NAME).unlink()
    Ingest(journal, store).once()
    assert ingest_progress_file.read(journal).ingested_bytes == before == ingest_progress_file.written(journal)


def test_files_that_are_deleted_are_no_lag(store, journal):
    append(journal)
    append(journal, name="20270116-1799971200000-18.jsonl")
    reader = Ingest(journal, store)
    reader.once()
    (journal / journals.NAME).unlink()
    assert gauges.journal(str(journal)).unread == 0
    reader.once()
    assert ingest_progress_file.read(journal).ingested_bytes == ingest_progress_file.written(journal)


def test_it_is_not_written_at_each_look(store, journal):
    now = [datetime.now(UTC)]
    reader = Ingest(journal, store, now=lambda: now[0])
    reader.once()
    first = ingest_progress_file.read(journal)
    now[0] += timedelta(seconds=EVERY_SECONDS - 1)
    reader.once()
    assert ingest_progress_file.read(journal) == first
    now[0] += timedelta(seconds=2)
    reader.once()
    assert ingest_progress_file.read(journal).time == now[0].timestamp()


def test_it_is_no_journal_file(journal):
    ingest_progress_file.write(journal, IngestProgress(1.0, 2))
    assert journal_line_reader.listed(journal) == []
    assert [entry.name for entry in journal.iterdir()] == [NAME]


def test_a_directory_that_is_not_ours_stops_nothing(store, tmp_path, caplog, monkeypatch):
    assert Ingest(tmp_path / "none", store).once() == 0
    assert caplog.text == ""
    journal = tmp_path / "journal"
    journal.mkdir()
    append(journal)
    monkeypatch.setattr(
        ingest_progress_file, "write", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    )
    reader = Ingest(journal, store)
    assert reader.once() == 3
    reader.once()
    assert caplog.text.count("monitoring cannot see how far the ingest is") == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"time": "x", "octets": 1}',
        b'{"time": 1, "octets": null}',
        b'{"time": 1, "octets": Infinity}',
        b'{"time": NaN, "octets": 1',
        b"[" * MAX_BYTES,
        b"\xff\xfe",
    ],
)
def test_what_is_not_ours_is_none(journal, text):
    (journal / NAME).write_bytes(text)
    assert ingest_progress_file.read(journal) is None


@settings(max_examples=200, deadline=None)
@given(text=st.binary(max_size=80) | st.text(alphabet='{}[]":,timeoctets0123456789.eE+-', max_size=80).map(str.encode))
def test_reading_never_raises(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp()
    (folder / NAME).write_bytes(text)
    found = ingest_progress_file.read(folder)
    assert found is None or isinstance(found.ingested_bytes, int)


def test_a_clock_ahead_of_ours_is_no_negative_age(journal):
    ingest_progress_file.write(journal, IngestProgress(time.time() + 1000, 0))
    assert gauges.journal(str(journal)).ingest_age == 0


def test_outside_without_a_journal(tmp_path):
    assert gauges.journal(str(tmp_path / "none")) == gauges.JournalState(0, None, None)


def test_memory():
    assert gauges.resident_bytes([os.getpid()]) > 1_000_000
    assert gauges.resident_bytes([2**22 + 1]) == 0
