"""One message of a worker works at a time; the others wait instead of fighting for the interpreter.

libmilter has a thread for each connection, which enters Python for each header field and leaves it to read the next.
When several do so at once, each of these steps costs a switch of threads, and a message half as much CPU time again.
A turn is a courtesy, not a lock: nothing relies on it, who keeps it too long loses it, and who has waited too long
goes on without it. It is given away while a message waits for DNS.
"""

import threading
from collections import deque
from typing import Final

PATIENCE: Final = 0.02
"""Seconds after which a turn is taken away: its message waits for the MTA, or is large, or is hard work."""
LONGEST_WAIT: Final = 0.5
"""Seconds after which a message goes on without a turn."""


class _Waiter:
    __slots__ = ("called",)

    def __init__(self) -> None:
        self.called = threading.Lock()
        """Held until its turn has come."""
        self.called.acquire()


class Turns:
    """The turn of one worker, and who waits for it, in the order of their coming."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: deque[_Waiter] = deque()
        self._holder: _Waiter | None = None
        self._passed = 0
        """How often the turn has changed hands."""

    def holds(self, waiter: _Waiter) -> bool:
        return self._holder is waiter

    def take(self) -> _Waiter:
        """Wait for the turn, within limits. The value is for `give` and `holds`."""
        waiter = _Waiter()
        with self._mutex:
            if self._holder is None:
                self._holder = waiter
                return waiter
            self._waiting.append(waiter)
            passed = self._passed
        left = LONGEST_WAIT
        while not waiter.called.acquire(timeout=PATIENCE):
            left -= PATIENCE
            with self._mutex:
                if self._goes_on(waiter, passed, left):
                    break
                passed = self._passed
        return waiter

    def give(self, waiter: _Waiter) -> None:
        """Pass the turn on to who has waited longest."""
        with self._mutex:
            if self._holder is not waiter:
                return
            self._passed += 1
            self._holder = following = self._waiting.popleft() if self._waiting else None
        if following is not None:
            following.called.release()

    def _goes_on(self, waiter: _Waiter, passed: int, left: float) -> bool:
        """After one more spell of waiting; the caller holds the mutex."""
        if self._holder is waiter:
            return True
        if self._passed == passed:  # one message has kept it all the time
            self._passed += 1
            self._holder = waiter
        elif left > 0:
            return False
        # It may have been called a moment ago, and the turn taken by another before it could look.
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        return True


class Turn:
    """One connection's part: taken and given as often as you like."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._waiter: _Waiter | None = None

    def take(self) -> None:
        """Have the turn, or go on without it."""
        if self._waiter is None or not self._turns.holds(self._waiter):
            self._waiter = self._turns.take()

    def give(self) -> None:
        if self._waiter is not None:
            self._turns.give(self._waiter)
            self._waiter = None
