"""One question in flight: its sockets, its attempts at one server after the other, its reply.

Sending never blocks. Waiting is done by whoever needs the answer, inside `collect`.
"""

import math
import secrets
import select
import socket
import threading
import time
from dataclasses import dataclass
from enum import Enum

from dmarcmilter.lookup import Answer, Status
from dmarcmilter.resolver import wire as dnswire
from dmarcmilter.resolver.cache import Key
from dmarcmilter.resolver.servers import Server, Servers, exchange

ATTEMPT_GAPS = (0.25, 0.25)
"""Parts of the timeout between attempts. The sockets of earlier ones stay open: a late answer is taken, too."""
_MAX_DATAGRAM = 4096
"""We announce 1,232; what is longer than this is cut and then does not parse."""


class Edns(Enum):
    YES = "yes"
    NO = "no"
    """The server did not understand the OPT record (RFC 6891 7)."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    server: Server
    sock: socket.socket
    identifier: int
    edns: Edns


@dataclass(frozen=True, slots=True)
class Result:
    answer: Answer
    ttl: int
    """Seconds; of no meaning when the answer is FAILED."""


class Query:
    """`lock` is held around every method by its caller; `users` belongs to the resolver and its lock."""

    def __init__(self, key: Key, starter: object, servers: Servers, timeout: float) -> None:
        self.key = key
        self.lock = threading.Lock()
        self.starter = starter
        """The message that pays for it."""
        self.users: set[object] = {starter}
        self.result: Result | None = None
        self.ignored = 0
        """Datagrams that were no reply to this question."""
        self._name, self._rdtype = key
        self._servers = servers
        self._timeout = timeout
        self._begun = time.monotonic()
        self._deadline = 0.0
        self._poller = select.poll()
        self._attempts: dict[int, _Attempt] = {}
        self._aliases = 0
        self._ttl = math.inf
        self._ask(self._name)

    def _ask(self, name: bytes) -> None:
        """Begin with a name: the one asked for, or the one that its CNAMEs lead to."""
        self._close_sockets()
        self._name = name
        self._ranked = self._servers.ranked()
        self._asked: set[Server] = set()
        self._refused: set[Server] = set()
        self._truncated: _Attempt | None = None
        self._turns = 0
        self._next_turn = 0.0

    def send(self) -> None:
        """The first attempt, if there was none."""
        if self.result is None and self._turns == 0:
            self._take_turn(time.monotonic())

    def collect(self, until: float) -> None:
        """Wait for the result, not beyond that time (monotonic). There may be none yet afterwards."""
        now = time.monotonic()
        if not self._deadline:
            # Asked ahead of need and unanswered: nobody was there to ask again, so half the time is given for that.
            self._deadline = max(self._begun + self._timeout, now + self._timeout / 2)
        until = min(until, self._deadline)
        self.drain()
        while self.result is None and now < until:
            if self._truncated is not None:
                self._ask_by_tcp(self._truncated, until)
            else:
                if now >= self._next_turn:
                    self._take_turn(now)
                self._receive(min(until, self._next_turn) - now)
            now = time.monotonic()
        if self.result is None and now >= self._deadline:
            self._fail("no answer in time")

    def drain(self) -> None:
        """Take what has arrived."""
        if self.result is None:
            self._receive(0.0)

    def close(self) -> None:
        self._close_sockets()

    def _take_turn(self, now: float) -> None:
        """One more attempt, at the next server that has not refused."""
        if self._attempts and len(self._ranked) > 1:
            for attempt in self._attempts.values():
                self._servers.was_silent(attempt.server)
        willing = [server for server in self._ranked if server not in self._refused]
        gaps = ATTEMPT_GAPS[self._turns : self._turns + 1]
        self._next_turn = now + self._timeout * gaps[0] if gaps else math.inf
        server = willing[self._turns % len(willing)]
        self._turns += 1
        if not self._send_to(server, Edns.YES):
            self._go_on(f"{server.label} cannot be reached")

    def _send_to(self, server: Server, edns: Edns) -> bool:
        """Ask from a socket of its own: the kernel picks the port, we the identifier (RFC 5452 4.4, 9.2)."""
        self._asked.add(server)
        identifier = secrets.randbits(16)
        try:
            sock = socket.socket(server.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError:
            return False
        try:
            sock.connect(server.address)
            sock.send(self._question(identifier, edns))
        except OSError:
            sock.close()
            return False
        self._attempts[sock.fileno()] = _Attempt(server, sock, identifier, edns)
        self._poller.register(sock, select.POLLIN)
        return True

    def _receive(self, wait: float) -> None:
        for descriptor, _ in self._poller.poll(max(0, math.ceil(wait * 1000))):
            attempt = self._attempts.get(descriptor)
            if attempt is not None and self.result is None:
                self._take(attempt)

    def _take(self, attempt: _Attempt) -> None:
        """One datagram. What is no reply to our question ends nothing (RFC 5452 3, 9.1)."""
        try:
            wire = attempt.sock.recv(_MAX_DATAGRAM)
        except BlockingIOError:
            return
        except OSError:  # ICMP says that nobody listens
            self._servers.was_silent(attempt.server)
            self._close_attempt(attempt)
            self._go_on(f"{attempt.server.label} cannot be reached")
            return
        reply = self._parse(wire, attempt.identifier)
        if reply is None:
            self.ignored += 1
            return
        self._servers.answered(attempt.server)
        if reply.truncated:
            self._truncated = attempt
        elif reply.complete:
            self._use(reply)
        elif reply.rcode == dnswire.FORMERR and attempt.edns is Edns.YES:
            self._close_attempt(attempt)
            if not self._send_to(attempt.server, Edns.NO):
                self._go_on(f"{attempt.server.label} cannot be reached")
        else:
            self._close_attempt(attempt)
            self._refused.add(attempt.server)
            self._go_on(f"{attempt.server.label} answered {dnswire.rcode_to_text(reply.rcode)}")

    def _parse(self, wire: bytes, identifier: int) -> dnswire.Reply | None:
        if not dnswire.is_reply(wire, identifier, self._name, self._rdtype):
            return None
        return dnswire.read_reply(wire, self._name, self._rdtype)

    def _go_on(self, reason: str) -> None:
        """After an attempt that came to nothing: the next server at once; nobody left to hope for: failed."""
        for server in self._ranked:
            if server not in self._asked and self._send_to(server, Edns.YES):
                return
        spent = not self._attempts and self._next_turn == math.inf
        if spent or self._refused.issuperset(self._ranked):
            self._fail(reason)

    def _use(self, reply: dnswire.Reply) -> None:
        """A complete reply. The three kinds of "no" and "not known" part here."""
        self._aliases += reply.aliases
        self._ttl = min(self._ttl, reply.ttl)
        if self._aliases > dnswire.MAX_CHAIN:
            self._fail("CNAMEs loop or are too many")
        elif reply.records:
            self._finish(Answer(Status.FOUND, reply.records))
        elif reply.rcode == dnswire.NXDOMAIN:
            self._finish(Answer(Status.NXDOMAIN))
        elif reply.denied or not reply.aliases:
            self._finish(Answer(Status.NODATA))
        else:
            # The CNAMEs lead out of this reply (RFC 1034 5.2.2): its emptiness says nothing of where they lead.
            self._ask(reply.target)
            self.send()

    def _ask_by_tcp(self, attempt: _Attempt, until: float) -> None:
        """RFC 7766 5: a truncated answer is asked for again. Cut short by the caller's patience is not failed."""
        identifier = secrets.randbits(16)
        wire = exchange(attempt.server, self._question(identifier, attempt.edns), until)
        reply = None if wire is None else self._parse(wire, identifier)
        if reply is not None and reply.complete:
            self._truncated = None
            self._use(reply)
        elif wire is not None or time.monotonic() < until or until == self._deadline:
            self._fail(f"{attempt.server.label} gave no answer by TCP")

    def _question(self, identifier: int, edns: Edns) -> bytes:
        return dnswire.question(identifier, self._name, self._rdtype, edns=edns is Edns.YES)

    def _finish(self, answer: Answer) -> None:
        self.result = Result(answer, int(self._ttl))
        self._close_sockets()

    def _fail(self, reason: str) -> None:
        self.result = Result(Answer(Status.FAILED, reason=reason), 0)
        self._close_sockets()

    def _close_sockets(self) -> None:
        for attempt in list(self._attempts.values()):
            self._close_attempt(attempt)

    def _close_attempt(self, attempt: _Attempt) -> None:
        self._poller.unregister(attempt.sock)
        del self._attempts[attempt.sock.fileno()]
        attempt.sock.close()
