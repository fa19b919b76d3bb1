"""What is measured only when somebody asks: the journal on the disk, how far the ingest is, the workers' memory."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dmarcmilter.history import conversion_progress


@dataclass(frozen=True, slots=True)
class JournalState:
    unread: int | None = None
    """Octets that the ingest has not taken in; None: the directory cannot be read."""
    ingest_age: float | None = None
    """Seconds since it last looked, by the clock; None: it has never run here."""
    free: int | None = None
    """Octets of room on the journal's file system, for us; None: there is no such directory."""


def journal(directory: str) -> JournalState:
    return JournalState(*_lag(Path(directory)), _free(directory))


def _lag(directory: Path) -> tuple[int | None, float | None]:
    try:
        written = conversion_progress.written(directory)
    except OSError:
        return None, None
    reached = conversion_progress.read(directory)
    if reached is None:
        return written, None
    # A file that somebody deleted while no ingest runs would make it less than nothing.
    return max(0, written - reached.octets), max(0.0, time.time() - reached.time)


def _free(directory: str) -> int | None:
    try:
        found = os.statvfs(directory)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def resident_bytes(pids: Iterable[int]) -> int:
    """Memory of these processes; the code and data that they share counts for each."""
    return sum(map(_resident, pids)) * os.sysconf("SC_PAGE_SIZE")


def _resident(pid: int) -> int:
    """Pages, as Linux tells them; 0 elsewhere, and for a process that has just ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
