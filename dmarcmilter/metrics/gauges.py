"""Gauges measured when the endpoint is queried: the journal on disk, the progress of the ingest, workers' memory."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from dmarcmilter.history import ingest_progress_file
from dmarcmilter.value import Value


class JournalState(Value):
    unread: int | None = None
    """Bytes that the ingest has not taken in; None: the directory cannot be read."""
    ingest_age: float | None = None
    """Seconds since the ingest last read the journal; None: it never ran here."""
    free: int | None = None
    """Free bytes on the journal's file system for this user; None: there is no such directory."""


def journal(directory: str) -> JournalState:
    return JournalState(*_lag(Path(directory)), _free(directory))


def _lag(directory: Path) -> tuple[int | None, float | None]:
    try:
        written = ingest_progress_file.written(directory)
    except OSError:
        return None, None
    reached = ingest_progress_file.read(directory)
    if reached is None:
        return written, None
    # At least 0, also after a file was deleted while no ingest ran.
    return max(0, written - reached.ingested_bytes), max(0.0, time.time() - reached.time)


def _free(directory: str) -> int | None:
    try:
        status = os.statvfs(directory)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


def resident_bytes(pids: Iterable[int]) -> int:
    """Resident memory of the processes, in bytes; shared pages count for each."""
    return sum(map(_resident, pids)) * os.sysconf("SC_PAGE_SIZE")


def _resident(pid: int) -> int:
    """Resident pages (Linux); 0 elsewhere, and for a process that has just ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
