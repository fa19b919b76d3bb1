"""OpenDMARC's history file, cut into records: lines of a key and a value, `job` begins a record, `action` ends it.

The file is written by a program that goes on while we read: a last record without its end is left for the next time.
"""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

CHUNK = 1024 * 1024
"""Octets read at once, the bound of our memory. A record has some 400."""
MAX_RECORD = 65_536
"""Octets of one record: 100 signatures and a long list of rua are less."""
MAX_LINES = 1_000
"""Of one record."""
DIGEST_OCTETS = 16
_FIRST, _LAST = b"job ", b"action "

Fields = dict[str, list[str]]
"""Values by key, in their order."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole records of a file."""

    records: tuple[Fields, ...]
    unreadable: int
    """Records that are too long, and stretches before a first `job`."""
    end: int
    """Where the next reading starts."""


def begins_like_one(path: Path) -> bool:
    """Whether a file is empty, or has the beginning of a record within the bytes that a record may have."""
    with path.open("rb") as file:
        head = file.read(MAX_RECORD)
    return not head or head.startswith(_FIRST) or b"\n" + _FIRST in head or _FIRST.startswith(head)


def identity(path: Path) -> bytes | None:
    """What tells this file from others: its first record. None: it has none yet.

    Not the name: what OpenDMARC's own import takes away is often moved first, and the name used again.
    """
    with path.open("rb") as file:
        head = file.read(MAX_RECORD)
    found = _cut(head, at_end=len(head) < MAX_RECORD)
    if not found and len(head) < MAX_RECORD:
        return None
    first = head[: found[0]] if found else head
    return blake2b(b"opendmarc\n" + first, digest_size=DIGEST_OCTETS).digest()


def read(path: Path, start: int) -> Piece:
    """The whole records from `start` on, as many as fit in a chunk."""
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(CHUNK)
    ends = _cut(data, at_end=len(data) < CHUNK)
    if not ends:
        # No record of OpenDMARC's is so long: passed over, so that what follows it can be read.
        return Piece((), 1, start + CHUNK) if len(data) == CHUNK else Piece((), 0, start)
    records = []
    for begin, end in zip([0, *ends], ends, strict=False):
        fields = _fields(data[begin:end])
        if fields is not None:
            records.append(fields)
    return Piece(tuple(records), len(ends) - len(records), start + ends[-1])


def _cut(data: bytes, *, at_end: bool) -> list[int]:
    """Where records end: before each further `job` line, and at the end of the file if `action` stands there."""
    ends = []
    position = data.find(b"\n" + _FIRST)
    while position >= 0:
        ends.append(position + 1)
        position = data.find(b"\n" + _FIRST, position + 1)
    rest = data[ends[-1] if ends else 0 :]
    last = rest.rstrip(b"\n").rpartition(b"\n")[2]
    if at_end and rest.endswith(b"\n") and last.startswith(_LAST):
        ends.append(len(data))
    return ends


def _fields(data: bytes) -> Fields | None:
    """None: no record, or none that OpenDMARC would write."""
    lines = data.split(b"\n", MAX_LINES)
    if not data.startswith(_FIRST) or len(data) > MAX_RECORD or len(lines) > MAX_LINES:
        return None
    fields: Fields = {}
    for line in lines:
        key, _, value = line.decode("utf-8", "replace").rstrip("\r").partition(" ")
        if key:
            fields.setdefault(key, []).append(value)
    return fields
