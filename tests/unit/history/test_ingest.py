"""The journal into the store exactly once: kills at any point, torn lines, several readers, a database that is down."""

import itertools
import logging
import os
import shutil
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.history import journal_line_reader, migrations
from dmarcmilter.history.ingest import Ingest
from dmarcmilter.history.journal import Journal
from dmarcmilter.history.store import Store, StoreError
from tests.support import databases, journals
from tests.support.following_ingest import following, shorten_waits, waited_for
from tests.support.stored_outcomes import assert_whole, queue_ids

NOON = datetime(2027, 1, 20, 12, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "journal"


def test_read_as_it_grows(store, journal):
    reader, written = Ingest(journal, store), []
    assert reader.once() == 0
    for _ in range(5):
        written += journals.append(journal, journals.some(7))
        assert reader.once() == 7
        assert reader.once() == 0
    assert queue_ids(store) == sorted(written)


def test_a_line_is_taken_when_it_is_complete(store, journal):
    journals.append(journal, journals.some(1))
    whole = journals.lines([journals.record(queue_id="LATE")])
    reader = Ingest(journal, store)
    for piece, found in ((whole[:40], 1), (whole[40:-1], 0), (whole[-1:], 1)):
        with (journal / journals.NAME).open("ab") as file:
            file.write(piece)
        assert reader.once() == found
    assert "LATE" in queue_ids(store)


def test_torn_lines_are_counted_and_spoil_no_other(store, journal, caplog):
    journals.append(journal, journals.some(2))
    with (journal / journals.NAME).open("ab") as file:
        file.write(b'{"v":1,"time":"20\n\n\xff\x00\n{"v":7}\n[]\n')
    journals.append(journal, journals.some(2))
    reader = Ingest(journal, store)
    assert reader.once() == 4
    assert reader.counts.unreadable == 4
    assert databases.ask(store, "SELECT outcomes, unreadable FROM journal_files") == [(4, 4)]
    assert "version 7 of the outcome object" in caplog.text


def test_the_journal_that_the_filter_writes(store, journal):
    """End to end over the real writer, with a worker more."""
    writers = [Journal(str(journal)) for _ in range(2)]
    for number, record in enumerate(journals.some(20)):
        time.sleep(0.002 if number < 2 else 0)  # two files' names
        assert writers[number % 2].append(record)
    assert Ingest(journal, store).once() == 20
    for writer in writers:
        writer.close()


def test_a_line_without_end_does_not_fill_memory(store, journal, monkeypatch):
    monkeypatch.setattr(journal_line_reader, "CHUNK", 4096)
    journal.mkdir()
    (journal / journals.NAME).write_bytes(b"\n" + b"x" * 20_000 + b"\n")
    written = journals.append(journal, journals.some(3))
    reader = Ingest(journal, store)
    assert reader.once() == 3
    assert queue_ids(store) == sorted(written)
    assert reader.counts.unreadable


def test_values_that_the_database_refuses_keep_out_no_other(store, journal, caplog):
    good = journals.some(5)
    bad = [journals.record(size=2**70), journals.record(helo="\ud800"), journals.record(helo=["x"])]
    bad.append(journals.record(spf={"result": None, "domain": None, "scope": "mfrom", "reason": ""}))
    written = journals.append(journal, [*good[:3], *bad, *good[3:]])
    reader = Ingest(journal, store)
    reader.once()
    refused = {record["queue_id"] for record in bad}
    assert queue_ids(store) == sorted(set(written) - refused)
    assert reader.counts.unreadable == len(bad)
    assert all(name in caplog.text for name in refused)


@pytest.mark.slow
def test_two_readers_of_one_journal(url, journal):
    """By mistake, or a manual run beside the service."""
    written = [journals.append(journal, journals.some(400), f"20270115-{n}-1.jsonl") for n in range(3)]
    stores = [Store(url) for _ in range(3)]
    migrations.migrate(stores[0])
    errors = []

    def run(mine):
        reader = Ingest(journal, mine)
        try:
            while reader.once():
                pass
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(mine,)) for mine in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    Ingest(journal, stores[0]).once()
    assert queue_ids(stores[0]) == sorted(itertools.chain(*written))
    assert_whole(stores[0])
    for mine in stores:
        mine.close()


