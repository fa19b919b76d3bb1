"""The daemon under a service manager: the watchdog, silent workers, and a socket that is handed over."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dmarcmilter.config.schema import MilterSection
from dmarcmilter.daemon import sd_notify, watchdog
from dmarcmilter.daemon.child_process import Child
from dmarcmilter.daemon.listener import Listener, ListenError
from dmarcmilter.daemon.watchdog import Watchdog
from dmarcmilter.metrics.board import Board
from dmarcmilter.testing.milter_client import MilterAction, MilterClient
from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import FilterDaemon
from tests.support.paths import PROJECT
from tests.support.running_daemon import PLAIN, ZONE, alive, conf, service_manager, wait_until, workers

IMPATIENT = """
import os, sys
from dmarcmilter.daemon import watchdog, worker
watchdog.SILENCE_SECONDS, watchdog.TICK_SECONDS, worker.BEAT_SECONDS = 1.0, 0.3, 0.1
from dmarcmilter.daemon.supervisor import serve
sys.exit(serve(sys.argv[1]))
"""
"""The daemon with less patience than it has: tests cannot wait for a minute."""

HANDED_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3, inheritable=True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "dmarcmilter.socket"}
os.execv(sys.executable, [sys.executable, "-m", "dmarcmilter", "run", "--config", sys.argv[2]])
"""
"""What systemd does before it runs a service that has a socket unit."""


class Daemon(FilterDaemon):
    """Started by another command."""

    command: tuple[str, ...] = ()
    inherits: tuple[int, ...] = ()

    def __enter__(self):
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.command, str(self.conf)],
                cwd=PROJECT,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                pass_fds=self.inherits,
            )
        wait_until(lambda: "ready: " in self.log() or self.process.poll() is not None, "the start")
        return self


@pytest.fixture
def make():
    with contextlib.ExitStack() as stack:
        dns = stack.enter_context(NameServer(ZONE))
        yield lambda **sections: Daemon(conf(dns, **sections))


@pytest.fixture
def manager(tmp_path, monkeypatch):
    with service_manager(tmp_path, monkeypatch) as channel:
        yield channel


# --- the watchdog


def test_signs_of_life_while_workers_serve(make, manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "500000")
    daemon = make()
    daemon.command = ("-m", "dmarcmilter", "run", "--config")
    with daemon:
        assert manager.recv(4096).startswith(b"READY=1\n")
        start = time.monotonic()
        for _ in range(4):
            assert manager.recv(4096) == b"WATCHDOG=1"
        # Twice within the time allowed.
        assert 0.7 < time.monotonic() - start < 3


def test_none_when_no_worker_serves(make, manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "500000")
    daemon = make()
    daemon.command = ("-c", IMPATIENT)
    with daemon:
        manager.recv(4096)
        assert manager.recv(4096) == b"WATCHDOG=1"
        [worker] = workers(daemon)
        os.kill(worker, signal.SIGSTOP)
        time.sleep(1.1)
        manager.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                manager.recv(4096)
        manager.settimeout(0.1)
        # Until it has been ended and replaced.
        with pytest.raises(TimeoutError):
            manager.recv(4096)
        manager.settimeout(10)
        assert manager.recv(4096) == b"WATCHDOG=1"
        assert workers(daemon).isdisjoint({worker})


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("", "", None),
        ("0", "", None),
        ("junk", "", None),
        ("-5", "", None),
        ("120000000", "", 120.0),
        ("1500000", "own", 1.5),
        ("1500000", "1", None),
    ],
)
def test_what_the_manager_wants(monkeypatch, usec, pid, seconds):
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert sd_notify.watchdog_seconds() == seconds


def test_a_manager_that_is_gone_or_does_not_read_holds_up_nothing(manager, monkeypatch, tmp_path):
    start = time.monotonic()
    for _ in range(2000):
        sd_notify.send("WATCHDOG=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    sd_notify.send("WATCHDOG=1")
    assert time.monotonic() - start < 5


# --- silent workers


def test_a_silent_worker_is_ended_and_replaced(make):
    daemon = make(milter={"workers": 2})
    daemon.command = ("-c", IMPATIENT)
    with daemon:
        victim, survivor = sorted(workers(daemon))
        os.kill(victim, signal.SIGSTOP)
        wait_until(lambda: not alive(victim), "its end")
        wait_until(lambda: len(workers(daemon)) == 2, "another")
        assert survivor in workers(daemon)
        with MilterClient(daemon.address, timeout=60) as client:
            assert client.deliver(PLAIN, queue_id="4A").action is MilterAction.ACCEPT
        log = daemon.log()
        assert f"worker {victim} has sent no heartbeat" in log
        assert f"worker {victim} ended (killed by SIGKILL); starting another" in log


def test_a_worker_that_keeps_python_to_itself_says_where_it_was():
    """SIGABRT, the first signal, has it write its threads."""
    code = """
import faulthandler, os, re, signal, threading
faulthandler.enable()
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGABRT)).start()
def endless():
    re.match(r"(a+)+b", "a" * 40)
endless()
"""
    killer = 'import signal,subprocess,sys,time\np=subprocess.Popen([sys.executable,"-c",sys.argv[1]])\n'
    killer += "time.sleep(1.5)\np.send_signal(signal.SIGABRT)\np.wait()\n"
    done = subprocess.run(
        [sys.executable, "-c", killer, code], capture_output=True, text=True, timeout=120, check=False
    )
    assert "in endless" in done.stderr


def test_after_a_standstill_of_the_machine_the_workers_have_their_turn(monkeypatch):
    """The supervisor may wake first, and would find all of them silent."""
    board = Board()
    board.row(board.take()).begin(4711)
    monkeypatch.setattr(watchdog, "SILENCE_SECONDS", -1.0)
    monkeypatch.setattr(watchdog, "TICK_SECONDS", 0.05)
    ended = []
    monkeypatch.setattr(watchdog.os, "kill", lambda *call: ended.append(call))
    supervision, children = Watchdog(board), {4711: Child(0, 0.0, 1)}
    time.sleep(0.2)
    supervision.check_if_due(children)
    assert ended == []
    for number in (signal.SIGABRT, signal.SIGKILL):
        time.sleep(0.06)
        supervision.check_if_due(children)
        assert ended[-1] == (4711, number)
    assert children[4711].silent
    supervision.check_if_due({})
    assert len(ended) == 2


# --- a socket that is handed over


@pytest.fixture
def handed_over(make):
    """A daemon whose socket the test holds, as systemd would."""
    daemon = make(milter={"workers": 1})
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(daemon.socket))
        listening.listen(64)
        daemon.command, daemon.inherits = ("-c", HANDED_OVER, str(listening.fileno())), (listening.fileno(),)
        yield daemon
        daemon._temporary.cleanup()


