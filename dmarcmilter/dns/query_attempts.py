"""One query in flight: its sockets, its attempts at one server after the other, its reply.

Sending never blocks. The caller that needs the answer waits for it, inside `collect`.
"""

import logging
import math
import secrets
import threading
import time
from enum import Enum

from dmarcmilter.dns import wire_format as dnswire
from dmarcmilter.dns.cache import CacheKey
from dmarcmilter.dns.lookup import Answer, Record, Status
from dmarcmilter.dns.name_servers import Server, Servers, exchange
from dmarcmilter.dns.observer import AnswerWord
from dmarcmilter.dns.udp_attempt import Attempt, Edns, attempt, wait_for
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.value import Value

log = logging.getLogger(__name__)

UNREACHABLE = Reason.of(Code.DNS_UNREACHABLE)
NO_TCP = Reason.of(Code.DNS_TCP)
"""Reasons of failures. They are recorded and may be reported, so only the log (level debug) names the server."""

ATTEMPT_GAPS = (0.25, 0.25)
"""Time between attempts, as parts of the timeout. Sockets of earlier attempts stay open for a late answer."""
MAX_STRAYS = 32
"""Datagrams that are no reply and are skipped in a row; then the clock and the other sockets are looked at again."""


class QueryResult(Value):
    """The end of a query."""

    answer: Answer
    ttl: int
    """Seconds; without meaning when the answer is FAILED."""
    word: AnswerWord


class _Taken(Enum):
    STRAY = "stray"
    """The datagram was no reply to the question; there may be another behind it."""
    ENOUGH = "enough"
    """There was a reply, or no datagram."""


