"""Finds outcomes in the journal, newest first, without reading more JSON than it must.

A day of a large site is gigabytes: files are read backwards in blocks, and only lines that hold the bytes of the id
are parsed. The store answers faster, for what it has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from dmarcmilter.history import journal_files, outcome_rows
from dmarcmilter.history.outcome_rows import Record, UnreadableError

BLOCK = 4 * 1024 * 1024
"""Octets read at once."""
MAX_LINE = BLOCK
"""What is longer is no outcome; memory is bounded by a block and a line."""
MAX_MATCHES = 100
"""Of one search: enough to see that an id is not what one took it for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One key of the outcome object and the value to look for."""

    key: str
    value: str
    since: datetime | None = None

    @property
    def needle(self) -> bytes:
        """In JSON, as it stands in a line: our ids hold nothing that JSON would write in another way."""
        return f'"{self.value}"'.encode()

    def is_met_by(self, record: Record) -> bool:
        if record.get(self.key) != self.value:
            return False
        return self.since is None or datetime.fromisoformat(record["time"]) >= self.since


@dataclass(frozen=True, slots=True)
class Match:
    record: Record
    place: str
    """Where it was found: the journal file's name, or "database"."""


def days(directory: Path, since: datetime | None = None) -> list[list[Path]]:
    """The journal's files of each day, newest day first; with `since`, without those that hold only older lines."""
    found = reversed(journal_files.listed(directory))
    groups = [list(group) for _, group in groupby(found, key=lambda path: path.name[:8])]
    if since is None:
        return groups
    first = f"{since:%Y%m%d}"
    # A worker writes to a new file each day of UTC, so the name bounds what is in it.
    return [group for group in groups if not (day := group[0].name[:8]).isdigit() or day >= first]


def in_files(paths: Sequence[Path], wanted: Wanted) -> list[Match]:
    """The outcomes in these files, newest first, at most MAX_MATCHES. OSError for a file that cannot be read."""
    found: list[Match] = []
    for path in paths:
        found += [Match(record, path.name) for record in _in_file(path, wanted)]
    found.sort(key=lambda match: str(match.record["time"]), reverse=True)
    return found[:MAX_MATCHES]


def _in_file(path: Path, wanted: Wanted) -> Iterator[Record]:
    number = 0
    for line in backwards(path, wanted.needle):
        try:
            record = outcome_rows.parse(line).record
        except UnreadableError:
            continue
        if wanted.is_met_by(record):
            yield record
            number += 1
        if number == MAX_MATCHES:
            return


def backwards(path: Path, needle: bytes) -> Iterator[bytes]:
    """Lines of a file that hold the needle, the last one first."""
    rest = b""
    with path.open("rb") as file:
        position = file.seek(0, 2)
        while position > 0:
            size = min(BLOCK, position)
            position -= size
            file.seek(position)
            block = file.read(size)
            start = block.find(b"\n") + 1 if position else 0
            if position and not start:
                rest = block + rest if len(rest) <= MAX_LINE else b""
                continue
            yield from _holding(block[start:] + rest, needle)
            rest = block[:start]


def _holding(lines: bytes, needle: bytes) -> list[bytes]:
    found: list[bytes] = []
    at = lines.find(needle)
    while at >= 0:
        start, end = lines.rfind(b"\n", 0, at) + 1, lines.find(b"\n", at)
        end = end if end >= 0 else len(lines)
        found.append(lines[start:end])
        at = lines.find(needle, end)
    return found[::-1]
