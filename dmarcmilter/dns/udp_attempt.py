"""One question to one server by UDP, from a socket of its own. Only `wait_for` blocks."""

import math
import secrets
import select
import socket
from collections.abc import Iterable
from enum import Enum

from dmarcmilter.dns import wire_format as dnswire
from dmarcmilter.dns.cache import CacheKey
from dmarcmilter.dns.name_servers import Server

_MAX_DATAGRAM = 4096
"""Bytes read of a datagram; 1,232 are announced, and a longer one is cut and then does not parse."""


class Edns(Enum):
    """Whether the question has an OPT record."""

    YES = "yes"
    NO = "no"
    """The server did not understand the OPT record (RFC 6891 7)."""


class Attempt:
    """A question that was sent, with the socket at which its answer is awaited."""

    def __init__(self, server: Server, edns: Edns, identifier: int, sock: socket.socket) -> None:
        self.server = server
        self.edns = edns
        self.identifier = identifier
        self._sock = sock

    def receive(self) -> bytes | None:
        """Read a datagram; None when there is none. OSError: ICMP says that nothing listens there."""
        try:
            return self._sock.recv(_MAX_DATAGRAM)
        except BlockingIOError:
            return None

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()


def attempt(server: Server, key: CacheKey, edns: Edns) -> Attempt | None:
    """Send a question with a random identifier and a port from the kernel (RFC 5452 4.4, 9.2); None: not sent."""
    identifier = secrets.randbits(16)
    try:
        sock = socket.socket(server.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError:
        return None
    try:
        sock.connect(server.address)
        sock.send(dnswire.question(identifier, *key, edns=edns is Edns.YES))
    except OSError:
        sock.close()
        return None
    return Attempt(server, edns, identifier, sock)


def wait_for(attempts: Iterable[Attempt], seconds: float) -> None:
    """Wait until there is something to receive."""
    poller = select.poll()
    for waiting in attempts:
        poller.register(waiting.fileno(), select.POLLIN)
    poller.poll(max(0, math.ceil(seconds * 1000)))
