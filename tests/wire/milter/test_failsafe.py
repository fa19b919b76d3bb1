"""The failsafe: nothing gets out of a callback and no message through, not even without memory; the real filter."""

import os
import signal
import subprocess
import sys
import textwrap

import Milter
import pytest

from dmarcmilter.milter.failsafe import failsafe
from dmarcmilter.testing.milter_client import MilterAction, MilterClient, MilterError
from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import FilterDaemon
from tests.support.paths import PROJECT
from tests.support.running_daemon import PLAIN, SPOOF, ZONE, OpenMessage, alive, conf, wait_until, workers


class Session:
    """Whose bookkeeping of the failure may fail as well."""

    def __init__(self, *, worse):
        self.worse = worse
        self.is_spoiled = False

    @failsafe
    def eom(self):
        raise MemoryError

    @failsafe
    def body(self, chunk):
        raise ValueError(chunk)

    @failsafe
    def eoh(self):
        return 7

    def spoil(self):
        self.is_spoiled = True

    def queue_id(self):
        if self.worse:
            raise MemoryError
        return "4A"

    def failed(self, step):
        return {"eom": 11, "body": 12}[step]


def test_what_a_callback_returns():
    session = Session(worse=False)
    assert session.eoh() == 7
    assert not session.is_spoiled


def test_what_it_raises(caplog):
    session = Session(worse=False)
    assert [session.body(b"x"), session.eom()] == [12, 11]
    assert session.is_spoiled
    assert "4A: internal error in body" in caplog.text


def test_what_is_raised_over_it():
    """The end of message is not let through, whatever the operator chose."""
    session = Session(worse=True)
    assert [session.body(b"x"), session.eom()] == [Milter.CONTINUE, Milter.TEMPFAIL]
    assert session.is_spoiled


# --- outside of every Session


@pytest.fixture
def daemon():
    with NameServer(ZONE) as dns, FilterDaemon(conf(dns)) as daemon:
        wait_until(lambda: workers(daemon), "a worker")
        yield daemon


def test_what_is_no_utf8_is_left_out(daemon):
    """An 8-bit host name does not reach us; the message is judged without it, and the next one as ever."""
    [worker] = workers(daemon)
    odd = "h\udcf6st.example"
    with MilterClient(daemon.address, timeout=60) as client:
        assert client.deliver(PLAIN, queue_id="4A", helo=odd).action is MilterAction.ACCEPT
        assert client.deliver(SPOOF, queue_id="4B", helo=odd).action is MilterAction.REJECT
    assert [record["queue_id"] for record in daemon.records()] == ["4A", "4B"]
    assert workers(daemon) == {worker}
    assert "left out a value from the MTA that is not UTF-8" in daemon.log()


HOOK = """
    import sys
    from dmarcmilter.milter.libmilter_callbacks import _on_error_outside_sessions
    try:
        b"\\xff".decode()
    except UnicodeDecodeError as error:
        _on_error_outside_sessions(UnicodeDecodeError, error, None)
    print("goes on", flush=True)
    _on_error_outside_sessions(MemoryError, MemoryError(), None)
    print("is still there")
"""


def test_what_else_is_on_error_outside_sessions_ends_the_worker():
    command = [sys.executable, "-c", textwrap.dedent(HOOK)]
    done = subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (1, "goes on\n")
    assert "MemoryError outside of any message: this worker ends" in done.stderr


# --- the worker's descriptor of the shared socket


HAND_OVER = """
    import os, socket, sys, tempfile, threading
    import Milter, milter
    from dmarcmilter.daemon import worker
    kind, folder = sys.argv[1:]
    tempfile.tempdir = folder or None
    milter.register("test")
    if kind == "AF_UNIX":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(chr(0) + f"dmarcmilter-test-{os.getpid()}")  # of Linux: in no folder
        listener.listen()
    else:
        where = ("::1" if kind == "AF_INET6" else "127.0.0.1", 0)
        listener = socket.create_server(where, family=socket.AddressFamily[kind])
    worker._hand_over(listener)
    threading.Thread(target=milter.main, daemon=True).start()
    with socket.socket(listener.family) as client:
        client.settimeout(10)
        client.connect(listener.getsockname())
        client.sendall(bytes.fromhex("0000000d 4f 00000006 000001ff 001fffff"))  # SMFIC_OPTNEG
        print(client.recv(5)[4:], flush=True)
    os._exit(0)
"""


def handed_over(kind, folder=""):
    command = [sys.executable, "-c", textwrap.dedent(HAND_OVER), kind, folder]
    return subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("kind", ["AF_UNIX", "AF_INET", "AF_INET6"])
def test_libmilter_answers_on_the_shared_socket(kind):
    done = handed_over(kind)
    assert (done.returncode, done.stdout) == (0, "b'O'\n"), done.stderr


@pytest.mark.parametrize("kind", ["AF_UNIX", "AF_INET"])
def test_a_worker_starts_where_nothing_can_be_written(kind):
    done = handed_over(kind, "/no/such/folder")
    assert (done.returncode, done.stdout) == (0, "b'O'\n"), done.stderr
    assert ("no folder for a temporary socket" in done.stderr) == (kind == "AF_UNIX")


# --- reloads without end


def test_connections_do_not_keep_workers_for_ever(daemon):
    """Each reload leaves a worker behind that has an open connection; after some, the oldest are told to go."""
    clients, generations = [], []
    for number in range(7):
        client = MilterClient(daemon.address, timeout=60)
        client.deliver(PLAIN, queue_id=f"4N{number}")
        clients.append(client)
        generations.append(workers(daemon) - {pid for old in generations for pid in old})
        before = daemon.log().count("INFO reloaded ")
        os.kill(daemon.process.pid, signal.SIGHUP)
        wait_until(lambda before=before: daemon.log().count("INFO reloaded ") > before, "the reload")
    oldest, *_, youngest = generations
    wait_until(lambda: not any(map(alive, oldest)), "the end of the oldest worker")
    wait_until(lambda: len(workers(daemon)) <= 5, "the end of the older ones")
    assert all(map(alive, youngest))
    with pytest.raises(MilterError):
        clients[0].deliver(PLAIN)
    assert clients[-1].deliver(PLAIN).action is MilterAction.ACCEPT
    for client in clients:
        client.close()


def test_the_oldest_finish_their_message(daemon):
    with MilterClient(daemon.address, timeout=60) as client:
        message = OpenMessage(client, PLAIN, queue_id="4A")
        for _ in range(6):
            before = daemon.log().count("INFO reloaded ")
            os.kill(daemon.process.pid, signal.SIGHUP)
            wait_until(lambda before=before: daemon.log().count("INFO reloaded ") > before, "the reload")
        assert message.finish().action is MilterAction.ACCEPT
    assert daemon.record("4A")["action"] == "accept"
