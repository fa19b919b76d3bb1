"""Numbers in memory that supervisor, workers and exporter share: no files, and nothing is lost with a worker.

The supervisor makes the board before it forks. Each worker writes to a row of its own; who takes the row over after it
goes on where it stopped, so sums never go backwards: not by a death, not by a reload. An aligned word of 64 bits is
written at once, so a worker may be killed at any instruction.
"""

import mmap
import time
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from dmarcmilter.metrics.families import FAMILIES, WORDS, Kind, place

ROWS: Final = 1600
"""The supervisor's and the workers' of three generations at most (512 each). Pages nobody writes to take no memory."""
SUPERVISOR: Final = 0
HEAD: Final = 3
"""Words at the start of a row that tell of the worker itself."""
ROW_WORDS: Final = HEAD + WORDS
WORD_BYTES: Final = 8
MAX_WORD: Final = 2**64 - 1

_PID, _BEAT, _STATE = range(HEAD)
_GAUGES: Final = tuple(place(family) for family in FAMILIES if family.kind is Kind.GAUGE)


class State(IntEnum):
    NONE = 0
    SERVING = 1
    LEAVING = 2
    """It finishes what it has, and takes no new connection."""


@dataclass(frozen=True, slots=True)
class Sign:
    """Of one worker's life."""

    pid: int
    state: State
    age: float
    """Seconds since it gave it."""


class Row:
    """What one process writes. Not locked: each word has one writer at a time, see tally.py."""

    __slots__ = ("_head", "words")

    def __init__(self, memory: memoryview) -> None:
        self._head = memory[:HEAD]
        self.words = memory[HEAD:]

    def add(self, place: int, amount: int = 1) -> None:
        """Never raises: a sum that no longer fits would be a metric's end, not a message's."""
        self.words[place] = (self.words[place] + amount) & MAX_WORD

    def set(self, place: int, value: int) -> None:
        self.words[place] = min(max(value, 0), MAX_WORD)

    def begin(self, pid: int) -> None:
        self._head[_PID] = pid
        self.beat(State.SERVING)

    def beat(self, state: State) -> None:
        """A sign of life. The clock counts from the start of the machine, the same in all processes."""
        self._head[_BEAT] = time.monotonic_ns() // 1_000_000
        self._head[_STATE] = state

    def end(self) -> None:
        """Its worker is dead. Counters stay, gauges do not."""
        for word in range(HEAD):
            self._head[word] = 0
        for gauge in _GAUGES:
            self.words[gauge] = 0

    def sign(self) -> Sign | None:
        """None: no worker has this row."""
        pid, beat, state = self._head[:HEAD]
        if not pid:
            return None
        return Sign(pid, State(state), max(0.0, time.monotonic() - beat / 1000))


def lone_row() -> Row:
    """For one process that shares it with nobody."""
    return Row(memoryview(bytearray(ROW_WORDS * WORD_BYTES)).cast("Q"))


class Board:
    """All rows. The supervisor gives them out; only it may."""

    def __init__(self) -> None:
        memory = memoryview(mmap.mmap(-1, (1 + ROWS * ROW_WORDS) * WORD_BYTES)).cast("Q")
        self._highest = memory[:1]
        """The highest row that was ever taken: shared too, for the exporter."""
        self._words = memory[1:]
        self._free = list(range(ROWS - 1, SUPERVISOR, -1))

    def take(self) -> int:
        """The number of a row for a new worker.

        With more workers than rows, some of them share the last one: counts may then be lost, mail is not.
        """
        number = self._free.pop() if self._free else ROWS - 1
        self._highest[0] = max(self._highest[0], number)
        return number

    def give_back(self, number: int) -> None:
        """After the death of its worker. It is the next to be taken, so few rows are ever in use."""
        self.row(number).end()
        if number not in self._free:
            self._free.append(number)

    def row(self, number: int) -> Row:
        start = number * ROW_WORDS
        return Row(self._words[start : start + ROW_WORDS])

    def totals(self) -> list[int]:
        """Each word, summed over all rows that were ever used."""
        sums = [0] * WORDS
        for number in range(1 + self._highest[0]):
            sums = [mine + theirs for mine, theirs in zip(sums, self.row(number).words, strict=True)]
        return sums

    def signs(self) -> list[Sign]:
        """Of all workers that live, or did so until a moment ago."""
        found = (self.row(number).sign() for number in range(1, 1 + self._highest[0]))
        return [sign for sign in found if sign is not None]
