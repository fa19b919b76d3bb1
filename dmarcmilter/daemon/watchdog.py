"""The watchdog of the supervisor: it ends workers without heartbeats, and reports to the service manager's watchdog."""

import logging
import os
import signal
import time
from collections.abc import Mapping
from typing import Final

from dmarcmilter.daemon import sd_notify
from dmarcmilter.daemon.child_process import Child
from dmarcmilter.metrics.board import Board, Heartbeat, State

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 5.0
"""Seconds between two checks; a worker sends a heartbeat every 2 s."""
SILENCE_SECONDS: Final = 60.0
"""Seconds without a heartbeat after which a worker is ended, and replaced like one that died."""


class Watchdog:
    """Checks the heartbeats of all workers every few seconds."""

    def __init__(self, board: Board) -> None:
        self._board = board
        seconds = sd_notify.watchdog_seconds()
        self._reports_to_manager = seconds is not None
        # Twice within the time that the service manager allows, as sd_watchdog_enabled(3) recommends.
        self._tick = TICK_SECONDS if seconds is None else min(TICK_SECONDS, seconds / 2)
        self.due = time.monotonic() + self._tick
        """Time of the next check, by time.monotonic()."""

    def check_if_due(self, children: Mapping[int, Child]) -> None:
        now = time.monotonic()
        if now < self.due:
            return
        # After a suspend of the machine, or a long reload, workers get time to send a heartbeat first.
        is_late = now - self.due > self._tick
        self.due = now + self._tick
        heartbeats = [heartbeat for heartbeat in self._board.heartbeats() if heartbeat.pid in children]
        if not is_late:
            for heartbeat in heartbeats:
                _end_if_silent(heartbeat, children[heartbeat.pid])
        if self._reports_to_manager and (is_late or any(_is_serving(heartbeat) for heartbeat in heartbeats)):
            sd_notify.send("WATCHDOG=1")


def _is_serving(heartbeat: Heartbeat) -> bool:
    return heartbeat.state is State.SERVING and heartbeat.age <= SILENCE_SECONDS


def _end_if_silent(heartbeat: Heartbeat, child: Child) -> None:
    if heartbeat.age <= SILENCE_SECONDS:
        return
    # SIGABRT makes it write where its threads are. If it does not end by that, it is killed at the next check.
    number = signal.SIGKILL if child.silent else signal.SIGABRT
    log.error("worker %d has sent no heartbeat for %.0f s; ending it (%s)", heartbeat.pid, heartbeat.age, number.name)
    child.silent = True
    os.kill(heartbeat.pid, number)
