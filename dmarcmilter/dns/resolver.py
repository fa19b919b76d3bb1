"""The resolver of a worker process; all its messages share the cache and the queries in flight.

There is no thread behind it. `send` sends a query and returns; the first caller that needs the answer waits for the
reply, and others that want the same name wait with it. Make a Resolver after the fork: one made before would share
locks and sockets with the other workers.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import dns.exception
import dns.resolver

from dmarcmilter.dns.cache import FAILURE_HOLD, AnswerCache, CacheKey, seconds_to_keep
from dmarcmilter.dns.lookup import Answer
from dmarcmilter.dns.name_servers import Servers
from dmarcmilter.dns.observer import NoObserver, Origin, ResolverObserver
from dmarcmilter.dns.query_attempts import Query, QueryResult
from dmarcmilter.dns.shared_answers import SharedAnswers

CACHE_ENTRIES = 20_000
"""Answers in the cache; with more the least recently used is removed."""
CACHE_BYTES = 32 * 1024 * 1024
"""Bytes of the cache; the same."""


def system_nameservers() -> list[tuple[str, int]]:
    """The name servers of /etc/resolv.conf; 127.0.0.1 when there are none."""
    try:
        system = dns.resolver.Resolver()
    except (dns.exception.DNSException, OSError):
        return [("127.0.0.1", 53)]
    return [(str(server), system.port) for server in system.nameservers] or [("127.0.0.1", 53)]


class Resolver:
    """The cache and the queries in flight; used through MessageLookup."""

    def __init__(
        self,
        nameservers: Sequence[tuple[str, int]],
        *,
        timeout: float = 5.0,
        cache_entries: int = CACHE_ENTRIES,
        cache_bytes: int = CACHE_BYTES,
        failure_hold: float = FAILURE_HOLD,
        clock: Callable[[], float] = time.monotonic,
        observer: ResolverObserver | None = None,
        shared: SharedAnswers | None = None,
    ) -> None:
        """`shared`: answers of other workers; None: only those of this process."""
        self.ignored = 0
        """Datagrams that were no reply to any query: late or spoofed ones."""
        self._servers = Servers(nameservers)
        self._timeout = timeout
        self._failure_hold = failure_hold
        self._observer = observer or NoObserver()
        self._cache = AnswerCache(cache_entries, cache_bytes, clock)
        self._shared = shared
        self._clock = clock
        self._in_flight: dict[CacheKey, Query] = {}
        self._lock = threading.Lock()
        """Guards the cache and the table of queries; taken after the lock of a query, never before it."""
        self._room = threading.Condition(self._lock)
        """Notified when a query leaves the table."""

    def clear(self) -> None:
        """Empty the cache."""
        with self._lock:
            self._cache.clear()

    def cached(self) -> tuple[int, int]:
        """Number of answers in the cache, and their bytes."""
        with self._lock:
            return len(self._cache), self._cache.size

    def known(self, key: CacheKey) -> Answer | None:
        """Get an answer from the cache; None: it is not there, or a query for it is in flight."""
        with self._lock:
            answer = None if key in self._in_flight else self._cache.get(key)
            if answer is not None:
                self._observer.asked(Origin.CACHE)
            return answer

    def find(self, key: CacheKey, user: object, *, places: int, until: float) -> Answer | Query | None:
        """Get an answer from the cache, the query of another message, or a new query that is not sent yet.

        None: all `places` for queries were taken until then; with 0 places no new query is made.
        """
        if self._in_flight:
            self.drop_outdated()
        with self._lock:
            while (known := self._find(key, user)) is None and len(self._in_flight) >= places:
                left = until - time.monotonic()
                if left <= 0 or not self._room.wait(left):
                    return None
            if known is not None:
                self._observer.asked(Origin.CACHE if isinstance(known, Answer) else Origin.OTHER_MESSAGE)
                return known
            self._observer.asked(Origin.QUERY)
            query = self._in_flight[key] = Query(key, user, self._servers, self._timeout)
            return query

    def send(self, query: Query) -> None:
        """Send a query without waiting; a message that already collects it sends it itself."""
        if not query.lock.acquire(blocking=False):
            return
        try:
            query.send()
            self._settle(query)
        finally:
            query.lock.release()

    def wait(self, query: Query, user: object, until: float) -> QueryResult | None:
        """Wait for the result until a time at most; the first caller does the waiting for all. None: there is none yet.

        A query that was dropped has none.
        """
        if not query.lock.acquire(timeout=max(0.0, until - time.monotonic())):
            return None
        try:
            if query.result is None and not query.dropped:
                query.collect(until)
                self._settle(query)
            result = query.result
        finally:
            query.lock.release()
        if not query.users:  # all its messages ended meanwhile
            self.leave(query, user)
        return result

    def leave(self, query: Query, user: object) -> None:
        """A message no longer needs a query. One without users is dropped, after reading what has arrived."""
        with self._lock:
            query.users.discard(user)
            if query.users:
                return
            self._forget(query)
        if not query.lock.acquire(blocking=False):
            return  # a caller of wait() holds it, and calls leave() afterwards
        try:
            if query.result is None:
                query.drain()
                self._settle(query)
            query.drop()
        finally:
            query.lock.release()

    def drop_outdated(self) -> None:
        """Drop queries older than the timeout, so that idle SMTP clients do not hold places and sockets.

        Each new lookup does this; there is no thread for it. Results that have arrived are kept. A query that is being
        collected is locked and has a deadline of its own.
        """
        with self._lock:
            began = time.monotonic() - self._timeout
            old = [query for query in self._in_flight_since(began) if query.lock.acquire(blocking=False)]
            for query in old:
                self._forget(query)
        for query in old:
            try:
                query.drain()
                self._settle(query)
                query.drop()
            finally:
                query.lock.release()

    def _in_flight_since(self, began: float) -> Iterator[Query]:
        """Queries that began before a time; the oldest come first in the table."""
        return itertools.takewhile(lambda query: query.begun <= began, self._in_flight.values())

    def _find(self, key: CacheKey, user: object) -> Answer | Query | None:
        query = self._in_flight.get(key)
        if query is not None:
            query.users.add(user)
            return query
        answer = self._cache.get(key)
        return answer if answer is not None or self._shared is None else self._find_shared(key, self._shared)

    def _find_shared(self, key: CacheKey, shared: SharedAnswers) -> Answer | None:
        """The answer that another worker got."""
        known = shared.get(key, self._clock())
        if known is None:
            return None
        answer, seconds = known
        self._cache.put(key, answer, seconds)
        return answer

    def _settle(self, query: Query) -> None:
        """Move a result from the table of queries to the cache."""
        result = query.result
        if result is None or query.settled:
            return
        query.settled = True
        with self._lock:
            self.ignored += query.ignored
            self._observer.strays(query.ignored)
            self._observer.ended(result.word, query.waited)
            seconds = seconds_to_keep(result.answer, result.ttl, failure_hold=self._failure_hold)
            self._cache.put(query.key, result.answer, seconds)
            if self._shared is not None and seconds > 0:
                self._shared.put(query.key, result.answer, self._clock() + seconds)
            self._forget(query)

    def _forget(self, query: Query) -> None:
        if self._in_flight.get(query.key) is query:
            del self._in_flight[query.key]
            self._room.notify_all()