def test_several_machines_into_one_store(url, tmp_path):
    """The same file names and the same kinds of outcomes, at the same time."""
    folders = [tmp_path / name for name in ("mx1", "mx2", "mx3")]
    written = [queue_id for folder in folders for queue_id in journals.append(folder, journals.some(300))]
    stores = [Store(url) for _ in folders]
    migrations.migrate(stores[0])
    threads = [threading.Thread(target=Ingest(folder, mine).once) for folder, mine in zip(folders, stores, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert queue_ids(stores[0]) == sorted(written)
    assert_whole(stores[0])
    for mine in stores:
        mine.close()


def test_a_journal_that_moves_is_not_read_twice(store, journal, tmp_path):
    journals.append(journal, journals.some(5))
    Ingest(journal, store).once()
    shutil.move(journal, tmp_path / "elsewhere")
    assert Ingest(tmp_path / "elsewhere", store).once() == 0


def test_a_file_that_cannot_be_read_is_told_once(store, journal, caplog):
    written = journals.append(journal, journals.some(3))
    (journal / "20270101-1-1.jsonl").symlink_to("/proc/self/mem")  # opens, and gives an I/O error
    reader = Ingest(journal, store)
    reader.once()
    reader.once()
    assert queue_ids(store) == sorted(written)
    assert sum("20270101-1-1" in record.message for record in caplog.records) == 1


@pytest.fixture
def quick(monkeypatch):
    shorten_waits(monkeypatch)


def test_follow_waits_for_a_database(quick, journal, tmp_path, caplog):
    folder = tmp_path / "not yet"
    reader = Ingest(journal, Store(f"sqlite:///{folder}/h.db"))
    written = journals.append(journal, journals.some(5))
    stop, thread = following(reader)
    waited_for(lambda: caplog.text.count("trying again") >= 2)
    folder.mkdir()
    waited_for(lambda: reader.counts.outcomes == 5)
    stop.set()
    thread.join(10)
    assert queue_ids(reader.store) == sorted(written)
    assert "the journal keeps, trying again" in caplog.text


def test_a_database_that_is_replaced_is_filled_anew(quick, journal, tmp_path):
    """Taken away in operation: what the journal still holds is read into the new one."""
    path = tmp_path / "h.db"
    reader = Ingest(journal, Store(f"sqlite:///{path}"))
    written = journals.append(journal, journals.some(30))
    stop, thread = following(reader)
    waited_for(lambda: reader.counts.outcomes == 30)
    tables = databases.ask(reader.store, "SELECT name FROM sqlite_master WHERE type = 'table'")
    with reader.store.writing() as connection:
        for (table,) in tables:
            connection.exec_driver_sql(f"DROP TABLE {table}")
    written += journals.append(journal, journals.some(30))
    waited_for(lambda: reader.counts.outcomes == 90)
    stop.set()
    thread.join(10)
    assert queue_ids(reader.store) == sorted(written)
    assert_whole(reader.store)
    reader.store.close()


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_file_that_is_taken_away_is_filled_anew(quick, journal, tmp_path, caplog, how):
    """The open one still takes rows, and nobody would ever see them."""
    path = tmp_path / "h.db"
    reader = Ingest(journal, Store(f"sqlite:///{path}"))
    written = journals.append(journal, journals.some(30))
    stop, thread = following(reader)
    waited_for(lambda: reader.counts.outcomes == 30)
    for file in tmp_path.glob("h.db*"):
        file.unlink()
    if how == "replaced":
        migrations.migrate(Store(f"sqlite:///{path}"))
    waited_for(lambda: reader.counts.outcomes >= 60)
    written += journals.append(journal, journals.some(30))
    waited_for(lambda: reader.counts.outcomes == 90)
    stop.set()
    thread.join(10)
    other = Store(f"sqlite:///{path}")
    assert queue_ids(other) == sorted(written)
    assert "removed or replaced; the journal keeps" in caplog.text
    other.close()
    reader.store.close()


def test_a_full_disk_is_caught_up(quick, journal, tmp_path):
    """SQLite's own limit of pages stands for the disk."""
    store = Store(f"sqlite:///{tmp_path}/h.db")
    migrations.migrate(store)
    limit = databases.ask(store, "PRAGMA page_count")[0][0] + 2
    reader = Ingest(journal, store)
    with store.writing() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {limit}")
    written = journals.append(journal, journals.some(300))
    with pytest.raises(StoreError, match="full"):
        reader.once()
    # Whole batches may have found room before.
    assert len(queue_ids(store)) < len(written)
    with store.writing() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    reader.once()
    assert queue_ids(store) == sorted(written)
    assert reader.counts.unreadable == 0


def days_old(journal, records, days):
    day = NOON - timedelta(days=days)
    name = f"{day:%Y%m%d}-1-1.jsonl"
    journals.append(journal, records, name)
    os.utime(journal / name, (day.timestamp(), day.timestamp()))
    return journal / name


def test_journal_files_are_deleted_only_if_told_and_done(quick, store, journal):
    old = days_old(journal, journals.some(3), 5)
    young = days_old(journal, journals.some(3), 1)
    torn = days_old(journal, journals.some(1), 6)
    with torn.open("ab") as file:
        file.write(b"{torn\n")
    os.utime(torn, (0, 0))
    for days, left in ((0, {old, young, torn}), (2, {young, torn})):
        reader = Ingest(journal, store, delete_after_days=days, now=lambda: NOON)
        stop, thread = following(reader)
        waited_for(lambda mine=reader: mine._cleaned_up_on)
        stop.set()
        thread.join(10)
        assert set(journal.glob("*.jsonl")) == left
    assert len(queue_ids(store)) == 7


def test_a_file_that_is_not_read_to_its_end_stays(quick, store, journal):
    path = days_old(journal, journals.some(3), 5)
    with path.open("ab") as file:
        file.write(b'{"v"')
    os.utime(path, (0, 0))
    reader = Ingest(journal, store, delete_after_days=1, now=lambda: NOON)
    reader.once()
    reader._clean_up()
    assert path.exists()


def test_retention_is_kept_by_the_service(store, journal):
    journals.append(
        journal, [journals.record(time="2027-01-10T12:00:00.000Z"), journals.record(time="2027-01-11T00:00:00.000Z")]
    )
    reader = Ingest(journal, store, retention_days=9, now=lambda: NOON)
    reader.once()
    reader._clean_up()
    assert databases.ask(store, "SELECT day FROM outcomes") == [(20270111,)]
    assert reader.once() == 0


@pytest.fixture
def conf(tmp_path, journal):
    path = tmp_path / "dmarcmilter.toml"
    path.write_text(f'[history]\njournal = "{journal}"\ndatabase = "sqlite:///{tmp_path}/h.db"\n', encoding="utf-8")
    return str(path)


def run(*arguments):
    root = logging.getLogger()
    handlers = list(root.handlers)
    try:
        return CliRunner().invoke(main, arguments)
    finally:
        root.handlers = handlers


def test_command_ingest_and_purge(conf, journal):
    journals.append(journal, journals.some(4))
    assert run("history", "ingest", "--config", conf).output == "4 outcomes taken in, 0 lines not readable\n"
    assert run("history", "ingest", "--config", conf).output == "0 outcomes taken in, 0 lines not readable\n"
    assert run("history", "purge", "--older-than", "40000", "--config", conf).exit_code == 0
    assert run("history", "purge", "--config", conf).exit_code == 2


def test_command_without_a_database(conf, tmp_path):
    Path(conf).write_text(f'[history]\ndatabase = "sqlite:///{tmp_path}/none/h.db"\n', encoding="utf-8")
    for words in (("ingest",), ("purge", "--older-than", "3")):
        found = run("history", *words, "--config", conf)
        assert found.exit_code == 2
        assert "unable to open database file" in found.output
