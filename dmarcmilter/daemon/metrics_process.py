"""The process that serves the metrics by HTTP, as its supervisor starts and restarts it. Mail never depends on it."""

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
"""Seconds before the process is started again after it ended by itself: its address may be in use or not permitted."""


EXIT_NO_ADDRESS: Final = 3
"""Exit status of a process that could not open its address."""


class MetricsProcess:
    """Starts the process, replaces it at a reload, and starts it again when it ends."""

    def __init__(self, board: Board, blocked: Collection[int], release: Callable[[], None]) -> None:
        """`release` is called in the new process, to close what workers need. `blocked`: see child_process.fork."""
        self._board = board
        self._blocked = blocked
        self._release = release
        self._pid = 0
        self._config = Config()
        self._replaced = False
        self._failure_logged = False
        """The last start failed, which is in the log. Further failures are not logged, and the next success is."""
        self.due: float | None = None
        """Time of the next start, by time.monotonic(); None: none is due."""

    def use(self, config: Config) -> None:
        """Run with this configuration from now on."""
        self._config = config
        self._failure_logged = False
        if self._pid:
            # Its address is free only after it has ended. It is started again then.
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
            self._pid = child_process.fork(self._run_exporter, self._blocked).pid
        except OSError as error:
            if not self._failure_logged:
                log.error("no exporter of metrics: %s", error.strerror or error)  # noqa: TRY400  a limit of the system
            self._failure_logged = True
            self.due = time.monotonic() + RETRY_SECONDS

    def process_ended(self, pid: int, status: int) -> None:
        """Start the process again if it was this one that ended."""
        if pid != self._pid:
            return
        self._pid = 0
        if not self._replaced:
            # A process that could not open its address has said so itself.
            self._failure_logged = os.WIFEXITED(status) and os.WEXITSTATUS(status) == EXIT_NO_ADDRESS
            if not self._failure_logged:
                log.error("exporter of metrics ended (%s); starting another", child_process.exit_text(status))
        self.due = time.monotonic() + (0.0 if self._replaced else RETRY_SECONDS)
        self._replaced = False

    def stop(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0

    def _run_exporter(self, ready: Callable[[], None]) -> None:
        """Serve metrics in the new process. Imported here, so that supervisor and workers do not load it."""
        from dmarcmilter.metrics import exporter  # noqa: PLC0415

        self._release()
        ready()  # at once: the supervisor has workers to look after while the address is opened
        exporter.run(self._config, self._board, after_failure=self._failure_logged)
        os._exit(EXIT_NO_ADDRESS)
