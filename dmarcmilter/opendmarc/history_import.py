"""Records of OpenDMARC's history into the store, each once: rows and the position in the file in one transaction.

The same way as for our journal (history/ingest): what is read and how far goes in together, and the file is known by
its first record. Imported again, it goes on where it ended; a file that has grown brings only what is new.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dmarcmilter.history import outcome_rows
from dmarcmilter.history.outcome_rows import Line
from dmarcmilter.history.store import UnacceptableError
from dmarcmilter.history.table_writer import Advance, Writer
from dmarcmilter.opendmarc import history_file, history_record
from dmarcmilter.opendmarc.history_file import Piece
from dmarcmilter.outcome import UndecodableError, encoded

log = logging.getLogger(__name__)

MAX_COMPLAINTS = 20
"""Records that could not be read, in the log; they are all counted."""


class NoHistoryError(Exception):
    """The file is no history file of OpenDMARC."""

    def __init__(self) -> None:
        super().__init__(
            "no history file of OpenDMARC, whose records begin with a line `job` and end with a line `action`; "
            "nothing was taken in"
        )


@dataclass
class Counts:
    outcomes: int = 0
    """Taken in, or to be taken in."""
    unreadable: int = 0
    skipped: int = 0
    """Octets that were imported before."""
    rest: int = 0
    """Octets at the end that are no whole record yet."""


class Import:
    def __init__(self, path: Path, writer: Writer | None, *, dry: bool = False) -> None:
        """`dry`: nothing is written. Without a writer nothing is known to have been read before, either."""
        self._path = path
        self._writer = writer
        self._dry = dry or writer is None
        self._complaints = 0
        self.counts = Counts()

    def run(self) -> Counts:
        """OSError when the file cannot be read, StoreError when the database is not there; NoHistoryError."""
        if not history_file.begins_like_one(self._path):
            raise NoHistoryError
        digest = history_file.identity(self._path)
        if digest is None:
            self.counts.rest = self._path.stat().st_size
            return self.counts
        position = self._writer.reached(digest).position if self._writer else 0
        self.counts.skipped = position
        while (piece := history_file.read(self._path, position)).end != position:
            if not self._take(piece, digest, position):
                raise OSError("another import of this file is under way")
            position = piece.end
        self.counts.rest = max(0, self._path.stat().st_size - position)
        return self.counts

    def _take(self, piece: Piece, digest: bytes, start: int) -> bool:
        """False: another process has taken it."""
        lines = list(self._lines(piece))
        if start == 0 and not lines:
            raise NoHistoryError
        if self._writer is not None and not self._dry:
            try:
                taken = self._writer.write(lines, self._advance(piece, digest, start, lines))
            except UnacceptableError as error:
                log.warning("%s: %s; looking for the record", self._path, error)
                lines = [line for line in lines if not self._writer.refusal(line)]
                taken = self._writer.write(lines, self._advance(piece, digest, start, lines))
            if not taken:
                return False
        self.counts.outcomes += len(lines)
        self.counts.unreadable += _bad(piece, lines)
        return True

    def _lines(self, piece: Piece) -> Iterator[Line]:
        for fields in piece.records:
            try:
                yield outcome_rows.parse(encoded(history_record.outcome(fields)))
            except (history_record.UnreadableError, UndecodableError) as error:
                self._complaints += 1
                if self._complaints <= MAX_COMPLAINTS:
                    log.warning("%s: %s not read: %s", self._path, history_record.shown(fields), error)

    def _advance(self, piece: Piece, digest: bytes, start: int, lines: list[Line]) -> Advance:
        return Advance(digest, self._path.name, start, piece.end, _bad(piece, lines))


def _bad(piece: Piece, lines: list[Line]) -> int:
    return piece.unreadable + len(piece.records) - len(lines)
