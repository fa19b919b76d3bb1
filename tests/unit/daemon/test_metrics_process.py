"""When the process of the metrics exporter is started, replaced and started again; no process is started here."""

import os
import signal

import pytest

from dmarcmilter.config import load
from dmarcmilter.config.schema import Config
from dmarcmilter.daemon import child_process, metrics_process
from dmarcmilter.daemon.child_process import Forked
from dmarcmilter.daemon.metrics_process import EXIT_NO_ADDRESS, RETRY_SECONDS, MetricsProcess
from dmarcmilter.metrics import exporter
from dmarcmilter.metrics.board import Board

LISTENING = load.parse('[metrics]\nlisten = "127.0.0.1:9797"\n')


class System:
    """Processes and a clock that are not real."""

    def __init__(self):
        self.now = 100.0
        self.started = []
        self.killed = []
        self.full = False

    def fork(self, body, blocked):
        if self.full:
            raise OSError(11, "Resource temporarily unavailable")
        self.started.append(body)
        return Forked(1000 + len(self.started), ready=True)


@pytest.fixture
def system(monkeypatch):
    fake = System()
    monkeypatch.setattr(child_process, "fork", fake.fork)
    monkeypatch.setattr(metrics_process.time, "monotonic", lambda: fake.now)
    monkeypatch.setattr(os, "kill", lambda pid, number: fake.killed.append((pid, number)))
    monkeypatch.setattr(os, "waitpid", lambda pid, options: (pid, 0))
    return fake


@pytest.fixture
def process():
    return MetricsProcess(Board(), blocked=(), release=lambda: None)


def test_nothing_is_started_before_there_is_a_conf(system, process):
    process.start_if_due()
    assert (system.started, process.due) == ([], None)


def test_it_is_started_once(system, process):
    process.use(LISTENING)
    process.start_if_due()
    process.start_if_due()
    assert len(system.started) == 1


def test_without_an_address_none_is_started(system, process):
    process.use(Config())
    process.start_if_due()
    assert (system.started, process.due) == ([], None)


def test_one_that_ends_by_itself_is_started_again_after_a_while(system, process, caplog):
    process.use(LISTENING)
    process.start_if_due()
    process.process_ended(1001, 256)
    assert "exporter of metrics ended (exit status 1); starting another" in caplog.text
    process.start_if_due()
    assert len(system.started) == 1
    system.now += RETRY_SECONDS
    process.start_if_due()
    assert len(system.started) == 2


def test_the_end_of_another_child_is_not_its_end(system, process):
    process.use(LISTENING)
    process.start_if_due()
    process.process_ended(4711, 0)
    assert process.due is None


def test_a_reload_replaces_it_when_its_address_is_free(system, process, caplog):
    process.use(LISTENING)
    process.start_if_due()
    process.use(LISTENING)
    process.start_if_due()
    assert (system.killed, len(system.started)) == ([(1001, signal.SIGTERM)], 1)
    process.process_ended(1001, signal.SIGTERM)
    process.start_if_due()
    assert len(system.started) == 2
    assert caplog.text == ""


def test_a_reload_without_an_address_ends_it(system, process):
    process.use(LISTENING)
    process.start_if_due()
    process.use(Config())
    process.process_ended(1001, signal.SIGTERM)
    process.start_if_due()
    assert (len(system.started), process.due) == (1, None)


def test_a_system_without_room_for_a_process_is_tried_again(system, process, caplog):
    system.full = True
    process.use(LISTENING)
    process.start_if_due()
    assert "no exporter of metrics: Resource temporarily unavailable" in caplog.text
    system.full = False
    process.start_if_due()
    assert system.started == []
    system.now += RETRY_SECONDS
    process.start_if_due()
    assert len(system.started) == 1


def test_a_failure_is_logged_once_until_it_works(system, process, monkeypatch, caplog):
    """The process itself logs that its address is in use, the first time, and that it works again."""
    runs = []
    monkeypatch.setattr(exporter, "run", lambda config, board, *, after_failure: runs.append(after_failure))
    monkeypatch.setattr(os, "_exit", runs.append)
    process.use(LISTENING)
    for pid in (1001, 1002):
        process.start_if_due()
        system.started[-1](lambda: None)
        process.process_ended(pid, EXIT_NO_ADDRESS << 8)
        system.now += RETRY_SECONDS
    system.full = True
    process.start_if_due()
    assert (runs, caplog.text) == ([False, EXIT_NO_ADDRESS, True, EXIT_NO_ADDRESS], "")
    system.full = False
    system.now += RETRY_SECONDS
    process.start_if_due()
    process.process_ended(1003, signal.SIGKILL)
    assert "exporter of metrics ended (killed by SIGKILL); starting another" in caplog.text
    system.now += RETRY_SECONDS
    process.start_if_due()
    system.started[-1](lambda: None)
    assert runs[-2] is False


def test_the_supervisor_does_not_wait_for_the_address(system, process, monkeypatch):
    """It has workers to look after, whatever keeps the address from being opened."""
    steps = []
    monkeypatch.setattr(exporter, "run", lambda config, board, *, after_failure: steps.append("open"))
    monkeypatch.setattr(os, "_exit", lambda status: None)
    process.use(LISTENING)
    process.start_if_due()
    system.started[0](lambda: steps.append("ready"))
    assert steps == ["ready", "open"]


def test_a_process_that_a_signal_ended_before_it_served_is_logged(system, process, caplog):
    process.use(LISTENING)
    process.start_if_due()
    process.process_ended(1001, signal.SIGKILL)
    assert "exporter of metrics ended (killed by SIGKILL); starting another" in caplog.text


def test_the_end_of_the_supervisor_ends_it(system, process):
    process.stop()
    process.use(LISTENING)
    process.start_if_due()
    process.stop()
    process.stop()
    assert system.killed == [(1001, signal.SIGKILL)]