class Query:
    """A query. The caller of each method holds `lock`; `users` is guarded by the lock of the resolver."""

    def __init__(self, key: CacheKey, starter: object, servers: Servers, timeout: float) -> None:
        self.key = key
        self.lock = threading.Lock()
        self.starter = starter
        """The message whose budget pays for it."""
        self.users: set[object] = {starter}
        self.result: QueryResult | None = None
        self.begun = time.monotonic()
        self.dropped = False
        """Given up without a result: a message that needs one starts another query."""
        self.ignored = 0
        """Datagrams that were no reply to this question."""
        self.waited: float | None = None
        """Seconds from the question to its result; None: no message was waiting when it came."""
        self.settled = False
        """The resolver has taken the result over."""
        self._name, self._rdtype = key
        self._servers = servers
        self._timeout = timeout
        self._deadline = 0.0
        self._attempts: list[Attempt] = []
        self._aliases = 0
        self._ttl = math.inf
        self._ask(self._name)

    def _ask(self, name: bytes) -> None:
        """Start to ask for a name: the queried one, or the one to which its CNAMEs lead."""
        self.close()
        self._name = name
        self._ranked = self._servers.ranked()
        self._asked: set[Server] = set()
        self._refused: set[Server] = set()
        self._by_tcp: list[Server] = []
        """Servers still to be asked by TCP; empty: no answer was truncated."""
        self._slow_by_tcp: list[Server] = []
        self._turns = 0
        self._next_turn = 0.0

    def is_open(self) -> bool:
        """Whether there is no result yet. A method: any call may bring one, and mypy takes attributes for unchanged."""
        return self.result is None

    def send(self) -> None:
        """Make the first attempt, if there was none yet."""
        if self.is_open() and not self.dropped and self._turns == 0:
            self._take_turn(time.monotonic())

    def collect(self, until: float) -> None:
        """Wait for the result until a time (monotonic) at most; afterwards there may still be none.

        Datagrams that have arrived are read even when no time is left to wait.
        """
        self.drain()
        if self.is_open():
            self._await(until)
            self.waited = None if self.is_open() else time.monotonic() - self.begun

    def _await(self, until: float) -> None:
        now = time.monotonic()
        if not self._deadline:
            # A prefetched query made one attempt only: leave at least half of the timeout for the others.
            self._deadline = max(self.begun + self._timeout, now + self._timeout / 2)
        until = min(until, self._deadline)
        while self.is_open() and now < until:
            if self._by_tcp:
                self._ask_by_tcp(now, until)
            else:
                if now >= self._next_turn:
                    self._take_turn(now)
                if self.is_open():
                    wait_for(self._attempts, min(until, self._next_turn) - now)
                    self.drain()
            now = time.monotonic()
        if self.is_open() and now >= self._deadline:
            self._fail(Reason.of(Code.DNS_TIMEOUT), AnswerWord.TIMEOUT)

    def drain(self) -> None:
        """Read the datagrams that have arrived, without waiting."""
        for tried in tuple(self._attempts):
            strays = 0
            # Reading one may close the other attempts.
            while tried in self._attempts and strays < MAX_STRAYS and self._take(tried) is _Taken.STRAY:
                strays += 1
            self.ignored += strays

    def drop(self) -> None:
        """Give the query up because no message waits for it; a result that is there stays valid."""
        self.dropped = self.is_open()
        self.close()

    def close(self) -> None:
        for tried in self._attempts:
            tried.close()
        self._attempts = []

    def _take_turn(self, now: float) -> None:
        """Make one more attempt, at the next server that has not refused."""
        if self._attempts and len(self._ranked) > 1:
            for tried in self._attempts:
                self._servers.was_silent(tried.server)
        willing = [server for server in self._ranked if server not in self._refused]
        gaps = ATTEMPT_GAPS[self._turns : self._turns + 1]
        self._next_turn = now + self._timeout * gaps[0] if gaps else math.inf
        server = willing[self._turns % len(willing)]
        self._turns += 1
        if not self._send_to(server, Edns.YES):
            self._go_on(server, UNREACHABLE, AnswerWord.UNREACHABLE)

    def _send_to(self, server: Server, edns: Edns) -> bool:
        self._asked.add(server)
        sent = attempt(server, (self._name, self._rdtype), edns)
        if sent is not None:
            self._attempts.append(sent)
        return sent is not None

    def _take(self, tried: Attempt) -> _Taken:
        """Read one datagram. One that is no reply to the question changes nothing (RFC 5452 3, 9.1)."""
        try:
            wire = tried.receive()
        except OSError:
            self._servers.was_silent(tried.server)
            self._close_attempt(tried)
            self._go_on(tried.server, UNREACHABLE, AnswerWord.UNREACHABLE)
            return _Taken.ENOUGH
        if wire is None:
            return _Taken.ENOUGH
        reply = self._parse(wire, tried.identifier)
        if reply is None:
            return _Taken.STRAY
        self._servers.answered(tried.server)
        if reply.complete:
            self._use(reply)
        elif reply.truncated:
            self.close()
            self._by_tcp = [tried.server, *(server for server in self._ranked if server != tried.server)]
        else:
            self._close_attempt(tried)
            self._not_answered(tried, reply.rcode)
        return _Taken.ENOUGH

    def _not_answered(self, tried: Attempt, rcode: int) -> None:
        """Handle a reply that is no answer (RCODE)."""
        if rcode == dnswire.FORMERR and tried.edns is Edns.YES:
            if not self._send_to(tried.server, Edns.NO):
                self._go_on(tried.server, UNREACHABLE, AnswerWord.UNREACHABLE)
        else:
            self._refused.add(tried.server)
            word = AnswerWord.SERVFAIL if rcode == dnswire.SERVFAIL else AnswerWord.RCODE
            self._go_on(tried.server, Reason.of(Code.DNS_RCODE, rcode=dnswire.rcode_to_text(rcode)), word)

    def _parse(self, wire: bytes, identifier: int) -> dnswire.DnsReply | None:
        if not dnswire.is_reply(wire, identifier, self._name, self._rdtype):
            return None
        return dnswire.read_reply(wire, self._name, self._rdtype)

    def _go_on(self, server: Server, reason: Reason, word: AnswerWord) -> None:
        """After a failed attempt: ask the next server at once; fail when no other may still answer."""
        log.debug("DNS: %s: %s", server.label, reason)
        for other in self._ranked:
            if other not in self._asked and self._send_to(other, Edns.YES):
                return
        spent = not self._attempts and self._next_turn == math.inf
        if spent or self._refused.issuperset(self._ranked):
            self._fail(reason, word)

    def _use(self, reply: dnswire.DnsReply) -> None:
        """Turn a complete reply into the result: FOUND, NXDOMAIN, NODATA, FAILED, or another question after a CNAME."""
        self._aliases += reply.aliases
        self._ttl = min(self._ttl, reply.ttl)
        if reply.overfull:
            self._fail(Reason.of(Code.DNS_TOO_MANY_RECORDS, number=dnswire.MAX_RECORDS), AnswerWord.BOUND)
        elif self._aliases > dnswire.MAX_CHAIN:
            self._fail(Reason.of(Code.DNS_CNAME_CHAIN), AnswerWord.BOUND)
        elif reply.records:
            self._finish(Status.FOUND, reply.records)
        elif reply.rcode == dnswire.NXDOMAIN:
            self._finish(Status.NXDOMAIN)
        elif reply.denied or not reply.aliases:
            self._finish(Status.NODATA)
        else:
            # The CNAMEs lead out of this reply (RFC 1034 5.2.2): it says nothing about the name at their end.
            self._ask(reply.target)
            self.send()

    def _ask_by_tcp(self, now: float, until: float) -> None:
        """Ask the next server by TCP after a truncated answer (RFC 7766 5); each gets its share of the time.

        A server cut short by the caller's time limit has not failed: another caller may have more time.
        """
        server = self._by_tcp.pop(0)
        share = now + (until - now) / (1 + len(self._by_tcp))
        identifier = secrets.randbits(16)
        wire = exchange(server, dnswire.question(identifier, self._name, self._rdtype, edns=False), share)
        reply = None if wire is None else self._parse(wire, identifier)
        if reply is not None and reply.complete:
            self._use(reply)
            return
        if wire is None and until < self._deadline and time.monotonic() >= share:
            self._slow_by_tcp.append(server)
        if not self._by_tcp:
            self._by_tcp, self._slow_by_tcp = self._slow_by_tcp, []
        if not self._by_tcp:
            log.debug("DNS: %s: %s", server.label, NO_TCP)
            self._fail(NO_TCP, AnswerWord.TCP)

    def _finish(self, status: Status, records: tuple[Record, ...] = ()) -> None:
        answer = Answer(status, records, is_alias=self._aliases > 0)
        self.result = QueryResult(answer, int(self._ttl), AnswerWord(status.value))
        self.close()

    def _fail(self, reason: Reason, word: AnswerWord) -> None:
        self.result = QueryResult(Answer(Status.FAILED, reason=reason, is_alias=self._aliases > 0), 0, word)
        self.close()

    def _close_attempt(self, tried: Attempt) -> None:
        self._attempts.remove(tried)
        tried.close()
