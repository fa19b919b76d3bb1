"""Search the journal for outcomes by id, newest first.

A day of a large site has gigabytes, so files are read backwards in blocks, and only lines that contain the bytes of the
id are decoded. The database is faster for outcomes that it has.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path

import msgspec
from msgspec import UNSET, UnsetType

from dmarcmilter.history import journal_line_reader, outcome_rows
from dmarcmilter.outcome_record import VERSION, OutcomeRecord, UndecodableError
from dmarcmilter.value import Value

BLOCK = 4 * 1024 * 1024
"""Bytes read at once."""
MAX_LINE = BLOCK
"""Longest line in bytes that is searched, which bounds memory. A longer one is no outcome, and is skipped."""
MAX_MATCHES = 100
"""Outcomes returned by one search, enough to see that an id was reused. Older ones are left out."""


class RecordedIdentity(Value, kw_only=True):
    """The keys of an outcome record that identify its message."""

    v: int
    time: str
    queue_id: str | None
    message_id_hash: str | UnsetType | None = UNSET
    client_ip: str | None
    helo: str | None


class UnreadableRecord(Value):
    """A line that identifies a message but is no valid outcome record, for example because it was edited."""

    identity: RecordedIdentity
    problem: str
    """Why it cannot be decoded."""
    line: bytes


class OutcomeMatch(Value):
    """An outcome that was searched for."""

    record: OutcomeRecord | UnreadableRecord
    place: str
    """The name of the journal file, or "database"."""

    @property
    def identity(self) -> OutcomeRecord | RecordedIdentity:
        """The record, or the identity of a line that is no valid record."""
        return self.record if isinstance(self.record, OutcomeRecord) else self.record.identity


class OutcomeSearch(Value):
    """The id to search for."""

    key: str
    """queue_id or message_id_hash."""
    value: str
    since: datetime | None = None
    """Older outcomes are left out; None: no limit."""

    @property
    def needle(self) -> bytes:
        """The bytes of the id in a line of JSON. Ids have no characters that JSON could escape."""
        return f'"{self.value}"'.encode()

    def matches(self, identity: OutcomeRecord | RecordedIdentity) -> bool:
        """Whether a record (with a valid time) is searched for."""
        if getattr(identity, self.key) != self.value:
            return False
        return self.since is None or datetime.fromisoformat(identity.time) >= self.since


def days(directory: Path, since: datetime | None = None) -> list[list[Path]]:
    """The journal's files of each day, newest day first; with `since`, without days that have only older lines."""
    newest_first = reversed(journal_line_reader.listed(directory))
    groups = [list(group) for _, group in groupby(newest_first, key=lambda path: path.name[:8])]
    if since is None:
        return groups
    first = f"{since:%Y%m%d}"
    # A worker starts a new file each day of UTC, so no line is older than the day in the name.
    return [group for group in groups if not (day := group[0].name[:8]).isdigit() or day >= first]


def in_files(paths: Sequence[Path], search: OutcomeSearch) -> list[OutcomeMatch]:
    """The outcomes in these files, newest first, at most MAX_MATCHES. OSError for a file that cannot be read."""
    matches: list[OutcomeMatch] = []
    for path in paths:
        matches += _in_file(path, search)
    matches.sort(key=lambda match: match.identity.time, reverse=True)
    return matches[:MAX_MATCHES]


def _in_file(path: Path, search: OutcomeSearch) -> Iterator[OutcomeMatch]:
    number = 0
    for line in backwards(path, search.needle):
        record = _read(line)
        if record is None:
            continue
        match = OutcomeMatch(record, path.name)
        if search.matches(match.identity):
            yield match
            number += 1
        if number == MAX_MATCHES:
            return


def _read(line: bytes) -> OutcomeRecord | UnreadableRecord | None:
    """Decode a line; None if it does not identify a message."""
    try:
        return outcome_rows.parse(line).record
    except UndecodableError as error:
        identity = _identity(line)
        return None if identity is None else UnreadableRecord(identity, str(error), line)


def _identity(line: bytes) -> RecordedIdentity | None:
    try:
        identity = msgspec.json.decode(line, type=RecordedIdentity)
        zone = datetime.fromisoformat(identity.time).tzinfo
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return identity if identity.v == VERSION and zone is not None else None


def backwards(path: Path, needle: bytes) -> Iterator[bytes]:
    """The lines of a file that contain `needle`, last line first."""
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
            yield from _lines_with(block[start:] + rest, needle)
            rest = block[:start]


def _lines_with(lines: bytes, needle: bytes) -> list[bytes]:
    matching: list[bytes] = []
    at = lines.find(needle)
    while at >= 0:
        start, end = lines.rfind(b"\n", 0, at) + 1, lines.find(b"\n", at)
        end = end if end >= 0 else len(lines)
        matching.append(lines[start:end])
        at = lines.find(needle, end)
    return matching[::-1]
