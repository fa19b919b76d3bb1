"""The supervisor's look at its workers: who is silent is ended; the service manager hears that some still serve."""

import logging
import os
import signal
import time
from collections.abc import Mapping
from typing import Final

from dmarcmilter.daemon import sd_notify
from dmarcmilter.daemon.child_process import Child
from dmarcmilter.metrics.board import Board, Sign, State

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 5.0
"""Between two looks; a worker gives a sign every 2 s."""
SILENCE_SECONDS: Final = 60.0
"""A worker that gave none for so long does not work any more: it is ended, and replaced like any other."""


class LifeSigns:
    def __init__(self, board: Board) -> None:
        self._board = board
        wanted = sd_notify.watchdog_seconds()
        self._watched = wanted is not None
        # Twice within the time that the manager allows, as sd_watchdog_enabled(3) asks.
        self._tick = TICK_SECONDS if wanted is None else min(TICK_SECONDS, wanted / 2)
        self.due = time.monotonic() + self._tick

    def look_if_due(self, children: Mapping[int, Child]) -> None:
        now = time.monotonic()
        if now < self.due:
            return
        # After a standstill of the whole machine, or a long reload of ours, the workers have their turn first.
        late = now - self.due > self._tick
        self.due = now + self._tick
        signs = [sign for sign in self._board.signs() if sign.pid in children]
        if not late:
            for sign in signs:
                _end_if_silent(sign, children[sign.pid])
        if self._watched and (late or any(_serves(sign) for sign in signs)):
            sd_notify.send("WATCHDOG=1")


def _serves(sign: Sign) -> bool:
    return sign.state is State.SERVING and sign.age <= SILENCE_SECONDS


def _end_if_silent(sign: Sign, child: Child) -> None:
    if sign.age <= SILENCE_SECONDS:
        return
    # The first signal makes it write where its threads are; who does not even take that is killed at the next look.
    number = signal.SIGKILL if child.silent else signal.SIGABRT
    log.error("worker %d has given no sign of life for %.0f s; ending it (%s)", sign.pid, sign.age, number.name)
    child.silent = True
    os.kill(sign.pid, number)
