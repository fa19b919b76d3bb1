"""The name servers: their order, and one question by TCP."""

import contextlib
import socket
import struct
import time
from collections.abc import Sequence

from dmarcmilter.value import Value

SILENCE_REMEMBERED = 30.0
"""Seconds for which a server that gave no answer comes last in the order."""


class Server(Value):
    family: int
    address: tuple[str | int | bytes, ...]
    label: str


class Servers:
    """The servers, those that answer first. Threads share it without a lock: each step is one dictionary operation."""

    def __init__(self, addresses: Sequence[tuple[str, int]]) -> None:
        if not addresses:
            raise ValueError("no name servers")
        self._servers = tuple(_server(address, port) for address, port in addresses)
        self._silent_until: dict[Server, float] = {}

    def ranked(self) -> tuple[Server, ...]:
        if not self._silent_until:
            return self._servers
        now = time.monotonic()
        return tuple(sorted(self._servers, key=lambda server: self._silent_until.get(server, 0.0) > now))

    def answered(self, server: Server) -> None:
        self._silent_until.pop(server, None)

    def was_silent(self, server: Server) -> None:
        self._silent_until[server] = time.monotonic() + SILENCE_REMEMBERED


def _server(address: str, port: int) -> Server:
    """Make a Server of a literal address; names are not accepted, because looking them up would need a name server."""
    family, _, _, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0]
    return Server(int(family), where, f"{address} port {port}")


def exchange(server: Server, wire: bytes, until: float) -> bytes | None:
    """Ask one question by TCP (RFC 1035 4.2.2); None when that fails. The length prefix bounds the reply."""
    with contextlib.suppress(OSError), socket.socket(server.family, socket.SOCK_STREAM) as sock:
        sock.settimeout(_left(until))
        sock.connect(server.address)
        sock.sendall(struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", _read_exactly(sock, 2, until))
        return _read_exactly(sock, length, until)
    return None


def _read_exactly(sock: socket.socket, count: int, until: float) -> bytes:
    data = bytearray()
    while len(data) < count:
        sock.settimeout(_left(until))
        part = sock.recv(count - len(data))
        if not part:
            raise ConnectionError("closed early")
        data += part
    return bytes(data)


def _left(until: float) -> float:
    """Seconds left; TimeoutError when there are none (a timeout of 0 would make the socket non-blocking)."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
