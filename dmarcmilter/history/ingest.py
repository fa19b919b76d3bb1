"""Convert the journal to the table, each outcome exactly once, in a separate process.

Outcomes and the position reached in the journal are written in one transaction, so a crash of this process or of the
database at any moment loses nothing and stores nothing twice. While the database is down, outcomes stay in the journal.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dmarcmilter.history import ingest_progress_file as progress_file
from dmarcmilter.history import journal_line_reader, migrations, outcome_rows, retention
from dmarcmilter.history.journal_line_reader import JournalPiece
from dmarcmilter.history.outcome_rows import ParsedLine
from dmarcmilter.history.outcome_writer import Advance, Writer
from dmarcmilter.history.store import Store, StoreError, UnacceptableError
from dmarcmilter.outcome_record import UndecodableError

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""Seconds between two reads of the journal while following it."""
FIRST_WAIT_SECONDS = 1.0
"""Seconds to wait after the first failure of the database. Each further failure doubles them."""
LONGEST_WAIT_SECONDS = 60.0
"""Seconds to wait after a failure of the database, at most."""
MAX_SHOWN = 200
"""Bytes of an unreadable line shown in the log; the rest is cut off."""


@dataclass
class IngestCounts:
    """Numbers of outcomes written and of unreadable lines."""

    outcomes: int = 0
    unreadable: int = 0


@dataclass
class _FileProgress:
    """A journal file and the position up to which it is in the database."""

    digest: bytes
    position: int


