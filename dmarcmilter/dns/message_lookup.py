"""What one message uses of the resolver: a budget, a memory, and questions asked ahead of need."""

import threading
import time
from collections.abc import Callable

from dmarcmilter.dns import wire_format as dnswire
from dmarcmilter.dns.cache import Key
from dmarcmilter.dns.in_flight import Query
from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.dns.names import name_to_wire
from dmarcmilter.dns.resolver import Resolver
from dmarcmilter.milter.turn_scheduler import Turn

MAX_IN_FLIGHT = 400
"""Queries at once in a process, each with a socket, or with three when servers are silent: LimitNOFILE is for these."""
MAX_AHEAD = 250
"""Beyond so many none is sent ahead of need: slow SMTP clients must not take the places of those who wait."""
MAX_AHEAD_OF_ONE = 24
"""Asked ahead at once by one message: a dozen signatures' keys, the policies; a few messages cannot fill MAX_AHEAD."""

Observer = Callable[[str, str, Answer, float], None]
"""Told of a name, a type, the answer, and the seconds that the message waited for it."""

_UNASKABLE = Answer(Status.NXDOMAIN)


class MessageLookup:
    """All the DNS of one message: a `lookup.Lookup` with a budget and a memory.

    May be used from several threads. What it has answered once it answers again for this message, whatever the TTL.
    """

    def __init__(
        self,
        resolver: Resolver,
        budget: float,
        max_queries: int,
        turn: Turn | None = None,
        observe: Observer | None = None,
    ) -> None:
        """So many seconds of waiting, so many queries. While the message waits it gives its turn away.

        `observe` is told of each answer.
        """
        resolver.drop_outdated()
        self.queries = 0
        """Sent for this message."""
        self.cache_hits = 0
        """Names that the cache, or a query of another message, answered."""
        self.failures = 0
        """Names of which DNS did not say."""
        self.spent = False
        """Something was not asked for want of budget."""
        self._resolver = resolver
        self._budget = budget
        self._max_queries = max_queries
        self._waited = 0.0
        self._turn = turn
        self._observe = observe
        self._closed = False
        self._lock = threading.Lock()
        self._answers: dict[Key, Answer] = {}
        self._held: dict[Key, Query] = {}

    @property
    def milliseconds(self) -> float:
        """Time spent waiting."""
        return self._waited * 1000

    def __call__(self, name: str, rdtype: str) -> Answer:
        return self.within(self._budget, name, rdtype)

    def within(self, seconds: float, name: str, rdtype: str) -> Answer:
        """The answer, waited for so many seconds at most, and no longer than the message may wait."""
        key = _key(name, rdtype)
        if key is None:
            return _UNASKABLE
        answer = self._answers.get(key)
        if answer is not None:
            return answer
        began = time.monotonic()
        answer = self._ask(key, began + max(0.0, min(seconds, self._budget - self._waited)))
        waited = time.monotonic() - began
        with self._lock:
            self._waited += waited
            answer = self._remember(key, answer)
        if self._turn is not None:
            self._turn.take()
        if self._observe is not None:
            self._observe(name, rdtype, answer, waited)
        return answer

    def start(self, name: str, rdtype: str) -> None:
        """Ask ahead of need. Does not wait, and does nothing when there is no room."""
        key = _key(name, rdtype)
        if key is None or key in self._answers or key in self._held:
            return
        found = self._find(key, MAX_AHEAD if self._ahead() < MAX_AHEAD_OF_ONE else 0, 0.0)
        if isinstance(found, Query) and found.starter is self:
            self._resolver.send(found)

    def close(self) -> None:
        """The message ends: nothing of it stays open."""
        with self._lock:
            self._closed = True
            held = list(self._held.values())
            self._held.clear()
        for query in held:
            self._resolver.leave(query, self)

    def _ahead(self) -> int:
        """How many of ours are unanswered, or a little more when those are few anyway."""
        if len(self._held) < MAX_AHEAD_OF_ONE:
            return len(self._held)
        with self._lock:
            return sum(query.starter is self and query.result is None for query in self._held.values())

    def _ask(self, key: Key, until: float) -> Answer:
        while True:
            found = self._find(key, MAX_IN_FLIGHT, until)
            if isinstance(found, Answer):
                return found
            result = self._resolver.wait(found, self, 0.0)
            if result is None:
                self._stand_aside()
                result = self._resolver.wait(found, self, until)
            if result is not None:
                return result.answer
            if not found.dropped:
                return _failed(self._out_of_time())

    def _stand_aside(self) -> None:
        """Others may work while this message waits."""
        if self._turn is not None:
            self._turn.give()

    def _find(self, key: Key, places: int, until: float) -> Answer | Query:
        """What is there already, else a query of our own within the bounds, else the failure to have one."""
        with self._lock:
            held = self._held.get(key)
            if held is not None and not held.dropped:
                return held
            if self._closed:
                return _failed("the message has ended")
            refusal = self._refusal()
            if refusal:
                self.spent = True
                places, until = 0, 0.0
            else:
                self.queries += 1  # now, so that threads cannot exceed the bound together
        found = self._resolver.find(key, self, places=places, until=until)
        with self._lock:
            known = self._held.get(key) is found
            if not refusal and (known or not self._began(found)):
                self.queries -= 1
            if known or found is None:
                return found or _failed(refusal or "too many DNS queries at once")
            self._keep(key, found)
            ended = self._closed
        if ended and isinstance(found, Query):
            self._resolver.leave(found, self)
        return found

    def _began(self, found: Answer | Query | None) -> bool:
        """Whether it is ours to pay for."""
        return isinstance(found, Query) and found.starter is self

    def _keep(self, key: Key, found: Answer | Query) -> None:
        """The caller holds the lock."""
        if not self._began(found):
            self.cache_hits += 1
        if isinstance(found, Query):
            self._held[key] = found
        else:
            self._remember(key, found)

    def _refusal(self) -> str:
        if self.queries >= self._max_queries:
            return f"budget of {self._max_queries} DNS queries spent"
        return self._out_of_time() if self._waited >= self._budget else ""

    def _out_of_time(self) -> str:
        return f"budget of {self._budget:g} s for DNS spent"

    def _remember(self, key: Key, answer: Answer) -> Answer:
        """The first answer stays the message's answer. The caller holds the lock."""
        held = self._held.get(key)
        if held is not None and held.result is not None:
            del self._held[key]  # it has closed itself
        if key not in self._answers and answer.status is Status.FAILED:
            self.failures += 1
        return self._answers.setdefault(key, answer)


class Brief:
    """A Lookup through a message's own that waits so many seconds at most, for all that it is asked together."""

    def __init__(self, lookup: MessageLookup, seconds: float) -> None:
        self._lookup = lookup
        self._left = seconds

    def __call__(self, name: str, rdtype: str) -> Answer:
        before = self._lookup.milliseconds
        answer = self._lookup.within(self._left, name, rdtype)
        self._left = max(0.0, self._left - (self._lookup.milliseconds - before) / 1000)
        return answer


def _failed(reason: str) -> Answer:
    return Answer(Status.FAILED, reason=reason)


def _key(name: str, rdtype: str) -> Key | None:
    wire = name_to_wire(name)
    return None if wire is None else (wire, dnswire.RDTYPES[rdtype])
