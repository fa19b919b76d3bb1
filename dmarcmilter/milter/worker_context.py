"""The resources that the sessions of one worker process share."""

import logging
import threading
import time
from dataclasses import dataclass, field

from dmarcmilter.dns.lookup import MessageDns
from dmarcmilter.dns.message_lookup import MessageLookup
from dmarcmilter.dns.resolver import Resolver
from dmarcmilter.history.journal import Journal
from dmarcmilter.metrics.worker_metrics import WorkerTally
from dmarcmilter.milter.message_trace import Trace
from dmarcmilter.milter.turn_scheduler import Turn, Turns
from dmarcmilter.outcome import ApplyError, Outcome
from dmarcmilter.outcome_record import OutcomeRecord
from dmarcmilter.policy.rules import Action
from dmarcmilter.receiver import Receiver
from dmarcmilter.reports.failure.capture import Capture

log = logging.getLogger(__name__)


@dataclass(slots=True)
class WorkerContext:
    """One configuration, and what this worker process uses to work by it. Shared by all of its sessions."""

    receiver: Receiver
    resolver: Resolver
    journal: Journal
    capture: Capture | None
    """Keeps failed messages for failure reports; None: no failure reports are sent."""
    tally: WorkerTally
    turns: Turns = field(default_factory=Turns)
    in_progress: set[object] = field(default_factory=set)
    """Sessions between MAIL and the end of their message."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while `in_progress` changes."""

    def lookup(self, turn: Turn, trace: Trace | None) -> MessageDns:
        """The DNS lookup of one message, which lets other messages work while it waits."""
        limits = self.receiver.limits
        return MessageLookup(
            self.resolver,
            limits.dns_seconds,
            limits.dns_queries,
            before_wait=turn.lend,
            after_lookup=turn.take,
            observe=trace.dns if trace is not None else None,
        )

    def began(self, session: object) -> None:
        """Count the session's message as in progress."""
        with self.lock:
            self.in_progress.add(session)
            self.tally.in_progress(len(self.in_progress))

    def ended(self, session: object) -> None:
        """The session has no message in progress any more. Safe to call again."""
        with self.lock:
            self.in_progress.discard(session)
            self.tally.in_progress(len(self.in_progress))

    def record(self, outcome: Outcome) -> None:
        """Append the outcome to the journal, count it, and keep what a later message or a report needs of it.

        Nothing raises after the outcome was recorded: the reply has to be the recorded one.
        """
        start = time.perf_counter()
        record = outcome.record()
        is_written = self.journal.append(record)
        try:
            self._after_recording(outcome, record, time.perf_counter() - start, is_written=is_written)
        except Exception:
            log.exception("%s: internal error after the outcome was recorded", outcome.message.envelope.queue_id or "-")

    def _after_recording(
        self, outcome: Outcome, record: OutcomeRecord, journal_seconds: float, *, is_written: bool
    ) -> None:
        self.tally.evaluated(outcome, journal_seconds=journal_seconds, written=is_written)
        is_deferred = outcome.decision.action is Action.TEMPFAIL and outcome.apply_error in (None, ApplyError.REPLY)
        deferrals = self.receiver.pipeline.facts.deferrals
        if is_deferred and deferrals is not None:
            deferrals.record(outcome.message)
        if self.capture is not None:
            self.capture.offer(record, outcome.message.headers, outcome.message.envelope.mail_from)
