"""What the tests of the running daemon share: its workers, waiting, a small zone, and a message kept open."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dmarcmilter.testing.milter_client import Event, MilterClient, Verdict
from dmarcmilter.testing.smtp_envelope import SmtpEnvelope
from tests.support.filter_daemon import FilterDaemon

ZONE = {
    "none.example": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
    "_dmarc.none.example": {"TXT": ["v=DMARC1; p=none"]},
    "_dmarc.reject.example": {"TXT": ["v=DMARC1; p=reject"]},
    "_dmarc.quarantine.example": {"TXT": ["v=DMARC1; p=quarantine"]},
}
PLAIN = b"From: a@none.example\r\nTo: b@rcpt.example\r\nSubject: hello\r\n\r\nbody\r\n"
SPOOF = PLAIN.replace(b"none.example", b"reject.example")


def conf(server: Any, **sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Sections for FilterDaemon: this name server, a fixed name, and what the test wants."""
    own: dict[str, dict[str, Any]] = {
        "dns": {"nameservers": [f"127.0.0.1:{server.port}"]},
        "identity": {"authserv_id": "mx.test.example"},
    }
    return {name: own.get(name, {}) | sections.get(name, {}) for name in {**own, **sections}}


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)
    return found


def workers(daemon: FilterDaemon) -> set[int]:
    """Process ids of the supervisor's living children."""
    assert daemon.process
    pid = daemon.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child) for child in children if alive(int(child))}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def served_by(daemon: FilterDaemon, queue_id: str) -> int:
    """The worker that evaluated the message: its process id is in the name of its journal file."""
    mark = f'"queue_id":"{queue_id}"'
    [path] = [path for path in daemon.journal.glob("*.jsonl") if mark in path.read_text()]
    return int(path.stem.rpartition("-")[2])


@contextlib.contextmanager
def service_manager(folder: Path, monkeypatch: Any) -> Iterator[socket.socket]:
    """A service manager's end of the notifications."""
    # The path of a socket has at most 107 bytes.
    path = folder / "notify" if len(str(folder)) <= 90 else Path(f"/tmp/dmarcmilter-notify-{os.getpid()}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(path))
        channel.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield channel
    path.unlink()


class OpenMessage:
    """A message told up to an event; `finish` tells the rest."""

    def __init__(self, client: MilterClient, message: bytes, *, until: Event = Event.EOH, **envelope: Any) -> None:
        self._transaction = client._transaction(message, SmtpEnvelope(**envelope))
        events = [event for event, _ in self._transaction.steps]
        self._next = events.index(until) + 1
        for _, step in self._transaction.steps[: self._next]:
            assert step() is None

    def finish(self) -> Verdict:
        for event, step in self._transaction.steps[self._next :]:
            reply = step()
            if reply:
                return self._transaction._verdict(event, reply)
        raise AssertionError("the end of the message was not answered")
