"""The only resolver: one for each worker process, its cache shared by all messages there.

There is no thread behind it. `start` sends a question and returns; the first caller that needs the answer waits
for the reply itself; whoever wants the same name meanwhile waits with it. Make a Resolver after the fork: one that
was made before would share locks and sockets with its siblings.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import dns.exception
import dns.resolver

from dmarcmilter.dns.cache import AnswerCache, Key
from dmarcmilter.dns.in_flight import Query, Result
from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.dns.name_servers import Servers
from dmarcmilter.dns.observer import Origin, Unwatched, Watch

MAX_TTL = 3600
"""Seconds for which an answer is kept at most: a changed policy is seen within the hour."""
MAX_NEGATIVE_TTL = 300
CACHE_ENTRIES = 20_000
CACHE_BYTES = 32 * 1024 * 1024
FAILURE_HOLD = 5.0
"""Seconds for which a failure is believed (RFC 2308 7 allows 300): spares a server in trouble and those who wait."""


def system_nameservers() -> list[tuple[str, int]]:
    """The name servers of /etc/resolv.conf; without any, the one of this host."""
    try:
        system = dns.resolver.Resolver()
    except (dns.exception.DNSException, OSError):
        return [("127.0.0.1", 53)]
    return [(str(server), system.port) for server in system.nameservers] or [("127.0.0.1", 53)]


class Resolver:
    """Cache and queries in flight. Its methods but `clear` are for MessageLookup."""

    def __init__(
        self,
        nameservers: Sequence[tuple[str, int]],
        *,
        timeout: float = 5.0,
        cache_entries: int = CACHE_ENTRIES,
        cache_bytes: int = CACHE_BYTES,
        failure_hold: float = FAILURE_HOLD,
        clock: Callable[[], float] = time.monotonic,
        watch: Watch | None = None,
    ) -> None:
        self.ignored = 0
        """Datagrams that were no reply to a question of ours: strays, or somebody who spoofs."""
        self._servers = Servers(nameservers)
        self._timeout = timeout
        self._failure_hold = failure_hold
        self._watch = watch or Unwatched()
        self._cache = AnswerCache(cache_entries, cache_bytes, clock)
        self._in_flight: dict[Key, Query] = {}
        self._room = threading.Condition(threading.Lock())
        """Guards the two above; taken after a query's own lock, never before it."""

    def clear(self) -> None:
        """Forget all answers."""
        with self._room:
            self._cache.clear()

    def cached(self) -> tuple[int, int]:
        """Answers in the cache, and their octets."""
        with self._room:
            return len(self._cache), self._cache.size

    def in_flight(self) -> int:
        with self._room:
            return len(self._in_flight)

    def find(self, key: Key, user: object, *, places: int, until: float) -> Answer | Query | None:
        """An answer, or a query that another message began, or a new one, not sent yet.

        None: no place for one until then; with no places, what is there already is all.
        """
        self.drop_outdated()
        with self._room:
            while (found := self._find(key, user)) is None and len(self._in_flight) >= places:
                left = until - time.monotonic()
                if left <= 0 or not self._room.wait(left):
                    return None
            if found is None:
                self._watch.asked(Origin.QUERY)
                found = self._in_flight[key] = Query(key, user, self._servers, self._timeout)
            else:
                self._watch.asked(Origin.CACHE if isinstance(found, Answer) else Origin.OTHER_MESSAGE)
            return found

    def send(self, query: Query) -> None:
        """Ask ahead of need, without waiting: who collects the query meanwhile sends it, too."""
        if not query.lock.acquire(blocking=False):
            return
        try:
            query.send()
            self._settle(query)
        finally:
            query.lock.release()

    def wait(self, query: Query, user: object, until: float) -> Result | None:
        """The result, waited for until then at most. The first to come does the waiting for all.

        There is none from a query that was dropped.
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
        if not query.users:  # the message ended meanwhile
            self.leave(query, user)
        return result

    def leave(self, query: Query, user: object) -> None:
        """The message ends. A query that nobody waits for is dropped, but what has arrived for it was paid for."""
        with self._room:
            query.users.discard(user)
            if query.users:
                return
            self._forget(query)
        if not query.lock.acquire(blocking=False):
            return  # somebody is collecting, and comes here afterwards
        try:
            if query.result is None:
                query.drain()
                self._settle(query)
            query.drop()
        finally:
            query.lock.release()

    def drop_outdated(self) -> None:
        """An SMTP client that idles must not hold places and sockets: whoever comes next clears up, no thread does.

        What has arrived is kept. Who collects holds the query's lock, and has a deadline.
        """
        with self._room:
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
        """Those begun before; the oldest come first in the table."""
        return itertools.takewhile(lambda query: query.begun <= began, self._in_flight.values())

    def _find(self, key: Key, user: object) -> Answer | Query | None:
        query = self._in_flight.get(key)
        if query is not None:
            query.users.add(user)
            return query
        return self._cache.get(key)

    def _settle(self, query: Query) -> None:
        """Make a result known: into the cache, out of the table."""
        result = query.result
        if result is None or query.settled:
            return
        query.settled = True
        with self._room:
            self.ignored += query.ignored
            self._watch.strays(query.ignored)
            self._watch.ended(result.word, query.waited)
            self._cache.put(query.key, result.answer, self._hold(result))
            self._forget(query)

    def _hold(self, result: Result) -> float:
        if result.answer.status is Status.FAILED:
            return self._failure_hold
        return min(result.ttl, MAX_TTL if result.answer.status is Status.FOUND else MAX_NEGATIVE_TTL)

    def _forget(self, query: Query) -> None:
        if self._in_flight.get(query.key) is query:
            del self._in_flight[query.key]
            self._room.notify_all()
