"""Capture incidents for failure reports, in a worker, after the decision about a message.

Mail never waits: messages are checked and queued, and a separate thread redacts and writes them. An error is logged and
counted; it can cost a report, never a message.
"""

import logging
import queue
import secrets
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from dmarcmilter.mail.message import Header
from dmarcmilter.outcome_record import OutcomeRecord
from dmarcmilter.reports.failure.incident import Observed, incident_of, reason_not_to_report
from dmarcmilter.reports.failure.incident_spool import FullError, IncidentSpool
from dmarcmilter.reports.failure.redaction import Redaction, month_key, shown_fields

log = logging.getLogger(__name__)

MAX_WAITING = 100
"""Messages waiting for the thread, each with at most 30 fields of 3,600 bytes. Further ones are dropped."""
ID_BYTES = 8
"""Random bytes of an incident's id."""
RETRY_SECONDS = 1.0
"""Seconds after a failed write until the next one, so that a full disk is not tried for each message."""
WARNING_SECONDS = 60.0
"""Seconds between two warnings in the log."""
CLOSE_SECONDS = 2.0
"""Seconds that the end of a worker waits for the queue to take the end mark, and for the thread."""

Waiting = tuple[OutcomeRecord, Observed]


class Capture:
    """Offers each message to the incident spool."""

    def __init__(self, spool: IncidentSpool, key: bytes, *, on_none: bool = False) -> None:
        self._spool = spool
        self._key = key
        self._on_none = on_none
        self._waiting: queue.Queue[Waiting | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._retry_at = self._next_warning_at = 0.0
        self.dropped = 0
        """Incidents that could not be written."""

    def offer(self, record: OutcomeRecord, fields: Sequence[Header], mail_from: bytes) -> None:
        """Capture a message if its policy asks for a report. Called for each message; never raises, never waits."""
        try:
            self._offer(record, Observed(fields, mail_from.decode("utf-8", "surrogateescape")))
        except Exception:
            # A bug here must not change what happens to mail.
            log.exception("failure report: internal error")

    def _offer(self, record: OutcomeRecord, observed: Observed) -> None:
        if reason_not_to_report(record, observed, on_none=self._on_none):
            return
        self._start()
        try:
            self._waiting.put_nowait((record, Observed(shown_fields(observed.fields), observed.mail_from)))
        except queue.Full:
            self._drop("too many at once")

    def close(self) -> None:
        """Write the waiting messages, within a few seconds."""
        if self._thread is not None:
            try:
                self._waiting.put(None, timeout=CLOSE_SECONDS)
            except queue.Full:
                return
            self._thread.join(CLOSE_SECONDS)

    def _start(self) -> None:
        """Start the thread when it is first needed: most workers never write an incident."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="failure reports", daemon=True)
                self._thread.start()

    def _write_all(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            try:
                self._write(*waiting)
            except Exception:
                log.exception("failure report: internal error")

    def _write(self, record: OutcomeRecord, observed: Observed) -> None:
        if time.monotonic() < self._retry_at:
            self.dropped += 1
            return
        redaction = Redaction(month_key(self._key, datetime.now(UTC)))
        try:
            self._spool.put(incident_of(record, observed, redaction, secrets.token_hex(ID_BYTES)))
        except FullError as error:  # of this organization or client: others may have room
            self._drop(str(error))
        except OSError as error:
            self._drop(error.strerror or str(error))
            self._retry_at = time.monotonic() + RETRY_SECONDS

    def _drop(self, reason: str) -> None:
        self.dropped += 1
        if time.monotonic() >= self._next_warning_at:
            self._next_warning_at = time.monotonic() + WARNING_SECONDS
            log.warning("failure report: not kept: %s; %d since the start", reason, self.dropped)
