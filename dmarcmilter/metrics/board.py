"""The board: counters in memory that supervisor, workers and exporter share, without files.

The supervisor makes the board before it forks. Each worker writes to a row of its own. The next worker that takes the
row goes on counting from its values, so sums never decrease when a worker dies or the conf is reloaded. An aligned
64-bit word is written at once, so a worker may be killed at any instruction.
"""

import mmap
import time
from enum import IntEnum
from typing import Final

from dmarcmilter.metrics.metric_definitions import FAMILIES, WORDS, MetricKind, place
from dmarcmilter.value import Value

ROWS: Final = 1600
"""Rows: one for the supervisor, and for three generations of workers (512 each). Pages not written take no memory.

Further workers share the last row, and counts may be lost."""
SUPERVISOR: Final = 0
HEAD: Final = 3
"""Words at the start of a row for the worker itself: process id, heartbeat, state."""
ROW_WORDS: Final = HEAD + WORDS
WORD_BYTES: Final = 8
MAX_WORD: Final = 2**64 - 1

_PID, _BEAT, _STATE = range(HEAD)
_GAUGES: Final = tuple(place(family) for family in FAMILIES if family.kind is MetricKind.GAUGE)


class State(IntEnum):
    NONE = 0
    SERVING = 1
    LEAVING = 2
    """The worker finishes its messages and accepts no new connection."""


class Heartbeat(Value):
    """The last heartbeat of one worker."""

    pid: int
    state: State
    age: float
    """Seconds since it was written."""


class Row:
    """The counters that one process writes. There is no lock: each word has one writer at a time (worker_metrics)."""

    __slots__ = ("_head", "words")

    def __init__(self, memory: memoryview) -> None:
        self._head = memory[:HEAD]
        self.words = memory[HEAD:]

    def add(self, place: int, amount: int = 1) -> None:
        """Add to a counter. Wraps at 64 bits instead of raising, so that a counter cannot fail a message."""
        self.words[place] = (self.words[place] + amount) & MAX_WORD

    def set(self, place: int, value: int) -> None:
        self.words[place] = min(max(value, 0), MAX_WORD)

    def begin(self, pid: int) -> None:
        self._head[_PID] = pid
        self.beat(State.SERVING)

    def beat(self, state: State) -> None:
        """Write a heartbeat: the monotonic clock, which is the same in all processes, and the state."""
        self._head[_BEAT] = time.monotonic_ns() // 1_000_000
        self._head[_STATE] = state

    def end(self) -> None:
        """Clear the row of a dead worker: gauges become 0, counters stay."""
        for word in range(HEAD):
            self._head[word] = 0
        for gauge in _GAUGES:
            self.words[gauge] = 0

    def heartbeat(self) -> Heartbeat | None:
        """Read the heartbeat; None: no worker has this row."""
        pid, beat, state = self._head[:HEAD]
        if not pid:
            return None
        return Heartbeat(pid, State(state), max(0.0, time.monotonic() - beat / 1000))


def lone_row() -> Row:
    """A row that is not shared, for a process without a board."""
    return Row(memoryview(bytearray(ROW_WORDS * WORD_BYTES)).cast("Q"))


class Board:
    """All rows. Only the supervisor takes and gives back rows."""

    def __init__(self) -> None:
        memory = memoryview(mmap.mmap(-1, (1 + ROWS * ROW_WORDS) * WORD_BYTES)).cast("Q")
        self._highest = memory[:1]
        """The highest row number ever taken; shared, because the exporter needs it."""
        self._words = memory[1:]
        self._free = list(range(ROWS - 1, SUPERVISOR, -1))

    def take(self) -> int:
        """Take a row for a new worker; return its number.

        With more workers than rows several share the last one: counts may be lost then, mail is not.
        """
        number = self._free.pop() if self._free else ROWS - 1
        self._highest[0] = max(self._highest[0], number)
        return number

    def give_back(self, number: int) -> None:
        """Give back the row of a dead worker. It is taken next, so few rows are ever in use."""
        self.row(number).end()
        if number not in self._free:
            self._free.append(number)

    def row(self, number: int) -> Row:
        start = number * ROW_WORDS
        return Row(self._words[start : start + ROW_WORDS])

    def totals(self) -> list[int]:
        """Sum each word over all rows that were ever used."""
        sums = [0] * WORDS
        for number in range(1 + self._highest[0]):
            sums = [mine + theirs for mine, theirs in zip(sums, self.row(number).words, strict=True)]
        return sums

    def heartbeats(self) -> list[Heartbeat]:
        """Last heartbeats of all workers that live, or died a moment ago."""
        heartbeats = (self.row(number).heartbeat() for number in range(1, 1 + self._highest[0]))
        return [heartbeat for heartbeat in heartbeats if heartbeat is not None]
