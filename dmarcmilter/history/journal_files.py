"""The journal's files as the ingest reads them: what is complete, and when a file gets no more lines.

Files are only ever appended to. A line may be torn (a full disk): a line feed follows it before the next.
"""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path

CHUNK = 4 * 1024 * 1024
"""Octets read at once, the bound of our memory. No outcome is nearly as long."""
DIGEST_OCTETS = 16
_NAME = re.compile(r"(\d{8})-\d+-\d+\.jsonl")


@dataclass(frozen=True, slots=True)
class Piece:
    """Complete lines of a file."""

    lines: tuple[bytes, ...]
    start: int
    end: int
    """Where the next reading starts."""


def listed(directory: Path) -> list[Path]:
    """The journal's files, oldest first; none when there is no such directory yet."""
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(".jsonl") and entry.is_file()]
    except FileNotFoundError:
        return []
    return [directory / name for name in sorted(names)]


def identity(path: Path) -> bytes | None:
    """What tells this file from all others, also of other machines: its name and its first line; None: has no line.

    It holds no path and no host name, so a journal can be moved, and a host renamed, without reading anything twice.
    """
    with path.open("rb") as file:
        first = file.readline(CHUNK)
    if not first.endswith(b"\n"):
        return None
    return blake2b(path.name.encode() + b"\n" + first, digest_size=DIGEST_OCTETS).digest()


def read(path: Path, start: int) -> Piece:
    """The complete lines from `start` on, as many as fit in a chunk."""
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(CHUNK)
    end = data.rfind(b"\n") + 1
    if end == 0 and len(data) == CHUNK:
        # No line of ours. Taken as one line that cannot be read, so that what follows it can be.
        return Piece((data,), start, start + CHUNK)
    return Piece(tuple(line for line in data[:end].split(b"\n") if line), start, start + end)


def is_settled(path: Path, now: datetime, days: int) -> bool:
    """So many days have passed since its last line.

    By its name (a worker writes to a new file each day of UTC) and by its last change.
    """
    found = _NAME.fullmatch(path.name)
    if found is None:
        return False
    try:
        midnight = datetime.strptime(found[1], "%Y%m%d").replace(tzinfo=UTC) + timedelta(days=1)
    except ValueError:
        return False
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return max(midnight, changed) + timedelta(days=days) <= now
