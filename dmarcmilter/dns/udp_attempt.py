"""One question to one server by UDP, from a socket of its own. Nothing here blocks but `wait_for`."""

import math
import secrets
import select
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from dmarcmilter.dns import wire_format as dnswire
from dmarcmilter.dns.cache import Key
from dmarcmilter.dns.name_servers import Server

_MAX_DATAGRAM = 4096
"""We announce 1,232; what is longer than this is cut and then does not parse."""


class Edns(Enum):
    YES = "yes"
    NO = "no"
    """The server did not understand the OPT record (RFC 6891 7)."""


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    server: Server
    edns: Edns
    identifier: int
    _sock: socket.socket

    def receive(self) -> bytes | None:
        """A datagram, if there is one. OSError: ICMP says that nobody listens."""
        try:
            return self._sock.recv(_MAX_DATAGRAM)
        except BlockingIOError:
            return None

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()


def attempt(server: Server, key: Key, edns: Edns) -> Attempt | None:
    """Ask; the kernel picks the port, we the identifier (RFC 5452 4.4, 9.2). None: it cannot be sent."""
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
    """Until there is something to receive."""
    poller = select.poll()
    for each in attempts:
        poller.register(each.fileno(), select.POLLIN)
    poller.poll(max(0, math.ceil(seconds * 1000)))
