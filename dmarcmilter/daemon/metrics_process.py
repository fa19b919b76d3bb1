"""The supervisor's hold on the exporter: the process that serves the metrics. Mail never depends on it."""

import logging
import os
import signal
import time
from collections.abc import Callable, Collection
from typing import Final

from dmarcmilter.config.schema import Config
from dmarcmilter.daemon import child_process
from dmarcmilter.metrics.board import Board

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 3.0
"""After an exporter that ended by itself: its address may be in use, or its port not ours to take."""


class Exporting:
    """Starts it, replaces it at a reload, and starts it again when it ends."""

    def __init__(self, board: Board, blocked: Collection[int], release: Callable[[], None]) -> None:
        self._board = board
        self._blocked = blocked
        self._release = release
        self._pid = 0
        self._config = Config()
        self._replaced = False
        self.due: float | None = None
        """When it is to be started (monotonic)."""

    def use(self, config: Config) -> None:
        """From now on with this configuration."""
        self._config = config
        if self._pid:
            # Its address is free when it has ended; then it is started again.
            self._replaced = True
            os.kill(self._pid, signal.SIGTERM)
        else:
            self.due = time.monotonic()

    def start_if_due(self) -> None:
        if self.due is None or time.monotonic() < self.due:
            return
        self.due = None
        if not self._config.metrics.listen:
            return
        try:
            self._pid = child_process.fork(self._be_exporter, self._blocked).pid
        except OSError as error:
            log.error("no exporter of metrics: %s", error.strerror or error)  # noqa: TRY400  a limit of the system
            self.due = time.monotonic() + RETRY_SECONDS

    def reaped(self, pid: int, status: int) -> bool:
        """Whether it was the exporter that ended."""
        if pid != self._pid:
            return False
        self._pid = 0
        if not self._replaced:
            log.error("exporter of metrics ended (%s); starting another", child_process.how(status))
        self.due = time.monotonic() + (0.0 if self._replaced else RETRY_SECONDS)
        self._replaced = False
        return True

    def stop(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0

    def _be_exporter(self, ready: Callable[[], None]) -> None:
        """In the new process. What it needs is loaded here: supervisor and workers are spared it."""
        from dmarcmilter.metrics import exporter  # noqa: PLC0415

        self._release()
        ready()
        exporter.run(self._config, self._board)
