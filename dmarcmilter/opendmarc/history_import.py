"""Imports records of OpenDMARC's history file into the database, each once.

As in the ingest of our journal, rows and the position in the file are written in one transaction, and the file is
identified by its first record. So a file that is imported again continues where the last import ended.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dmarcmilter.history import outcome_rows
from dmarcmilter.history.outcome_rows import ParsedLine
from dmarcmilter.history.outcome_writer import Advance, Writer
from dmarcmilter.history.store import UnacceptableError
from dmarcmilter.opendmarc import history_file, history_record
from dmarcmilter.opendmarc.history_file import Piece
from dmarcmilter.outcome_record import UndecodableError, encoded

log = logging.getLogger(__name__)

MAX_COMPLAINTS = 20
"""Number of unreadable records that are logged; further ones are only counted."""


class NoHistoryError(Exception):
    """The file is no history file of OpenDMARC."""

    def __init__(self) -> None:
        super().__init__(
            "no history file of OpenDMARC, whose records begin with a line `job` and end with a line `action`; "
            "nothing was taken in"
        )


@dataclass
class Counts:
    """What an import did."""

    outcomes: int = 0
    """Outcomes that were imported, or would be."""
    unreadable: int = 0
    """Records that could not be read."""
    skipped: int = 0
    """Bytes that were imported before."""
    rest: int = 0
    """Bytes at the end that are not a whole record yet."""


class Import:
    """An import of one history file."""

    def __init__(self, path: Path, writer: Writer | None, *, dry: bool = False) -> None:
        """`dry`: nothing is written. Without a writer, earlier imports of the file are not known either."""
        self._path = path
        self._writer = writer
        self._dry = dry or writer is None
        self._complaints = 0
        self.counts = Counts()

    def run(self) -> Counts:
        """Import all whole records; OSError, StoreError or NoHistoryError."""
        if not history_file.is_history(self._path):
            raise NoHistoryError
        digest = history_file.identity(self._path)
        if digest is None:
            self.counts.rest = self._path.stat().st_size
            return self.counts
        position = self._writer.reached(digest).position if self._writer else 0
        self.counts.skipped = position
        while (piece := history_file.read(self._path, position)).end != position:
            if not self._import_piece(piece, digest, position):
                raise OSError("another import of this file is under way")
            position = piece.end
        self.counts.rest = max(0, self._path.stat().st_size - position)
        return self.counts

    def _import_piece(self, piece: Piece, digest: bytes, start: int) -> bool:
        """Write the records of a piece; False: another process has imported it."""
        lines = list(self._lines(piece))
        if start == 0 and not lines:
            raise NoHistoryError
        if self._writer is not None and not self._dry:
            try:
                is_written = self._writer.write(lines, self._advance(piece, digest, start, lines))
            except UnacceptableError as error:
                log.warning("%s: %s; looking for the record", self._path, error)
                lines = [line for line in lines if not self._writer.refusal(line)]
                is_written = self._writer.write(lines, self._advance(piece, digest, start, lines))
            if not is_written:
                return False
        self.counts.outcomes += len(lines)
        self.counts.unreadable += _unreadable_count(piece, lines)
        return True

    def _lines(self, piece: Piece) -> Iterator[ParsedLine]:
        """The records of a piece as outcomes; unreadable ones are logged."""
        for fields in piece.records:
            try:
                yield outcome_rows.parse(encoded(history_record.outcome(fields)))
            except (history_record.UnreadableError, UndecodableError) as error:
                self._complaints += 1
                if self._complaints <= MAX_COMPLAINTS:
                    log.warning("%s: %s not read: %s", self._path, history_record.shown(fields), error)

    def _advance(self, piece: Piece, digest: bytes, start: int, lines: list[ParsedLine]) -> Advance:
        return Advance(digest, self._path.name, start, piece.end, _unreadable_count(piece, lines))


def _unreadable_count(piece: Piece, lines: list[ParsedLine]) -> int:
    return piece.unreadable + len(piece.records) - len(lines)
