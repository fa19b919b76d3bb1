"""Turns: one message of a worker runs at a time, and the others wait instead of competing for the interpreter.

libmilter has a thread for each connection, which enters Python for each header field and leaves it to read the next.
When several do so at once, each step costs a switch of threads, and a message costs half as much CPU time again.
A turn is not a lock, and nothing relies on it: a message that keeps it too long loses it, and one that has waited too
long runs without it. A message gives it away while it waits for DNS, and then comes before those that have not begun:
so fewer messages are half done at a time, and none waits in line again for each of its answers. Senders whose messages
need many answers cannot keep the others waiting by that: every MAX_RETURNS turns one of the others has its turn.
"""

import threading
from collections import deque
from typing import Final

PATIENCE: Final = 0.02
"""Seconds after which a waiting message takes the turn away: its holder waits for the MTA, or has a large message."""
LONGEST_WAIT: Final = 0.5
"""Seconds after which a waiting message runs without a turn."""
MAX_RETURNS: Final = 8
"""Turns in a row of messages that return from DNS while others wait; then one of the others comes. An ordinary message
waits for DNS less often."""


class _Waiter:
    __slots__ = ("called",)

    def __init__(self) -> None:
        self.called = threading.Lock()
        """Locked until the turn is passed to this waiter."""
        self.called.acquire()


class Turns:
    """The turn of one worker, and the queue of those that wait for it."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: deque[_Waiter] = deque()
        self._returning: deque[_Waiter] = deque()
        """Messages that gave the turn away while they waited for DNS. They come first."""
        self._returns = 0
        """Turns in a row that messages of `_returning` had while others waited."""
        self._holder: _Waiter | None = None
        self._passed = 0
        """Number of times that the turn has changed hands."""

    def holds(self, waiter: _Waiter) -> bool:
        return self._holder is waiter

    def take(self, *, returning: bool = False) -> _Waiter:
        """Wait for the turn, at most LONGEST_WAIT. The returned value is for `give` and `holds`.

        `returning`: the message gave it away while it waited for DNS.
        """
        waiter = _Waiter()
        with self._mutex:
            if self._holder is None:
                self._holder = waiter
                return waiter
            (self._returning if returning else self._waiting).append(waiter)
            passed = self._passed
        seconds_left = LONGEST_WAIT
        while not waiter.called.acquire(timeout=PATIENCE):
            seconds_left -= PATIENCE
            with self._mutex:
                if self._stops_waiting(waiter, passed, seconds_left):
                    break
                passed = self._passed
        return waiter

    def give(self, waiter: _Waiter) -> None:
        """Pass the turn to the next waiter."""
        with self._mutex:
            if self._holder is not waiter:
                return
            self._passed += 1
            self._holder = following = self._next_waiter()
        if following is not None:
            following.called.release()

    def _next_waiter(self) -> _Waiter | None:
        """Take the next out of its queue: the one that has waited longest, after at most MAX_RETURNS from DNS.

        The caller holds the mutex.
        """
        if self._returning and (self._returns < MAX_RETURNS or not self._waiting):
            self._returns = self._returns + 1 if self._waiting else 0
            return self._returning.popleft()
        self._returns = 0
        return self._waiting.popleft() if self._waiting else None

    def _stops_waiting(self, waiter: _Waiter, passed: int, seconds_left: float) -> bool:
        """Whether the waiter runs now, after waiting PATIENCE once more. The caller holds the mutex."""
        if self._holder is waiter:
            return True
        if self._passed == passed:  # the same message has held it all the time
            self._passed += 1
            self._holder = waiter
        elif seconds_left > 0:
            return False
        # The turn may have been passed to it a moment ago, and taken away before it could look.
        for queue in (self._returning, self._waiting):
            if waiter in queue:
                queue.remove(waiter)
        return True


class Turn:
    """The use that one connection makes of Turns. Its methods may be called at any time, and again."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._waiter: _Waiter | None = None
        self._lent = False
        """The turn was passed on by `lend`."""

    def take(self) -> None:
        """Wait for the turn, unless this connection has it. Returns without it after LONGEST_WAIT."""
        if self._waiter is None or not self._turns.holds(self._waiter):
            returning, self._lent = self._lent, False
            self._waiter = self._turns.take(returning=returning)

    def lend(self) -> None:
        """Pass the turn on while the message waits for DNS. A message that had lost the turn does not come first."""
        self._lent = self._waiter is not None and self._turns.holds(self._waiter)
        self._pass_on()

    def give(self) -> None:
        """Pass the turn on at the end of the message."""
        self._lent = False
        self._pass_on()

    def _pass_on(self) -> None:
        if self._waiter is not None:
            self._turns.give(self._waiter)
            self._waiter = None
