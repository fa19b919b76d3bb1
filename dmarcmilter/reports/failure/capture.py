"""In the filter, after the verdict: what failed is laid aside for a failure report.

The mail does not wait: a message is looked at and queued, a thread of its own redacts and writes. Whatever goes wrong
is logged and counted, and costs a report, never a message.
"""

import logging
import queue
import secrets
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from dmarcmilter.mail.message import Header
from dmarcmilter.outcome import OutcomeRecord
from dmarcmilter.reports.failure.incident import Observed, incident_of, reason_not_to_report
from dmarcmilter.reports.failure.incident_spool import FullError, IncidentSpool
from dmarcmilter.reports.failure.redaction import Redaction, month_key, shown_fields

log = logging.getLogger(__name__)

MAX_WAITING = 100
"""Messages between verdict and disk, each with at most 30 fields of 3,600 octets."""
ID_BYTES = 8
RETRY_SECONDS = 1.0
"""After a failure, so that a full disk is not tried again by each message."""
COMPLAIN_SECONDS = 60.0
"""Between two lines of the log."""
CLOSE_SECONDS = 2.0

Waiting = tuple[OutcomeRecord, Observed]


class Capture:
    def __init__(self, spool: IncidentSpool, key: bytes, *, on_none: bool = False) -> None:
        self._spool = spool
        self._key = key
        self._on_none = on_none
        self._waiting: queue.Queue[Waiting | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._retry_at = self._complain_at = 0.0
        self.captured = 0
        self.dropped = 0
        """Incidents that could not be kept."""

    def offer(self, record: OutcomeRecord, fields: Sequence[Header], mail_from: bytes) -> None:
        """Called for each message; most are not asked for. Raises nothing and waits for nothing."""
        try:
            self._offer(record, Observed(fields, mail_from.decode("utf-8", "surrogateescape")))
        except Exception:
            # A bug here must not decide over mail.
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
        """Write what waits, within a moment."""
        if self._thread is not None:
            try:
                self._waiting.put(None, timeout=CLOSE_SECONDS)
            except queue.Full:
                return
            self._thread.join(CLOSE_SECONDS)

    def _start(self) -> None:
        """Not before it is needed: most never have anything to write."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="failure reports", daemon=True)
                self._thread.start()

    def _write_all(self) -> None:
        while (found := self._waiting.get()) is not None:
            try:
                self._write(*found)
            except Exception:
                log.exception("failure report: internal error")

    def _write(self, record: OutcomeRecord, observed: Observed) -> None:
        if time.monotonic() < self._retry_at:
            self.dropped += 1
            return
        redaction = Redaction(month_key(self._key, datetime.now(UTC)))
        try:
            self._spool.put(incident_of(record, observed, redaction, secrets.token_hex(ID_BYTES)))
            self.captured += 1
        except FullError as error:  # for this domain perhaps, and not for the next
            self._drop(str(error))
        except OSError as error:
            self._drop(error.strerror or str(error))
            self._retry_at = time.monotonic() + RETRY_SECONDS

    def _drop(self, reason: str) -> None:
        self.dropped += 1
        if time.monotonic() >= self._complain_at:
            self._complain_at = time.monotonic() + COMPLAIN_SECONDS
            log.warning("failure report: not kept: %s; %d since the start", reason, self.dropped)
