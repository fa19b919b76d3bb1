"""The journal: one JSON line for each outcome, appended after the MTA took the changes and before the reply.

Each worker has its own file, so processes need no lock. A line is given to the kernel in one write(), and survives a
killed worker from then on. It is not forced to disk: a power failure may lose the last seconds. The ingest reads the
files in another process.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from dmarcmilter.outcome_record import OutcomeRecord, encoded

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""Seconds after a failed write until the next one, so that messages neither wait for a broken disk nor each create an
empty file on a full one.
"""
DAY_SECONDS = 86_400
"""Seconds of a day of UTC; each has a file of its own."""
FILE_MODE = 0o640
"""Permissions of journal files."""


class Journal:
    """Appends outcomes to this worker's file. Never raises if the disk fails: it logs an error, and mail continues."""

    def __init__(self, directory: str, *, now: Callable[[], float] = time.time) -> None:
        self._directory = Path(directory)
        self._now = now
        self._lock = threading.Lock()
        self._file = -1
        self._day = 0
        """The day of the open file, counted from the epoch in UTC."""
        self._torn = False
        self._retry_at = 0.0
        self.failures = 0
        """Outcomes that could not be written."""

    def append(self, record: OutcomeRecord) -> bool:
        """Write one outcome. False if it could not be written; it is in the log then."""
        line = encoded(record) + b"\n"
        with self._lock:
            problem = self._write(line)
            if problem:
                self.failures += 1
        if problem:
            log.error("journal: %s; outcome not written: %s", problem, line.decode().strip())
        return not problem

    def close(self) -> None:
        with self._lock:
            self._close()

    def _write(self, line: bytes) -> str:
        """Write a line; returns the error, empty if there is none."""
        if time.monotonic() < self._retry_at:
            return f"{self._directory}: still failing"
        try:
            self._open_for_today()
            # End a line that was written only in part, so that it does not spoil this one.
            data = b"\n" + line if self._torn else line
            written = os.write(self._file, data)
        except OSError as error:
            self._close()
            self._retry_at = time.monotonic() + RETRY_SECONDS
            return f"{self._directory}: {error.strerror or error}"
        self._torn = written != len(data)
        return f"{self._directory}: only {written} of {len(data)} bytes written" if self._torn else ""

    def _open_for_today(self) -> None:
        day = int(self._now() // DAY_SECONDS)
        # Lines written to a deleted file could never be read.
        if self._file >= 0 and day == self._day and os.fstat(self._file).st_nlink:
            return
        self._close()
        self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        # The start time keeps a recycled process id from appending to an earlier worker's file.
        date = time.strftime("%Y%m%d", time.gmtime(day * DAY_SECONDS))
        name = f"{date}-{time.time_ns() // 1_000_000}-{os.getpid()}.jsonl"
        self._file = os.open(self._directory / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        self._day = day

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._torn = False
