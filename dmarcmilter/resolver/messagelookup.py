"""What one message uses of the resolver: a budget, a memory, and questions asked ahead of need."""

import threading
import time
from typing import TYPE_CHECKING

from dmarcmilter.lookup import Answer, Status
from dmarcmilter.resolver import wire as dnswire
from dmarcmilter.resolver.cache import Key
from dmarcmilter.resolver.names import name_to_wire
from dmarcmilter.resolver.query import Query

if TYPE_CHECKING:
    from dmarcmilter.resolver.resolver import Resolver

MAX_IN_FLIGHT = 400
"""Queries at once in a process, each with a socket or a few: the usual limit is 1,024 descriptors."""
MAX_AHEAD = 250
"""Beyond so many none is sent ahead of need: slow SMTP clients must not take the places of those who wait."""

_UNASKABLE = Answer(Status.NXDOMAIN)


class MessageLookup:
    """All the DNS of one message: a `lookup.Lookup` with a budget and a memory.

    May be used from several threads. What it has answered once it answers again for this message, whatever the TTL.
    """

    def __init__(self, resolver: "Resolver", budget: float, max_queries: int) -> None:
        self.queries = 0
        """Sent for this message."""
        self.cache_hits = 0
        """Names that the cache, or a query of another message, answered."""
        self.failures = 0
        """Names of which DNS did not say."""
        self._resolver = resolver
        self._budget = budget
        self._max_queries = max_queries
        self._waited = 0.0
        self._closed = False
        self._lock = threading.Lock()
        self._answers: dict[Key, Answer] = {}
        self._held: dict[Key, Query] = {}

    @property
    def milliseconds(self) -> float:
        """Time spent waiting."""
        return self._waited * 1000

    def __call__(self, name: str, rdtype: str) -> Answer:
        key = _key(name, rdtype)
        if key is None:
            return _UNASKABLE
        found = self._find(key)
        if isinstance(found, Answer):
            return found
        began = time.monotonic()
        until = began + max(0.0, self._budget - self._waited)
        found = found or self._begin(key, MAX_IN_FLIGHT, until)
        answer = self._wait(found, until) if isinstance(found, Query) else found
        with self._lock:
            self._waited += time.monotonic() - began
            return self._remember(key, answer)

    def start(self, name: str, rdtype: str) -> None:
        """Ask ahead of need. Does not wait, and does nothing when there is no room."""
        key = _key(name, rdtype)
        if key is not None and self._find(key) is None:
            self._begin(key, MAX_AHEAD, 0.0)

    def close(self) -> None:
        """The message ends: nothing of it stays open."""
        with self._lock:
            self._closed = True
            held = list(self._held.values())
            self._held.clear()
        for query in held:
            self._resolver.leave(query, self)

    def _find(self, key: Key) -> Answer | Query | None:
        """What needs no query of ours."""
        with self._lock:
            found = self._answers.get(key) or self._held.get(key)
            if found is not None or self._closed:
                return found
            found = self._resolver.find(key, self)
            return None if found is None else self._borrow(key, found)

    def _borrow(self, key: Key, found: Answer | Query) -> Answer | Query:
        """What others paid for. The caller holds the lock."""
        self.cache_hits += 1
        if isinstance(found, Answer):
            return self._remember(key, found)
        self._held[key] = found
        return found

    def _begin(self, key: Key, places: int, until: float) -> Answer | Query:
        """A query of our own, within the bounds; the failure if there cannot be one."""
        with self._lock:
            refusal = self._refusal()
            if refusal:
                return Answer(Status.FAILED, reason=refusal)
            self.queries += 1  # now, so that threads cannot exceed the bound together
        found = self._resolver.begin(key, self, places=places, until=until)
        with self._lock:
            held = self._held.get(key)
            if isinstance(found, Query) and found.starter is self and held is not found:
                self._held[key] = found
            else:
                self.queries -= 1
                if found is not None and held is not found:
                    found = self._borrow(key, found)
            ended = self._closed
        if ended and isinstance(found, Query):
            self._resolver.leave(found, self)
        return found or Answer(Status.FAILED, reason="too many DNS queries at once")

    def _refusal(self) -> str:
        if self._closed:
            return "the message has ended"
        if self.queries >= self._max_queries:
            return f"budget of {self._max_queries} DNS queries spent"
        return self._out_of_time() if self._waited >= self._budget else ""

    def _wait(self, query: Query, until: float) -> Answer:
        result = self._resolver.wait(query, self, until)
        return result.answer if result is not None else Answer(Status.FAILED, reason=self._out_of_time())

    def _out_of_time(self) -> str:
        return f"budget of {self._budget:g} s for DNS spent"

    def _remember(self, key: Key, answer: Answer) -> Answer:
        """The first answer stays the message's answer. The caller holds the lock."""
        if key not in self._answers and answer.status is Status.FAILED:
            self.failures += 1
        return self._answers.setdefault(key, answer)


def _key(name: str, rdtype: str) -> Key | None:
    wire = name_to_wire(name)
    return None if wire is None else (wire, dnswire.RDTYPES[rdtype])
