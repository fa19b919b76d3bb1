"""What the sessions of one worker process share."""

import logging
import threading
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from dmarcmilter.config.schema import InternalError
from dmarcmilter.dns import MessageLookup, Resolver
from dmarcmilter.history.journal import Journal
from dmarcmilter.metrics.worker_metrics import Tally
from dmarcmilter.milter.message_trace import Trace
from dmarcmilter.milter.turn_scheduler import Turn, Turns
from dmarcmilter.outcome import ApplyError, Outcome
from dmarcmilter.policy.types import Action
from dmarcmilter.receiver import Receiver
from dmarcmilter.reports.failure.capture import Capture

log = logging.getLogger(__name__)

Network = IPv4Network | IPv6Network


@dataclass(slots=True)
class Service:
    """Immutable but for the resolver's cache, the journal's file and the set of sessions in progress."""

    receiver: Receiver
    resolver: Resolver
    journal: Journal
    authserv_id: str
    """Empty: the MTA's {j}, else the host name."""
    ignored_networks: tuple[Network, ...]
    ignore_authenticated: bool
    dns_budget: float
    dns_queries: int
    max_header_fields: int
    max_header_bytes: int
    on_internal_error: InternalError
    in_progress: set[object] = field(default_factory=set)
    """Sessions between MAIL and the end of their message."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    turns: Turns = field(default_factory=Turns)
    tally: Tally = field(default_factory=Tally)
    failures: Capture | None = None
    trusted_networks: tuple[Network, ...] = ()
    """Of the ignored ones, those whose Authentication-Results in our name stand (RFC 8601 5)."""

    @property
    def needs_recipients(self) -> bool:
        return self.receiver.needs_recipients

    def lookup(self, turn: Turn, trace: Trace | None = None) -> MessageLookup:
        observe = trace.dns if trace is not None else None
        return MessageLookup(self.resolver, self.dns_budget, self.dns_queries, turn, observe)

    def began(self, session: object) -> None:
        with self.lock:
            self.in_progress.add(session)
            self.tally.in_progress(len(self.in_progress))

    def ended(self, session: object) -> None:
        with self.lock:
            self.in_progress.discard(session)
            self.tally.in_progress(len(self.in_progress))

    @property
    def on_failure(self) -> Action:
        """What is done with a message that a failure of ours, or of the MTA's, kept from being handled as decided."""
        return Action.ACCEPT if self.on_internal_error is InternalError.ACCEPT else Action.TEMPFAIL

    def keep(self, outcome: Outcome) -> None:
        """Append the outcome to the journal, count it, and keep of it what a later message or report needs.

        Once it is recorded nothing raises: the reply has to be the one that the record tells of.
        """
        start = time.perf_counter()
        record = outcome.record()
        written = self.journal.append(record)
        try:
            self._note(outcome, record, journal_seconds=time.perf_counter() - start, written=written)
        except Exception:
            log.exception("%s: internal error after the outcome was recorded", outcome.message.envelope.queue_id or "-")

    def _note(self, outcome: Outcome, record: dict[str, Any], *, journal_seconds: float, written: bool) -> None:
        self.tally.judged(outcome, journal_seconds=journal_seconds, written=written)
        is_deferred = outcome.decision.action is Action.TEMPFAIL and outcome.apply_error in (None, ApplyError.REPLY)
        deferrals = self.receiver.pipeline.facts.deferrals
        if is_deferred and deferrals is not None:
            deferrals.record(outcome.message)
        if self.failures is not None:
            self.failures.offer(record, outcome.message.headers, outcome.message.envelope.mail_from)
