"""Drains the journal into the store, exactly once, in a process of its own.

What is read and how far go into the database in one transaction, so a crash of either side at any instruction loses
nothing and doubles nothing. A database that is down is waited for; the journal keeps.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dmarcmilter.history import conversion_progress as progress_file
from dmarcmilter.history import journal_files, migrations, outcome_rows, retention
from dmarcmilter.history.journal_files import Piece
from dmarcmilter.history.outcome_rows import ParsedLine
from dmarcmilter.history.store import Store, StoreError, UnacceptableError
from dmarcmilter.history.table_writer import Advance, Writer
from dmarcmilter.outcome import UndecodableError

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""Between two looks at the journal, when following."""
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
"""For a database that is down: doubled from the first to the longest."""
MAX_SHOWN = 200
"""Octets of an unreadable line in the log."""


@dataclass
class Counts:
    outcomes: int = 0
    unreadable: int = 0
    store_failures: int = 0


@dataclass
class _Progress:
    """Of one journal file."""

    digest: bytes
    position: int


@dataclass
class Ingest:
    journal: Path
    store: Store
    retention_days: int = 0
    """0: outcomes are kept for ever."""
    delete_after_days: int = 0
    """Journal files that are in the store are deleted when they are so old; 0: never."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    counts: Counts = field(default_factory=Counts)
    _files: dict[Path, _Progress] = field(default_factory=dict)
    _writer: Writer | None = None
    _tidied: str = ""
    _complaints: set[str] = field(default_factory=set)
    _told: progress_file.IngestProgress | None = None

    def once(self) -> int:
        """Read all there is; the number of outcomes. StoreError when the database is not there."""
        self.store.must_be_the_same()
        if self._writer is None:
            migrations.migrate(self.store)
            self._writer = Writer(self.store)
        before = self.counts.outcomes
        found = journal_files.listed(self.journal)
        self._files = {path: progress for path, progress in self._files.items() if path in set(found)}
        for path in found:
            try:
                self._drain(path, self._writer)
            except OSError as error:
                self._complain(f"journal: {path}: {error.strerror or error}")
        self._tell_progress()
        return self.counts.outcomes - before

    def _tell_progress(self) -> None:
        """For who watches us, when something was taken in, and now and then otherwise."""
        reached = progress_file.IngestProgress(
            self.now().timestamp(), sum(one.position for one in self._files.values())
        )
        told = self._told
        if (
            told
            and told.ingested_bytes == reached.ingested_bytes
            and reached.time - told.time < progress_file.EVERY_SECONDS
        ):
            return
        try:
            progress_file.write(self.journal, reached)
        except FileNotFoundError:
            return  # no journal yet
        except OSError as error:
            self._complain(f"journal: {self.journal}: {error.strerror or error}; nobody can see how far the ingest is")
            return
        self._told = reached

    def _complain(self, text: str) -> None:
        """Once, not at each look."""
        if text not in self._complaints:
            log.warning("%s", text)
            self._complaints.add(text)

    def follow(self, stop: threading.Event) -> None:
        """Read as it is written, until told to stop; waits for a database that is down."""
        wait = FIRST_WAIT_SECONDS
        while not stop.is_set():
            try:
                self.once()
                self._tidy()
                wait = FIRST_WAIT_SECONDS
                stop.wait(POLL_SECONDS)
            except (StoreError, OSError) as error:
                self.counts.store_failures += 1
                self._forget()
                log.warning("history: %s; the journal keeps, trying again in %.0f s", error, wait)
                stop.wait(wait)
                wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    def _forget(self) -> None:
        """It may be another database that comes back: its tables, positions and ids are asked for again."""
        self._writer = None
        self._files.clear()

    def _drain(self, path: Path, writer: Writer) -> None:
        progress = self._files.get(path) or self._opened(path, writer)
        if progress is None:
            return
        while path.stat().st_size > progress.position:
            piece = journal_files.read(path, progress.position)
            if piece.end == piece.start:
                return
            if not self._take(path, progress, piece, writer):
                # Another process reads the same file: go on from where it is.
                progress.position = writer.reached(progress.digest).position
                return

    def _opened(self, path: Path, writer: Writer) -> _Progress | None:
        digest = journal_files.identity(path)
        if digest is None:
            return None
        progress = _Progress(digest, writer.reached(digest).position)
        self._files[path] = progress
        return progress

    def _take(self, path: Path, progress: _Progress, piece: Piece, writer: Writer) -> bool:
        lines = self._parsed(path, piece)
        try:
            taken = writer.write(lines, _advance(path, progress, piece, lines))
        except UnacceptableError as error:
            log.warning("history: %s: %s; looking for the line", path, error)
            lines = self._acceptable(path, lines, writer)
            taken = writer.write(lines, _advance(path, progress, piece, lines))
        if taken:
            progress.position = piece.end
            self.counts.outcomes += len(lines)
            self.counts.unreadable += len(piece.lines) - len(lines)
        return taken

    def _parsed(self, path: Path, piece: Piece) -> list[ParsedLine]:
        lines = []
        for raw in piece.lines:
            try:
                lines.append(outcome_rows.parse(raw))
            except UndecodableError as error:
                log.warning("history: %s: line not read: %s: %r", path, error, raw[:MAX_SHOWN])
        return lines

    def _acceptable(self, path: Path, lines: list[ParsedLine], writer: Writer) -> list[ParsedLine]:
        """One line that the database refuses must not keep out the others."""
        kept = []
        for line in lines:
            refusal = writer.refusal(line)
            if refusal:
                log.error("history: %s: outcome of %s refused: %s", path, line.record.queue_id, refusal)
            else:
                kept.append(line)
        if len(kept) == len(lines):
            raise StoreError("a refusal that does not repeat itself")
        return kept

    def _tidy(self) -> None:
        """Once a day: outcomes past retention, and journal files that nobody needs."""
        now = self.now()
        if self._tidied == now.date().isoformat():
            return
        if self.retention_days:
            gone = retention.purge(self.store, retention.first_day_kept(now, self.retention_days))
            log.info("history: %d outcomes older than %d days removed", gone, self.retention_days)
        if self.delete_after_days:
            for path in journal_files.listed(self.journal):
                self._delete_if_done(path, now)
        self._tidied = now.date().isoformat()

    def _delete_if_done(self, path: Path, now: datetime) -> None:
        if self._writer is None or not journal_files.is_settled(path, now, self.delete_after_days):
            return
        digest = journal_files.identity(path)
        reached = self._writer.reached(digest) if digest else None
        # A file with lines that we could not read is the only place where they are: a person decides.
        if reached and reached.position == path.stat().st_size and not reached.unreadable:
            path.unlink()
            log.info("history: %s is in the database, and deleted", path)


def _advance(path: Path, progress: _Progress, piece: Piece, lines: list[ParsedLine]) -> Advance:
    return Advance(progress.digest, path.name, piece.start, piece.end, len(piece.lines) - len(lines))
