"""The outcome by which a message is on hold: never another's with the same queue id."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from dmarcmilter.history import hold_reasons
from dmarcmilter.history.ingest import Ingest
from dmarcmilter.history.store import Store
from tests.support import databases, journals, outcomes

NOW = datetime(2027, 1, 15, 9, 0, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path):
    folder = tmp_path / "journal"
    folder.mkdir()
    return folder


def write(folder, *records, day="20270115"):
    """As the journal itself does."""
    with (folder / f"{day}-1799971200000-17.jsonl").open("ab") as file:
        file.writelines(msgspec.json.encode(record) + b"\n" for record in records)


def held(queue_id, when=NOW, **changes):
    return journals.record("quarantine", queue_id=queue_id, time=f"{when:%Y-%m-%dT%H:%M:%S}.000Z", **changes)


def test_in_the_journal(journal):
    ours = held("A1")
    write(journal, journals.record("reject", queue_id="A2"), ours, held("A3"))
    (journal / "20270115-1-1.jsonl").write_bytes(b'{"v":1,"action":"quarantine"}\n{"action":"quarantine"\n')
    found = hold_reasons.in_journal(journal, {"A1": NOW + timedelta(minutes=1), "A2": NOW, "A9": NOW})
    assert found == {"A1": outcomes.read(ours)}


def test_queue_ids_are_used_again(journal):
    earlier, ours = held("A1", NOW - timedelta(hours=5)), held("A1", NOW - timedelta(minutes=3))
    write(journal, earlier, ours, held("A1", NOW + timedelta(hours=5)))
    assert hold_reasons.in_journal(journal, {"A1": NOW}) == {"A1": outcomes.read(ours)}
    assert hold_reasons.in_journal(journal, {"A1": NOW - timedelta(hours=2)}) == {}


def test_a_message_that_came_before_midnight(journal):
    late = datetime(2027, 1, 14, 23, 59, 59, tzinfo=UTC)
    write(journal, held("B1", late), day="20270114")
    write(journal, *(held(f"C{n}") for n in range(50)))
    assert set(hold_reasons.in_journal(journal, {"B1": late, "C7": NOW})) == {"B1", "C7"}


def test_nothing_held_reads_nothing(tmp_path):
    assert hold_reasons.in_journal(tmp_path / "none", {}) == {}
    assert hold_reasons.in_journal(tmp_path / "none", {"A1": NOW}) == {}


def test_in_the_store(journal, tmp_path):
    store = Store(databases.new_url("sqlite", tmp_path))
    ours = held("A1")
    write(journal, ours, held("A1", NOW - timedelta(days=3)), journals.record("reject", queue_id="A2"))
    Ingest(journal, store).once()
    assert hold_reasons.in_store(store, {"A1": NOW, "A2": NOW, "A3": NOW}) == {"A1": outcomes.read(ours)}
