"""dmarcmilter.policy.deferral_times: how long a message has been deferred, over real directories."""

import os
import re
import resource
import threading
import time
from ipaddress import ip_address

import pytest

from dmarcmilter.policy import deferral_times
from dmarcmilter.policy.deferral_times import BROKEN, KEEP_SECONDS, MAX_IN_BUCKET, Deferrals
from dmarcmilter.value import replace
from tests.support import outcomes

KEY = bytes(range(32))
LINES = ("From: a@example.com", "To: joe@example.net", "Subject: hello", "Date: today", "Message-ID: <1@example.com>")


class Clock:
    def __init__(self):
        self.now = time.time()

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def make(directory, clock, **options):
    return Deferrals(str(directory), KEY, now=clock, **options)


@pytest.fixture(autouse=True)
def _files_have_the_tests_time(monkeypatch, clock):
    """The system gives them its own."""
    create, utime = deferral_times._create, os.utime

    def at_clock(path):
        create(path)
        utime(path, (clock.now, clock.now))

    monkeypatch.setattr(deferral_times, "_create", at_clock)
    monkeypatch.setattr(
        deferral_times.os, "utime", lambda path, times=None: utime(path, times or (clock.now, clock.now))
    )


def message(*lines, ip="192.0.2.1", **changes):
    return outcomes.message(*(lines or LINES), client_ip=ip_address(ip) if ip else None, **changes)


