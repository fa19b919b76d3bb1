"""Journal files as the ingest reads them: complete lines, and when a file gets no more of them.

Files are only appended to. After a line that was written only in part (disk full) the next begins on a new line.
"""

import os
import re
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path

from dmarcmilter.value import Value

CHUNK = 4 * 1024 * 1024
"""Bytes read at once, which bounds memory. No outcome is nearly as long."""
DIGEST_BYTES = 16
_NAME = re.compile(r"(\d{8})-\d+-\d+\.jsonl")


class JournalPiece(Value):
    """Complete lines of a file, from `start` on."""

    lines: tuple[bytes, ...]
    start: int
    end: int
    """Where the next reading starts."""


def listed(directory: Path) -> list[Path]:
    """The journal files, oldest first; none if the directory does not exist yet."""
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(".jsonl") and entry.is_file()]
    except FileNotFoundError:
        return []
    return [directory / name for name in sorted(names)]


def identity(path: Path) -> bytes | None:
    """A digest of the file's name and first line, unique across machines; None if it has no line yet.

    It includes no path or host name, so that a journal can be moved, or a host renamed, without reading anything twice.
    """
    with path.open("rb") as file:
        first = file.readline(CHUNK)
    if not first.endswith(b"\n"):
        return None
    return blake2b(path.name.encode() + b"\n" + first, digest_size=DIGEST_BYTES).digest()


def read(path: Path, start: int) -> JournalPiece:
    """The complete lines from `start` on, as many as fit in a chunk."""
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(CHUNK)
    end = data.rfind(b"\n") + 1
    if end == 0 and len(data) == CHUNK:
        # No outcome is this long. Return it as one unreadable line, so that the lines after it can be read.
        return JournalPiece((data,), start, start + CHUNK)
    return JournalPiece(tuple(line for line in data[:end].split(b"\n") if line), start, start + end)


def is_settled(path: Path, now: datetime, days: int) -> bool:
    """Whether this many days have passed since the file's last line.

    Decided by its name (a worker begins a new file each day of UTC) and by its last change.
    """
    name = _NAME.fullmatch(path.name)
    if name is None:
        return False
    try:
        midnight = datetime.strptime(name[1], "%Y%m%d").replace(tzinfo=UTC) + timedelta(days=1)
    except ValueError:
        return False
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return max(midnight, changed) + timedelta(days=days) <= now
