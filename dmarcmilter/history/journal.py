"""The journal: one JSON line for each outcome, appended after the MTA took the changes and before the reply.

Each worker has a file of its own, so nothing is locked between processes. A line is handed to the kernel in one
write(): it survives the end of the worker at any instruction after that. (It is not forced to the disk: a power
failure may take the last seconds.) Another process reads the files; see the ingest.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from dmarcmilter.outcome import OutcomeRecord, encoded

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""After a failure, so that a broken disk is not tried again, nor a full one given a new empty file, by each message."""
FILE_MODE = 0o640


class Journal:
    """Append-only. Never raises for a disk that does not work: mail flows on, and the log tells."""

    def __init__(self, directory: str, *, now: Callable[[], float] = time.time) -> None:
        self._directory = Path(directory)
        self._now = now
        self._lock = threading.Lock()
        self._file = -1
        self._day = ""
        self._torn = False
        self._retry_at = 0.0
        self.failures = 0
        """Outcomes that could not be written."""

    def append(self, record: OutcomeRecord) -> bool:
        """Write one outcome; False when it could not be written (it then stands in the log)."""
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
        """What went wrong, or nothing."""
        if time.monotonic() < self._retry_at:
            return f"{self._directory}: still failing"
        try:
            self._open_for_today()
            # A line that the disk took only in part is ended here, so that it spoils no other.
            data = b"\n" + line if self._torn else line
            written = os.write(self._file, data)
        except OSError as error:
            self._close()
            self._retry_at = time.monotonic() + RETRY_SECONDS
            return f"{self._directory}: {error.strerror or error}"
        self._torn = written != len(data)
        return f"{self._directory}: only {written} of {len(data)} octets written" if self._torn else ""

    def _open_for_today(self) -> None:
        day = time.strftime("%Y%m%d", time.gmtime(self._now()))
        # A file that was removed under us would take lines that nobody can ever read.
        if self._file >= 0 and day == self._day and os.fstat(self._file).st_nlink:
            return
        self._close()
        self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        # The start time keeps a recycled process id from appending to an earlier worker's file.
        name = f"{day}-{time.time_ns() // 1_000_000}-{os.getpid()}.jsonl"
        self._file = os.open(self._directory / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        self._day = day

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._torn = False
