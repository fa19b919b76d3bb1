"""The journal on real files: whole lines, each in one write, and a disk that does not work."""

import json
import logging
import os
import threading
import time

import pytest

from dmarcmilter.history import journal as module
from dmarcmilter.history.journal import FILE_MODE, Journal
from tests.support.file_size import file_size_limit

DAY = 86_400
NOON = 1_795_348_800.0  # 2026-11-22T12:00:00Z


@pytest.fixture
def quick_retry(monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)


@pytest.fixture
def journal(tmp_path):
    journal = Journal(str(tmp_path / "journal"))
    yield journal
    journal.close()


def files(directory):
    return sorted(directory.glob("**/*.jsonl"))


def lines(directory):
    return [line for path in files(directory) for line in path.read_bytes().splitlines()]


def appended_in_time(journal, record, seconds=5.0):
    """A disk that works again is tried again by itself."""
    end = time.monotonic() + seconds
    while not journal.append(record):
        assert time.monotonic() < end, "the journal does not recover"
        time.sleep(0.01)


def test_a_line_is_there_when_append_returns(journal, tmp_path):
    for number in range(3):
        assert journal.append({"queue_id": str(number), "text": "ü\n\u2028\x00"})
        assert json.loads(lines(tmp_path)[number]) == {"queue_id": str(number), "text": "ü\n\u2028\x00"}
    [path] = files(tmp_path)
    assert path.read_bytes().count(b"\n") == 3
    assert path.read_bytes().endswith(b"\n")
    assert path.stat().st_mode & 0o777 == FILE_MODE & ~_umask()
    assert path.name.endswith(f"-{os.getpid()}.jsonl")


def test_one_write_for_each_line(journal, monkeypatch):
    written = []
    write = os.write
    monkeypatch.setattr(module.os, "write", lambda fd, data: written.append(bytes(data)) or write(fd, data))
    journal.append({"a": 1})
    journal.append({"b": "x" * 100_000})
    assert [data[:5] for data in written] == [b'{"a":', b'{"b":']
    assert all(data.count(b"\n") == 1 and data.endswith(b"\n") for data in written)


def test_the_day_changes(tmp_path):
    now = [NOON + DAY / 2 - 1]
    journal = Journal(str(tmp_path), now=lambda: now[0])
    assert journal.append({"day": 1})
    assert journal.append({"day": 1})
    now[0] += 1
    assert journal.append({"day": 2})
    journal.close()
    first, second = files(tmp_path)
    assert (first.name[:8], second.name[:8]) == ("20261122", "20261123")
    assert first.read_bytes() == b'{"day":1}\n' * 2
    assert second.read_bytes() == b'{"day":2}\n'


def test_a_new_journal_never_appends_to_an_old_file(tmp_path):
    for number in range(3):
        journal = Journal(str(tmp_path))
        journal.append({"n": number})
        journal.close()
        time.sleep(0.002)
    assert len(files(tmp_path)) == 3


@pytest.mark.usefixtures("quick_retry")
def test_a_torn_line_spoils_no_other(journal, tmp_path, caplog):
    # Far above what the test run itself writes to any file.
    limit = 50_000_000
    journal.append({"first": 1})
    [path] = files(tmp_path)
    os.truncate(path, limit - 40)
    with file_size_limit(limit):
        assert not journal.append({"torn": "x" * 100})
    assert "only 40 of" in caplog.text
    assert '"torn":"xxx' in caplog.text
    assert journal.failures == 1
    assert journal.append({"next": 2})
    assert journal.append({"last": 3})
    tail = path.read_bytes()[limit - 40 :].split(b"\n")
    assert tail == [b'{"torn":"' + b"x" * 31, b'{"next":2}', b'{"last":3}', b""]
    assert files(tmp_path) == [path]


@pytest.mark.usefixtures("quick_retry")
def test_a_full_disk(journal, tmp_path, caplog):
    limit = 50_000_000
    journal.append({"first": 1})
    [path] = files(tmp_path)
    os.truncate(path, limit)
    with file_size_limit(limit):
        assert not journal.append({"lost": 1})
    assert '{"lost":1}' in caplog.text
    appended_in_time(journal, {"found": 1})
    assert lines(tmp_path)[-1] == b'{"found":1}'


def test_a_full_disk_is_not_given_a_file_for_each_message(journal, tmp_path, monkeypatch):
    def full(fd, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "write", full)
    results = [journal.append({"n": number}) for number in range(50)]
    assert results == [False] * 50
    assert journal.failures == 50
    assert len(files(tmp_path)) == 1


@pytest.mark.usefixtures("quick_retry")
def test_a_directory_that_cannot_be(tmp_path, caplog):
    obstacle = tmp_path / "journal"
    obstacle.write_text("in the way")
    journal = Journal(str(obstacle))
    with caplog.at_level(logging.ERROR):
        assert not journal.append({"queue_id": "4ABC", "dmarc": "pass"})
        assert not journal.append({"queue_id": "4DEF"})
    assert str(obstacle) in caplog.text
    for record in ('{"queue_id":"4ABC","dmarc":"pass"}', '{"queue_id":"4DEF"}'):
        assert record in caplog.text
    assert journal.failures == 2
    obstacle.unlink()
    appended_in_time(journal, {"queue_id": "4GHI"})
    assert lines(tmp_path) == [b'{"queue_id":"4GHI"}']
    journal.close()


def test_a_clock_that_is_set_back_does_not_stop_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    (tmp_path / "journal").write_text("in the way")
    now = [NOON]
    journal = Journal(str(tmp_path / "journal"), now=lambda: now[0])
    assert not journal.append({"n": 1})
    (tmp_path / "journal").unlink()
    now[0] -= 3600
    appended_in_time(journal, {"n": 2})
    journal.close()


def test_a_file_that_was_removed_is_not_written_to(journal, tmp_path):
    journal.append({"n": 1})
    files(tmp_path)[0].unlink()
    time.sleep(0.002)
    assert journal.append({"n": 2})
    assert lines(tmp_path) == [b'{"n":2}']


def test_nobody_else_may_write_what_cannot_be_json(journal, tmp_path):
    with pytest.raises(TypeError):
        journal.append({"bug": object()})
    assert journal.append({"n": 1})
    assert lines(tmp_path) == [b'{"n":1}']


def test_threads(journal, tmp_path):
    def work(thread):
        for number in range(200):
            assert journal.append({"thread": thread, "number": number, "pad": "x" * (number * 7 % 500)})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    found = [json.loads(line) for line in lines(tmp_path)]
    assert sorted((record["thread"], record["number"]) for record in found) == [
        (thread, number) for thread in range(8) for number in range(200)
    ]


def test_close_may_be_repeated_and_undone(journal, tmp_path):
    journal.close()
    journal.append({"n": 1})
    journal.close()
    journal.close()
    assert lines(tmp_path) == [b'{"n":1}']


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
