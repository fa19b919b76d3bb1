"""Reads OpenDMARC's history file into records, whose lines are `key value`, from `job` to `action`.

OpenDMARC may write to the file meanwhile: a last record that is not complete is left for the next time.
"""

from hashlib import blake2b
from pathlib import Path

from dmarcmilter.value import Value

CHUNK = 1024 * 1024
"""Bytes of the file that are read at once, which limits the memory used. A record has about 400."""
MAX_RECORD = 65_536
"""Bytes of a record; a larger one counts as unreadable. 100 signatures with a long list of rua fit."""
MAX_LINES = 1_000
"""Lines of a record; one with more counts as unreadable."""
DIGEST_BYTES = 16
"""Bytes of the digest that identifies a file."""
_FIRST, _LAST = b"job ", b"action "

HistoryFields = dict[str, list[str]]
"""The values of a record by key, in their order."""


class Piece(Value):
    """Whole records of a file."""

    records: tuple[HistoryFields, ...]
    unreadable: int
    """Number of records that are too long, and of texts before a first `job`."""
    end: int
    """Position in the file at which to read on."""


def is_history(path: Path) -> bool:
    """Whether a file may be a history file: it is empty, or a record begins within its first MAX_RECORD bytes."""
    with path.open("rb") as file:
        head = file.read(MAX_RECORD)
    return not head or head.startswith(_FIRST) or b"\n" + _FIRST in head or _FIRST.startswith(head)


def identity(path: Path) -> bytes | None:
    """A digest of the first record, which identifies the file; None: it has no record yet.

    The name does not identify it: files are often moved for OpenDMARC's own import, and the name is used again.
    """
    with path.open("rb") as file:
        head = file.read(MAX_RECORD)
    ends = _record_ends(head, at_end=len(head) < MAX_RECORD)
    if not ends and len(head) < MAX_RECORD:
        return None
    first_record = head[: ends[0]] if ends else head
    return blake2b(b"opendmarc\n" + first_record, digest_size=DIGEST_BYTES).digest()


def read(path: Path, start: int) -> Piece:
    """The whole records from position `start` on, at most a chunk of them."""
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(CHUNK)
    ends = _record_ends(data, at_end=len(data) < CHUNK)
    if not ends:
        # OpenDMARC writes no record of this length, so the chunk is skipped, so that what follows can be read.
        return Piece((), 1, start + CHUNK) if len(data) == CHUNK else Piece((), 0, start)
    records = []
    for begin, end in zip([0, *ends], ends, strict=False):
        fields = _fields(data[begin:end])
        if fields is not None:
            records.append(fields)
    return Piece(tuple(records), len(ends) - len(records), start + ends[-1])


def _record_ends(data: bytes, *, at_end: bool) -> list[int]:
    """Where records end: before each further `job` line, and at the end of the file if its last line is `action`."""
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


def _fields(data: bytes) -> HistoryFields | None:
    """The values of a record; None: it is not one that OpenDMARC would write."""
    lines = data.split(b"\n", MAX_LINES)
    if not data.startswith(_FIRST) or len(data) > MAX_RECORD or len(lines) > MAX_LINES:
        return None
    fields: HistoryFields = {}
    for line in lines:
        key, _, value = line.decode("utf-8", "replace").rstrip("\r").partition(" ")
        if key:
            fields.setdefault(key, []).append(value)
    return fields
