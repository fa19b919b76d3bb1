"""The lock of report runs: held by one run, renewed, and free again after a run that was killed."""

import os
import socket

import pytest

from dmarcmilter.reports.delivery.deliveries_table import CLOCK_SKEW_SECONDS
from dmarcmilter.reports.run_lock import LEASE_SECONDS, RENEW_SECONDS, RunLock
from tests.support.planned_reports import NOW

ELSEWHERE = "another-machine 1"


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/history.db"


@pytest.fixture
def lock(store):
    return RunLock(store)


def test_one_run_at_a_time(lock):
    assert lock.take(NOW, ELSEWHERE)
    assert lock.take(NOW, ELSEWHERE), "the holder may take it again"
    assert not lock.take(NOW)
    lock.release()
    assert lock.take(NOW)


def test_a_lease_that_is_not_renewed_ends(lock):
    lock.take(NOW, ELSEWHERE)
    assert not lock.take(NOW + LEASE_SECONDS)
    assert lock.take(NOW + LEASE_SECONDS + 1)


def test_renewing_extends_the_lease(lock):
    lock.take(NOW, ELSEWHERE)
    lock.renew(NOW + LEASE_SECONDS)
    assert not lock.take(NOW + LEASE_SECONDS + 1)


def test_renewals_are_written_once_in_a_while(lock, store, monkeypatch):
    written = []
    monkeypatch.setattr(store, "change", lambda *_, **values: written.append(values["until"]))
    for second in range(RENEW_SECONDS + 1):
        lock.renew(NOW + second)
    assert written == [NOW + LEASE_SECONDS, NOW + RENEW_SECONDS + LEASE_SECONDS]


def test_a_lock_of_a_clock_that_is_far_ahead_is_taken(lock):
    lock.take(NOW + CLOCK_SKEW_SECONDS, ELSEWHERE)
    assert not lock.take(NOW)
    lock.release()
    lock.take(NOW + CLOCK_SKEW_SECONDS + 1, ELSEWHERE)
    assert lock.take(NOW)


@pytest.mark.parametrize(
    ("error", "is_taken"), [(ProcessLookupError(), True), (PermissionError(), False), (None, False)]
)
def test_the_lock_of_an_ended_process_of_this_machine_is_taken(lock, monkeypatch, error, is_taken):
    def kill(process, signal):
        assert (process, signal) == (4711, 0)
        if error:
            raise error

    monkeypatch.setattr(os, "kill", kill)
    lock.take(NOW, f"{socket.gethostname()} 4711")
    assert lock.take(NOW) is is_taken


def test_the_lock_of_a_process_of_another_machine_is_not_taken(lock):
    lock.take(NOW, "another-machine 4711")
    assert not lock.take(NOW)