def restart(daemon):
    daemon.process.terminate()
    assert daemon.process.wait(20) == 0
    Path(daemon.directory / "log").write_text("")
    daemon.__enter__()


def test_the_service_manager_has_the_socket(handed_over):
    with handed_over as daemon, MilterClient(daemon.address, timeout=60) as client:
        assert client.deliver(PLAIN, queue_id="4A").action is MilterAction.ACCEPT
        assert not daemon.socket.with_name("filter.sock.lock").exists()
        assert daemon.warnings() == []


def test_nobody_is_refused_while_the_filter_restarts(handed_over):
    problems, delivered, stop = [], [], threading.Event()

    def work():
        while not stop.is_set():
            try:
                with MilterClient(handed_over.address, timeout=60) as client:
                    client.deliver(PLAIN, queue_id=f"4N{len(delivered)}")
                    delivered.append(time.monotonic())
            except BaseException as problem:
                problems.append(problem)
                return

    handed_over.__enter__()
    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(2):
            before = len(delivered)
            wait_until(lambda before=before: len(delivered) > before + 3, "mail")
            restart(handed_over)
    finally:
        wait_until(lambda: problems or time.monotonic() - delivered[-1] < 1, "mail after the restart")
        stop.set()
        thread.join(30)
        handed_over.process.terminate()
        handed_over.process.wait(20)
    assert problems == []
    assert handed_over.socket.exists()


def test_another_path_than_in_the_conf_file_is_told(handed_over):
    with socket.socket(socket.AF_UNIX) as other:
        where = handed_over.directory / "other.sock"
        other.bind(str(where))
        other.listen()
        handed_over.command, handed_over.inherits = ("-c", HANDED_OVER, str(other.fileno())), (other.fileno(),)
        with handed_over as daemon, MilterClient(f"unix:{where}", timeout=60) as client:
            assert client.deliver(PLAIN, queue_id="4A").action is MilterAction.ACCEPT
            assert f"the service manager's socket is {where}; [milter] socket is not used" in daemon.log()


@pytest.mark.parametrize(("host", "told"), [("127.0.0.1", False), ("127.0.0.2", True)])
def test_a_socket_over_tcp_is_compared_too(make, host, told):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        daemon = make(milter={"socket": f"inet:{port}@{host}"})
        daemon.command, daemon.inherits = ("-c", HANDED_OVER, str(listening.fileno())), (listening.fileno(),)
        with daemon, MilterClient(f"inet:{port}@127.0.0.1", timeout=60) as client:
            assert client.deliver(PLAIN, queue_id="4A").action is MilterAction.ACCEPT
            assert (f"the service manager's socket is 127.0.0.1 port {port}; " in daemon.log()) == told


@pytest.mark.parametrize(
    ("kind", "count", "message"),
    [
        pytest.param(socket.SOCK_DGRAM, "1", "no listening stream socket", id="datagram"),
        pytest.param(socket.SOCK_STREAM, "1", "no listening stream socket", id="not listening"),
        pytest.param(socket.SOCK_STREAM, "2", "hands over 2 sockets", id="two"),
    ],
)
def test_what_cannot_be_used(make, kind, count, message):
    daemon = make()
    with socket.socket(socket.AF_UNIX, kind) as useless:
        code = HANDED_OVER.replace('"LISTEN_FDS": "1"', f'"LISTEN_FDS": "{count}"')
        daemon.command, daemon.inherits = ("-c", code, str(useless.fileno())), (useless.fileno(),)
        with daemon:
            assert daemon.process.wait(20) == 2
            assert message in daemon.log()
            assert "Traceback" not in daemon.log()


@pytest.mark.parametrize("variables", [{"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_FDS": "1"}, {}])
def test_what_is_meant_for_another_process_is_left_alone(monkeypatch, tmp_path, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    directory = Path(os.path.relpath(tmp_path)) if len(str(tmp_path)) > 80 else tmp_path
    with contextlib.suppress(ListenError):
        listener = Listener(MilterSection(socket=f"unix:{(directory / 's').absolute()}"))
        listener.close()
    assert "LISTEN_FDS" not in os.environ
