"""A small authoritative DNS server with one zone, which can misbehave in the ways that a zone asks for."""

import contextlib
import functools
import heapq
import itertools
import random
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from dmarcmilter.testing.zone import Zone

MAX_UDP = 1232
"""Largest UDP reply, in bytes; a longer one is truncated (TC)."""
BIND_TRIES = 20
"""Attempts to find a port that is free for both UDP and TCP; then OSError."""

_RCODES = {
    "servfail": dns.rcode.SERVFAIL,
    "refused": dns.rcode.REFUSED,
    "formerr": dns.rcode.FORMERR,
    "notimp": dns.rcode.NOTIMP,
}
_SLOW = 2.0
_GARBAGE = random.Random(1).randbytes(60)  # noqa: S311 - any bytes will do

Send = Callable[[bytes], None]


class NameServer:
    """A server of one zone over UDP and TCP on one port, in one thread, until it is closed."""

    def __init__(
        self, zone: Mapping[str, Any], address: str = "127.0.0.1", port: int = 0, *, ttl: int = 0, delay: float = 0.0
    ) -> None:
        self.queries: list[tuple[str, str, str]] = []
        """Queries since the zone was loaded, in order of arrival: (name, type, "udp" or "tcp")."""
        self.delay = delay
        self._ttl = ttl
        self._zone = Zone(zone, ttl)
        self._udp, self._tcp = _bind(address, port)
        self.port: int = self._udp.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._later: list[tuple[float, int, Send, bytes]] = []
        self._serial = itertools.count()
        self._connections: dict[socket.socket, bytes] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="nameserver", daemon=True)
        self._thread.start()

    def load(self, zone: Mapping[str, Any], *, ttl: int | None = None) -> None:
        """Replace the zone and clear `queries`."""
        self._ttl = self._ttl if ttl is None else ttl
        self._zone = Zone(zone, self._ttl)
        self.queries = []

    def close(self) -> None:
        """Stop the thread and close all sockets. May be called twice."""
        self._closing = True
        if self._thread.is_alive():
            self._wake.send(b"x")
            self._thread.join()
        for sock in (self._udp, self._tcp, self._wake, self._woken, *self._connections):
            sock.close()
        self._connections.clear()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serve(self) -> None:
        for sock, ready in ((self._udp, self._on_udp), (self._tcp, self._on_connect), (self._woken, None)):
            self._selector.register(sock, selectors.EVENT_READ, ready)
        while not self._closing:
            wait = max(0.0, self._later[0][0] - time.monotonic()) if self._later else None
            for key, _ in self._selector.select(wait):
                if key.data is not None:
                    key.data(key.fileobj)
            while self._later and self._later[0][0] <= time.monotonic():
                _, _, send, wire = heapq.heappop(self._later)
                with contextlib.suppress(OSError):  # the client is gone
                    send(wire)

    def _on_udp(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # ICMP from a client that is gone
            wire, peer = sock.recvfrom(65535)
            self._answer(wire, "udp", functools.partial(_reply_by_udp, sock, peer))

    def _on_connect(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = sock.accept()
            connection.settimeout(1.0)
            self._connections[connection] = b""
            self._selector.register(connection, selectors.EVENT_READ, self._on_tcp)

    def _on_tcp(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(65535)
        except OSError:
            data = b""
        if not data:
            self._hang_up(connection)
            return
        data = self._connections[connection] + data
        while len(data) >= 2 and len(data) >= (size := 2 + int.from_bytes(data[:2], "big")):
            wire, data = data[2:size], data[size:]
            self._answer(wire, "tcp", functools.partial(self._reply_by_tcp, connection))
        if connection in self._connections:
            self._connections[connection] = data

    def _reply_by_tcp(self, connection: socket.socket, reply: bytes) -> None:
        if reply:
            connection.sendall(struct.pack("!H", len(reply)) + reply)
        else:
            self._hang_up(connection)

    def _hang_up(self, connection: socket.socket) -> None:
        if self._connections.pop(connection, None) is not None:
            self._selector.unregister(connection)
            connection.close()

    def _answer(self, wire: bytes, transport: str, send: Send) -> None:
        """Queue the reply to a query; none when the zone says `timeout`."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return
        if not query.question:
            return
        asked = query.question[0]
        self.queries.append((asked.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(asked.rdtype), transport))
        response, behavior = self._zone.respond(query)
        if behavior == "timeout":
            return
        reply = _encode(query, response, behavior, wire, transport)
        wait = self.delay + (_SLOW if behavior == "slow" else 0.0)
        heapq.heappush(self._later, (time.monotonic() + wait, next(self._serial), send, reply))


def _reply_by_udp(sock: socket.socket, peer: Any, reply: bytes) -> None:
    sock.sendto(reply, peer)


def _bind(address: str, port: int) -> tuple[socket.socket, socket.socket]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for _ in range(BIND_TRIES):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        tcp = socket.socket(family, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        try:
            udp.bind((address, port))
            tcp.bind((address, udp.getsockname()[1]))
            tcp.listen(64)
        except OSError:
            udp.close()
            tcp.close()
            if port:
                raise
            continue
        return udp, tcp
    raise OSError("no port that is free for both UDP and TCP")


def _encode(
    query: dns.message.Message, response: dns.message.Message, behavior: str, wire: bytes, transport: str
) -> bytes:
    """The bytes of the reply, changed as the behavior says; empty: close the TCP connection."""
    if behavior == "garbage":
        return wire[:2] + _GARBAGE
    if behavior == "short":
        return wire[:7]
    if behavior == "truncate-notcp" and transport == "tcp":
        return b""
    if behavior in _RCODES:
        response.set_rcode(_RCODES[behavior])
        response.answer = []
        response.authority = []
    if behavior == "wrongid":
        response.id ^= 1
    if behavior == "wrongquestion":
        response.question[0] = _renamed(response)
    # Records in the order of the zone, so that results that depend on the order repeat.
    reply = response.to_wire(max_size=65535, want_shuffle=False)
    limit = min(MAX_UDP, max(512, query.payload)) if query.edns >= 0 else 512
    if transport == "udp" and (behavior.startswith("truncate") or len(reply) > limit):
        reply = _truncated(response)
    return _flip_question(reply) if behavior == "wrongcase" else reply


def _renamed(response: dns.message.Message) -> Any:
    asked = response.question[0]
    asked.name = dns.name.from_text("other.invalid.")
    return asked


def _truncated(response: dns.message.Message) -> bytes:
    response.flags |= dns.flags.TC
    response.answer = []
    response.authority = []
    return response.to_wire(want_shuffle=False)


def _flip_question(reply: bytes) -> bytes:
    """Swap the case of the name in the question; the answer's owner is a pointer to it."""
    end = reply.index(b"\0", 12)
    return reply[:12] + reply[12:end].swapcase() + reply[end:]