def test_a_want_of_descriptors_lets_nothing_through(tmp_path, clock, caplog):
    """It is ours, and passes; what is not judged meanwhile is deferred, also if nobody can note it."""
    state = make(tmp_path, clock)
    state.record(message("From: a@example.com", "Message-ID: <0@x>"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free(), hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            lowest_free()
        assert state.since(message()) is None
        state.record(message())
        assert state.since(message()) is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "the message is deferred" in caplog.text
    assert state.since(message()) is None
    state.record(message())
    clock.now += 5
    assert state.since(message()) == pytest.approx(5, abs=0.1)


def lowest_free():
    descriptor = os.open("/", os.O_RDONLY)
    os.close(descriptor)
    return descriptor


def files(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file())


def test_the_first_time_counts(tmp_path, clock):
    state = make(tmp_path, clock)
    assert state.since(message()) is None
    state.record(message())
    clock.now += 600
    assert state.since(message()) == 600
    state.record(message())
    clock.now += 600
    # Another worker, another process, after a restart.
    assert make(tmp_path, clock).since(message()) == 1200


def test_looking_leaves_nothing_behind(tmp_path, clock):
    state = make(tmp_path / "state", clock)
    for _ in range(3):
        assert state.since(message()) is None
    assert files(tmp_path) == []


def test_check_writes_nothing(tmp_path, clock):
    state = make(tmp_path / "state", clock, keep=False)
    assert state.since(message()) is None
    assert not (tmp_path / "state").exists()
    (tmp_path / "file").write_text("")
    assert make(tmp_path / "file", clock, keep=False).since(message()) is None
    make(tmp_path / "state", clock).record(message())
    clock.now += 7
    assert state.since(message()) == 7


SAME = {
    "the same": message(),
    "another address of the network": message(ip="192.0.77.5"),
    "more trace": message("Received: from a", *LINES),
    "folded otherwise": message(LINES[0], LINES[1], "Subject:  \r\n hello", *LINES[3:]),
    "another queue id": message(queue_id="4OTHER"),
    "another HELO": message(helo=b"other.example"),
}
OTHER = {
    "another Message-ID": message(*LINES[:-1], "Message-ID: <2@example.com>"),
    "another subject": message(LINES[0], LINES[1], "Subject: bye", *LINES[3:]),
    "another author": message("From: b@example.com", *LINES[1:]),
    "another sender": message(mail_from=b"other@example.com"),
    "another network": message(ip="198.51.100.1"),
    "IPv6": message(ip="2001:db8::1"),
    "no address": message(ip=None),
}


@pytest.mark.parametrize("other", SAME.values(), ids=SAME.keys())
def test_a_retry_is_the_same_message(tmp_path, clock, other):
    state = make(tmp_path, clock)
    state.record(message())
    clock.now += 5
    assert state.since(other) == 5


@pytest.mark.parametrize("other", OTHER.values(), ids=OTHER.keys())
def test_nobody_ages_another_message(tmp_path, clock, other):
    state = make(tmp_path, clock)
    state.record(other)
    clock.now += 90_000
    assert state.since(message()) is None


def test_networks_of_ipv6(tmp_path, clock):
    state = make(tmp_path, clock)
    state.record(message(ip="2001:db8:1::1"))
    assert state.since(message(ip="2001:db8:2::1")) == 0
    assert state.since(message(ip="2001:db9::1")) is None


def test_nothing_of_anybody_is_kept(tmp_path, clock):
    state = make(tmp_path, clock)
    state.record(message())
    [path] = files(tmp_path)
    assert path.read_bytes() == b""
    assert re.fullmatch(r"[0-9a-f]{2}/[0-9a-f]{56}", str(path.relative_to(tmp_path)))
    other = Deferrals(str(tmp_path), bytes(32), now=clock)
    assert other.since(message()) is None


def test_it_is_forgotten(tmp_path, clock):
    # KEEP_SECONDS
    state = make(tmp_path, clock)
    state.record(message())
    clock.now += KEEP_SECONDS + 1
    assert state.since(message()) is None
    assert files(tmp_path) == []
    state.record(message())
    clock.now += 10
    assert state.since(message()) == 10


def test_an_old_record_begins_anew(tmp_path, clock):
    state = make(tmp_path, clock)
    state.record(message())
    clock.now += KEEP_SECONDS + 1
    state.record(message())
    clock.now += 10
    assert state.since(message()) == 10


def test_unused_buckets_are_emptied(tmp_path, clock):
    # BUCKETS
    state = make(tmp_path, clock)
    for number in range(50):
        state.record(message(ip=f"10.{number}.0.1"))
    assert len(files(tmp_path)) == 50
    clock.now += KEEP_SECONDS + 1
    for _ in range(deferral_times.BUCKETS):
        state.record(message())
        state.record(replace(message(), headers=message().headers[1:]))
        clock.now += deferral_times.SWEEP_SECONDS
    assert len(files(tmp_path)) <= 2


def flood(number, ip="203.0.113.1"):
    return message(*LINES[:-1], f"Message-ID: <{number}@flood.example>", ip=ip)


def fill(state, ip, count):
    """Record that many messages of one client."""
    for number in range(count):
        state.record(flood(f"{number}.{ip}", ip))


def test_a_flood_fills_its_own_bucket(tmp_path, clock, caplog, monkeypatch):
    # MAX_OF_SUBNET
    monkeypatch.setattr(deferral_times, "MAX_OF_SUBNET", 40)
    state = make(tmp_path, clock)
    for number in range(40):
        assert state.since(flood(number)) is None
        state.record(flood(number))
    assert [state.since(flood(number)) for number in range(1000, 1003)] == [BROKEN] * 3
    assert len(files(tmp_path)) == 40
    assert len(caplog.records) == 1
    assert state.since(flood(0)) == 0
    assert state.since(message()) is None
    clock.now += KEEP_SECONDS + 1
    assert state.since(flood(1000)) is None


def test_a_subnet_leaves_places_to_its_neighbors(tmp_path, clock, monkeypatch):
    # MAX_OF_NETWORK: another customer of the same provider finds a place until several have filled it.
    monkeypatch.setattr(deferral_times, "MAX_OF_SUBNET", 20)
    monkeypatch.setattr(deferral_times, "MAX_OF_NETWORK", 40)
    state = make(tmp_path, clock)
    fill(state, "203.0.113.1", 20)
    assert state.since(flood(99, "203.0.113.200")) == BROKEN
    assert state.since(flood(99, "203.0.7.1")) is None
    fill(state, "203.0.7.1", 20)
    assert state.since(flood(99, "203.0.8.1")) == BROKEN


def test_a_network_leaves_places_to_others_of_its_bucket(tmp_path, clock, monkeypatch):
    # MAX_IN_BUCKET
    monkeypatch.setattr(deferral_times, "BUCKETS", 1)
    monkeypatch.setattr(deferral_times, "MAX_OF_SUBNET", 20)
    monkeypatch.setattr(deferral_times, "MAX_OF_NETWORK", 20)
    monkeypatch.setattr(deferral_times, "MAX_IN_BUCKET", 40)
    state = make(tmp_path, clock)
    fill(state, "203.0.113.1", 20)
    assert state.since(flood(99, "203.0.7.1")) == BROKEN
    assert state.since(flood(99, "198.51.100.1")) is None
    fill(state, "198.51.100.1", 20)
    assert state.since(flood(99, "192.0.2.1")) == BROKEN
    assert state.since(flood("3.198.51.100.1", "198.51.100.1")) == 0


def test_a_full_bucket_is_read_quickly(tmp_path, clock):
    state = make(tmp_path, clock)
    state.record(message())
    [first] = files(tmp_path)
    for number in range(MAX_IN_BUCKET):
        (first.parent / f"{number:056x}").touch()
    begin = time.process_time()
    for _ in range(10):
        state.since(message())
    assert time.process_time() - begin < 3.0


@pytest.mark.parametrize("where", ["file/state", "file"])
def test_a_directory_that_cannot_be_used(tmp_path, clock, caplog, where):
    """Treated as though it had waited: without a record it would be deferred for ever."""
    (tmp_path / "file").write_text("")
    state = make(tmp_path / where, clock)
    assert [state.since(message()) for _ in range(3)] == [BROKEN] * 3
    state.record(message())
    assert len(caplog.records) == 1
    assert "accepted" in caplog.text
    assert "example" not in caplog.text
    (tmp_path / "file").unlink()
    assert state.since(message()) is None


def test_a_clock_set_back(tmp_path, clock):
    state = make(tmp_path, clock)
    state.record(message())
    clock.now -= 5000
    assert state.since(message()) == 0


def test_many_at_once(tmp_path, clock, caplog):
    states = [make(tmp_path, clock) for _ in range(4)]

    def run(state):
        for number in range(20):
            one = message(*LINES[:-1], f"Message-ID: <{number}@x.example>")
            state.since(one)
            state.record(one)

    threads = [threading.Thread(target=run, args=(state,)) for state in states]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files(tmp_path)) == 20
    assert caplog.records == []
