"""The DNS lookup of one message: a budget, the answers so far, and queries sent before they are needed."""

import threading
import time
from collections.abc import Callable
from typing import Final

from dmarcmilter.dns import wire_format
from dmarcmilter.dns.cache import CacheKey
from dmarcmilter.dns.lookup import Answer, MessageDns, Status
from dmarcmilter.dns.query_attempts import Query
from dmarcmilter.dns.resolver import Resolver
from dmarcmilter.dns.wire_names import name_to_wire
from dmarcmilter.reasons import Code, Reason

MAX_IN_FLIGHT: Final = 400
"""Queries in flight in one process; a lookup beyond them fails after its time.

Each has a socket, or three when servers do not answer: the unit's LimitNOFILE is made for these."""
MAX_AHEAD: Final = 250
"""Queries in flight in one process beyond which none is sent ahead of need.

Messages of slow SMTP clients must not take the places of messages that wait for an answer."""
MAX_AHEAD_OF_ONE: Final = 24
"""Queries in flight that one message has sent ahead of need; no further one is sent.

Enough for the keys of a dozen signatures and the policies, and too few for some messages to fill MAX_AHEAD."""

AnswerObserver = Callable[[str, str, Answer, float], None]
"""Called with name, record type, answer, and the seconds that the message waited for it."""

_IMPOSSIBLE_NAME = Answer(Status.NXDOMAIN)


def _do_nothing() -> None:
    pass