@dataclass
class Ingest:
    """Reads the files of one journal into one database."""

    journal: Path
    store: Store
    retention_days: int = 0
    """Days after which outcomes are deleted; 0: never."""
    delete_after_days: int = 0
    """Days after which journal files that are in the database are deleted; 0: never."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    counts: IngestCounts = field(default_factory=IngestCounts)
    _files: dict[Path, _FileProgress] = field(default_factory=dict)
    _writer: Writer | None = None
    _cleaned_up_on: str = ""
    _warnings: set[str] = field(default_factory=set)
    _written_progress: progress_file.IngestProgress | None = None

    def once(self) -> int:
        """Read all new lines; returns the number of outcomes. StoreError if the database cannot be used."""
        self.store.raise_if_replaced()
        if self._writer is None:
            migrations.migrate(self.store)
            self._writer = Writer(self.store)
        before = self.counts.outcomes
        paths = journal_line_reader.listed(self.journal)
        self._files = {path: progress for path, progress in self._files.items() if path in set(paths)}
        for path in paths:
            try:
                self._drain(path, self._writer)
            except OSError as error:
                self._warn_once(f"journal: {path}: {error.strerror or error}")
        self._write_progress()
        return self.counts.outcomes - before

    def _write_progress(self) -> None:
        """Write the progress file for monitoring, if outcomes were read or it is old."""
        progress = progress_file.IngestProgress(
            self.now().timestamp(), sum(file.position for file in self._files.values())
        )
        previous = self._written_progress
        is_new = previous is None or previous.ingested_bytes != progress.ingested_bytes
        if previous and not is_new and progress.time - previous.time < progress_file.EVERY_SECONDS:
            return
        try:
            progress_file.write(self.journal, progress)
        except FileNotFoundError:
            return  # no journal yet
        except OSError as error:
            self._warn_once(
                f"journal: {self.journal}: {error.strerror or error}; monitoring cannot see how far the ingest is"
            )
            return
        self._written_progress = progress

    def _warn_once(self, text: str) -> None:
        """Log a warning once, not at each read."""
        if text not in self._warnings:
            log.warning("%s", text)
            self._warnings.add(text)

    def follow(self, stop: threading.Event) -> None:
        """Read the journal as it is written, until `stop` is set. Waits while the database is down."""
        wait = FIRST_WAIT_SECONDS
        while not stop.is_set():
            try:
                self.once()
                self._clean_up()
                wait = FIRST_WAIT_SECONDS
                stop.wait(POLL_SECONDS)
            except (StoreError, OSError) as error:
                self._forget_database()
                log.warning("history: %s; the journal keeps, trying again in %.0f s", error, wait)
                stop.wait(wait)
                wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    def _forget_database(self) -> None:
        """Read tables, positions and ids again: after a failure it may be another database that answers."""
        self._writer = None
        self._files.clear()

    def _drain(self, path: Path, writer: Writer) -> None:
        progress = self._files.get(path) or self._start_file(path, writer)
        if progress is None:
            return
        while path.stat().st_size > progress.position:
            piece = journal_line_reader.read(path, progress.position)
            if piece.end == piece.start:
                return
            if not self._store_piece(path, progress, piece, writer):
                # Another process reads the same file: continue from its position.
                progress.position = writer.reached(progress.digest).position
                return

    def _start_file(self, path: Path, writer: Writer) -> _FileProgress | None:
        digest = journal_line_reader.identity(path)
        if digest is None:
            return None
        progress = _FileProgress(digest, writer.reached(digest).position)
        self._files[path] = progress
        return progress

    def _store_piece(self, path: Path, progress: _FileProgress, piece: JournalPiece, writer: Writer) -> bool:
        lines = self._parsed(path, piece)
        try:
            is_written = writer.write(lines, _advance(path, progress, piece, lines))
        except UnacceptableError as error:
            log.warning("history: %s: %s; looking for the line", path, error)
            lines = self._acceptable(path, lines, writer)
            is_written = writer.write(lines, _advance(path, progress, piece, lines))
        if is_written:
            progress.position = piece.end
            self.counts.outcomes += len(lines)
            self.counts.unreadable += len(piece.lines) - len(lines)
        return is_written

    def _parsed(self, path: Path, piece: JournalPiece) -> list[ParsedLine]:
        lines = []
        for raw in piece.lines:
            try:
                lines.append(outcome_rows.parse(raw))
            except UndecodableError as error:
                log.warning("history: %s: line not read: %s: %r", path, error, raw[:MAX_SHOWN])
        return lines

    def _acceptable(self, path: Path, lines: list[ParsedLine], writer: Writer) -> list[ParsedLine]:
        """The lines that the database accepts: one that it refuses must not keep out the others."""
        accepted = []
        for line in lines:
            refusal = writer.refusal(line)
            if refusal:
                log.error("history: %s: outcome of %s refused: %s", path, line.record.queue_id, refusal)
            else:
                accepted.append(line)
        if len(accepted) == len(lines):
            raise StoreError("the database refused a transaction, but none of its outcomes")
        return accepted

    def _clean_up(self) -> None:
        """Once a day, delete outcomes past retention and journal files that are no longer needed."""
        now = self.now()
        if self._cleaned_up_on == now.date().isoformat():
            return
        if self.retention_days:
            deleted = retention.purge(self.store, retention.first_day_kept(now, self.retention_days))
            log.info("history: %d outcomes older than %d days removed", deleted, self.retention_days)
        if self.delete_after_days:
            for path in journal_line_reader.listed(self.journal):
                self._delete_if_done(path, now)
        self._cleaned_up_on = now.date().isoformat()

    def _delete_if_done(self, path: Path, now: datetime) -> None:
        if self._writer is None or not journal_line_reader.is_settled(path, now, self.delete_after_days):
            return
        digest = journal_line_reader.identity(path)
        reached = self._writer.reached(digest) if digest else None
        # Lines that could not be read are only in this file, so a person must decide about it.
        if reached and reached.position == path.stat().st_size and not reached.unreadable:
            path.unlink()
            log.info("history: %s is in the database, and deleted", path)


def _advance(path: Path, progress: _FileProgress, piece: JournalPiece, lines: list[ParsedLine]) -> Advance:
    return Advance(progress.digest, path.name, piece.start, piece.end, len(piece.lines) - len(lines))
