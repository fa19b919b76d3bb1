"""Retention: the old goes, with all that only it used; what remains is whole, also for a writer that goes on."""

from datetime import UTC, datetime

import pytest

from dmarcmilter.history import retention as module
from dmarcmilter.history.ingest import Ingest
from dmarcmilter.history.retention import first_day_kept, purge
from tests.support import databases, journals
from tests.support.stored_outcomes import assert_whole, queue_ids

OLD, NEW = "2027-01-01T10:00:00.000Z", "2027-01-15T10:00:00.000Z"


def shared(store):
    names = ("verdicts", "policies", "clients", "signatures", "overrides")
    return {name: databases.ask(store, f"SELECT count(*) FROM {name}")[0][0] for name in names}


@pytest.fixture
def filled(store, tmp_path):
    """Old and new outcomes; the reader that took them in."""
    old = [journals.record(kind, time=OLD, helo="old.example") for kind in journals.KINDS]
    new = [journals.record(kind, time=NEW, helo="new.example") for kind in ("pass", "no record")]
    journals.append(tmp_path / "journal", [*old, *new])
    reader = Ingest(tmp_path / "journal", store)
    reader.once()
    return reader, [record["queue_id"] for record in new]


def test_the_old_goes_with_what_only_it_used(store, filled):
    _, new = filled
    assert purge(store, 20270115) == len(journals.KINDS)
    assert queue_ids(store) == sorted(new)
    assert shared(store) == {"verdicts": 2, "policies": 1, "clients": 1, "signatures": 1, "overrides": 0}
    assert_whole(store)
    assert purge(store, 20270115) == 0


def test_a_writer_that_goes_on_forgets_what_is_gone(store, filled, tmp_path):
    reader, new = filled
    purge(store, 20270115)
    again = [journals.record(kind, time=NEW, helo="old.example") for kind in journals.KINDS]
    journals.append(tmp_path / "journal", again)
    assert reader.once() == len(again)
    assert queue_ids(store) == sorted([*new, *(record["queue_id"] for record in again)])
    assert_whole(store)


def test_what_is_purged_is_not_read_again(store, filled):
    purge(store, 20280101)
    assert not any(shared(store).values())
    assert filled[0].once() == 0
    assert Ingest(filled[0].journal, store).once() == 0


def test_in_pieces(store, filled, monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 3)
    assert purge(store, 20270115) == len(journals.KINDS)


@pytest.mark.parametrize(("days", "day"), [(0, 20270301), (1, 20270228), (60, 20261231)])
def test_first_day_kept(days, day):
    assert first_day_kept(datetime(2027, 3, 1, 0, 1, tzinfo=UTC), days) == day