class MessageLookup:
    """All DNS lookups of one message: a `lookup.Lookup` with a budget and a memory.

    May be used from several threads. An answer, once given, stays the same for this message, whatever its TTL.
    """

    def __init__(
        self,
        resolver: Resolver,
        budget: float,
        max_queries: int,
        *,
        before_wait: Callable[[], None] = _do_nothing,
        after_lookup: Callable[[], None] = _do_nothing,
        observe: AnswerObserver | None = None,
    ) -> None:
        """Wait `budget` seconds in total and send `max_queries` queries; lookups beyond that fail.

        `before_wait` is called when a lookup has to wait for the network, so that other work can run meanwhile;
        `after_lookup` when a lookup has its answer, waited for or not. The time that they take is not DNS time.
        `observe` is called with each answer.
        """
        resolver.drop_outdated()
        self.queries = 0
        """Queries sent for this message."""
        self.cache_hits = 0
        """Names that the cache, or a query of another message, answered."""
        self.failures = 0
        """Names for which DNS gave no answer."""
        self.spent = False
        """A name was not looked up because the budget was spent."""
        self._resolver = resolver
        self._budget = budget
        self._max_queries = max_queries
        self._waited = 0.0
        self._before_wait = before_wait
        self._after_lookup = after_lookup
        self._observe = observe
        self._closed = False
        self._lock = threading.Lock()
        self._answers: dict[CacheKey, Answer] = {}
        self._held: dict[CacheKey, Query] = {}
        """Queries that this message has started or shares, without an answer so far."""

    @property
    def milliseconds(self) -> float:
        """Milliseconds spent waiting."""
        return self._waited * 1000

    def __call__(self, name: str, rdtype: str) -> Answer:
        return self.within(self._budget, name, rdtype)

    def within(self, seconds: float, name: str, rdtype: str) -> Answer:
        """Look up a name, waiting at most `seconds`, and no longer than the message's budget lasts."""
        key = _key(name, rdtype)
        if key is None:
            return _IMPOSSIBLE_NAME
        answer = self._answers.get(key)
        if answer is not None:
            return answer
        waited = 0.0
        answer = self._from_cache(key)
        if answer is None:
            began = time.monotonic()
            answer = self._wait_for(key, began + max(0.0, min(seconds, self._budget - self._waited)))
            waited = time.monotonic() - began
            with self._lock:
                self._waited += waited
                answer = self._remember(key, answer)
        self._after_lookup()
        if self._observe is not None:
            self._observe(name, rdtype, answer, waited)
        return answer

    def start(self, name: str, rdtype: str) -> None:
        """Send the query ahead of need. Does not wait, and does nothing when a limit is reached."""
        key = _key(name, rdtype)
        if key is None or key in self._answers or key in self._held or self._from_cache(key) is not None:
            return
        query = self._answer_or_query(key, MAX_AHEAD if self._ahead() < MAX_AHEAD_OF_ONE else 0, 0.0)
        if isinstance(query, Query) and query.starter is self:
            self._resolver.send(query)

    def close(self) -> None:
        """End the message's queries: those that no other message shares are dropped."""
        with self._lock:
            self._closed = True
            held = list(self._held.values())
            self._held.clear()
        for query in held:
            self._resolver.leave(query, self)

    def _ahead(self) -> int:
        """The number of queries started by this message that have no answer; a little more while they are few."""
        if len(self._held) < MAX_AHEAD_OF_ONE:
            return len(self._held)
        with self._lock:
            return sum(query.starter is self and query.result is None for query in self._held.values())

    def _from_cache(self, key: CacheKey) -> Answer | None:
        """The cache's answer, which becomes the message's; None: there is none, or the rest has to be looked at."""
        if self._closed or key in self._held or self._waited >= self._budget or self.queries >= self._max_queries:
            return None
        answer = self._resolver.known(key)
        if answer is None:
            return None
        with self._lock:
            self.cache_hits += 1
            return self._remember(key, answer)

    def _wait_for(self, key: CacheKey, until: float) -> Answer:
        while True:
            query = self._answer_or_query(key, MAX_IN_FLIGHT, until)
            if isinstance(query, Answer):
                return query
            result = self._resolver.wait(query, self, 0.0)
            if result is None:
                self._before_wait()
                result = self._resolver.wait(query, self, until)
            if result is not None:
                return result.answer
            if not query.dropped:
                return _failed(self._out_of_time())

    def _answer_or_query(self, key: CacheKey, places: int, until: float) -> Answer | Query:
        """A known answer, a shared query, a new query within the limits, or the failure to get one."""
        with self._lock:
            held = self._held.get(key)
            if held is not None and not held.dropped:
                return held
            if self._closed:
                return _failed(Reason.of(Code.DNS_MESSAGE_ENDED))
            refusal = self._refusal()
            if refusal:
                self.spent = True
                places, until = 0, 0.0
            else:
                self.queries += 1  # counted in advance, so that threads cannot exceed the limit together
        candidate = self._resolver.find(key, self, places=places, until=until)
        with self._lock:
            is_held = self._held.get(key) is candidate
            if not refusal and (is_held or not self._is_started_here(candidate)):
                self.queries -= 1
            if is_held or candidate is None:
                return candidate or _failed(refusal or Reason.of(Code.DNS_TOO_MANY_AT_ONCE))
            self._keep(key, candidate)
            has_ended = self._has_ended()
        if has_ended and isinstance(candidate, Query):
            self._resolver.leave(candidate, self)
        return candidate

    def _has_ended(self) -> bool:
        """Whether the message ended meanwhile. The caller holds the lock."""
        return self._closed

    def _is_started_here(self, candidate: Answer | Query | None) -> bool:
        """Whether it is a query that counts for this message."""
        return isinstance(candidate, Query) and candidate.starter is self

    def _keep(self, key: CacheKey, candidate: Answer | Query) -> None:
        """Remember an answer or hold a query. The caller holds the lock."""
        if not self._is_started_here(candidate):
            self.cache_hits += 1
        if isinstance(candidate, Query):
            self._held[key] = candidate
        else:
            self._remember(key, candidate)

    def _refusal(self) -> Reason | None:
        """Which part of the budget is spent; None: none."""
        if self.queries >= self._max_queries:
            return Reason.of(Code.DNS_QUERIES_SPENT, number=self._max_queries)
        return self._out_of_time() if self._waited >= self._budget else None

    def _out_of_time(self) -> Reason:
        return Reason.of(Code.DNS_TIME_SPENT, seconds=f"{self._budget:g}")

    def _remember(self, key: CacheKey, answer: Answer) -> Answer:
        """The first answer for the name, which stays the message's answer. The caller holds the lock."""
        held = self._held.get(key)
        if held is not None and held.result is not None:
            del self._held[key]  # it has closed itself
        if key not in self._answers and answer.status is Status.FAILED:
            self.failures += 1
        return self._answers.setdefault(key, answer)


class LimitedLookup:
    """A Lookup through the message's own that waits at most `seconds` for all names together."""

    def __init__(self, lookup: MessageDns, seconds: float) -> None:
        self._lookup = lookup
        self._seconds_left = seconds

    def __call__(self, name: str, rdtype: str) -> Answer:
        before = self._lookup.milliseconds
        answer = self._lookup.within(self._seconds_left, name, rdtype)
        self._seconds_left = max(0.0, self._seconds_left - (self._lookup.milliseconds - before) / 1000)
        return answer


def _failed(reason: Reason) -> Answer:
    return Answer(Status.FAILED, reason=reason)


def _key(name: str, rdtype: str) -> CacheKey | None:
    """None: DNS cannot carry the name."""
    wire = name_to_wire(name)
    return None if wire is None else (wire, wire_format.RDTYPES[rdtype])
