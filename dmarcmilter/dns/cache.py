"""The cache of answers, bounded by entries and by bytes; the least recently used answer is removed first."""

from collections import OrderedDict
from collections.abc import Callable

from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.value import Value

CacheKey = tuple[bytes, int]
"""A name in wire form and lower case, and the number of the type."""

MAX_TTL = 3600
"""Longest time to keep an answer, in seconds; a longer TTL is cut to it, so a changed policy is seen within an hour."""
MAX_NEGATIVE_TTL = 300
"""The same for NODATA and NXDOMAIN."""
FAILURE_HOLD = 5.0
"""Seconds for which a failure is kept (RFC 2308 7 allows 300), to spare a failing server and waiting messages."""
_ENTRY_COST = 600
"""Bytes of memory for an entry besides its data: objects, key, place in the table."""
_RECORD_COST = 80
"""Bytes of memory for a record besides its data."""
_REASON_COST = 300
"""Bytes of memory for the reason of a failure."""


class _Entry(Value):
    answer: Answer
    expires: float
    size: int


class AnswerCache:
    """The cache. It has no lock of its own: the resolver's lock guards it with the table of queries in flight."""

    def __init__(self, entries: int, size: int, clock: Callable[[], float]) -> None:
        self._max_entries = entries
        self._max_size = size
        self._clock = clock
        self._entries: OrderedDict[CacheKey, _Entry] = OrderedDict()
        self.size = 0
        """Estimated memory, in bytes."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: CacheKey) -> Answer | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.answer

    def put(self, key: CacheKey, answer: Answer, seconds: float) -> None:
        """Keep an answer for that time; 0: not at all (RFC 1035 3.2.1). One larger than the cache is not kept."""
        if seconds <= 0:
            return
        if key in self._entries:
            self._drop(key)
        entry = _Entry(answer, self._clock() + seconds, _size(key, answer))
        if entry.size > self._max_size:
            return
        self._entries[key] = entry
        self.size += entry.size
        while len(self._entries) > self._max_entries or self.size > self._max_size:
            self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        self._entries.clear()
        self.size = 0

    def _drop(self, key: CacheKey) -> None:
        self.size -= self._entries.pop(key).size


def seconds_to_keep(answer: Answer, ttl: int, *, failure_hold: float) -> float:
    """Seconds for which an answer may be reused."""
    if answer.status is Status.FAILED:
        return failure_hold
    return min(ttl, MAX_TTL if answer.status is Status.FOUND else MAX_NEGATIVE_TTL)


def _size(key: CacheKey, answer: Answer) -> int:
    data = sum(
        _RECORD_COST + len(record if isinstance(record, (bytes, str)) else record[1]) for record in answer.records
    )
    return _ENTRY_COST + len(key[0]) + (_REASON_COST if answer.reason else 0) + data
