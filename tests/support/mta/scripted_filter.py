"""Filters that are not the one under test: a script on a socket, and the pymilter process of asked_filter.py."""

import contextlib
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from dmarcmilter.testing.milter_protocol import ALL_ACTIONS, Event

FILTER = Path(__file__).parent / "asked_filter.py"
PLAIN = b"From: a@b.example\r\nSubject: hello\r\n\r\nbody\r\n"


def asking(*requests: str, more: bytes = b"") -> bytes:
    lines = b"".join(f"X-Ask: {request}\r\n".encode() for request in requests)
    return more + lines + PLAIN


class ScriptedFilter:
    """Negotiates as told, answers each event as told (default: go on), and keeps what it got."""

    def __init__(self, *, protocol: int = 0, symbols: bytes = b"", answers: dict[bytes, bytes] | None = None) -> None:
        self.got: list[tuple[bytes, bytes]] = []
        self._hello = struct.pack("!III", 6, ALL_ACTIONS, protocol) + symbols
        self._answers = answers or {}
        self._protocol = protocol
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"inet:{self._listener.getsockname()[1]}@127.0.0.1"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join(10)
        self._listener.close()

    def events(self) -> bytes:
        return b"".join(code for code, _ in self.got if code not in b"DO")

    def _serve(self):
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
            while head := stream.read(4):
                packet = stream.read(struct.unpack("!I", head)[0])
                self.got.append((packet[:1], packet[1:]))
                self._answer(connection, packet[:1])

    def _answer(self, connection, code):
        default = {b"O": b"O" + self._hello, b"D": b"", b"A": b"", b"Q": b""}.get(code, b"c")
        flag = next((event.value[2] for event in Event if event.code == code), 0)
        answer = b"" if self._protocol & flag else self._answers.get(code, default)
        for packet in answer.split(b"||") if code != b"O" else [answer]:
            if packet:
                connection.sendall(struct.pack("!I", len(packet)) + packet)


def _accepts(path: Path) -> bool:
    """Whether the filter listens: the socket's path is there a moment earlier."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@contextlib.contextmanager
def running_filter(*arguments: str) -> Iterator[Path]:
    """The socket's path; the directory is open to Postfix's user."""
    with tempfile.TemporaryDirectory(prefix="milter-test-") as directory:
        Path(directory).chmod(0o755)
        path = Path(directory) / "filter.sock"
        process = subprocess.Popen([sys.executable, FILTER, str(path), *arguments])
        try:
            deadline = time.monotonic() + 20
            while not _accepts(path):
                assert process.poll() is None, "the filter ended"
                assert time.monotonic() < deadline, "the filter did not start"
                time.sleep(0.02)
            yield path
        finally:
            process.kill()  # libmilter takes seconds to end by itself
            process.wait()
