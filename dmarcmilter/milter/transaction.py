"""One message on its way in, as exactly one of three states: Evaluating, Skipped or Failed.

The daemon and `dmarcmilter check` both evaluate through Evaluating, so they cannot differ.
"""

import time
from dataclasses import dataclass, field

from dmarcmilter import pipeline
from dmarcmilter.dns.lookup import MessageDns
from dmarcmilter.dns.message_lookup import LimitedLookup
from dmarcmilter.mail.message import Envelope, Header, Message
from dmarcmilter.metrics.metric_definitions import SkipReason
from dmarcmilter.milter.message_trace import Trace
from dmarcmilter.outcome import Effort, Outcome
from dmarcmilter.pipeline import Reading
from dmarcmilter.receiver import Receiver
from dmarcmilter.response import arc_sealing_decision
from dmarcmilter.response.actions import Response
from dmarcmilter.value import Value

MAX_RECIPIENTS = 10_000
"""Different recipients of one message that are kept; further ones are left out, and the envelope says so.

Postfix accepts 1,000 for a message by default."""
MAX_RECIPIENT_BYTES = 4_194_304
"""Bytes of all recipients of one message that are kept; further ones are left out, and the envelope says so."""


class Failed(Value):
    """A message that cannot be evaluated because of an internal error: answered by `[milter] on_internal_error`."""

    keep_results: bool
    """Authentication-Results fields under our authserv-id may stay: the client is in a trusted network."""
    lookup: MessageDns | None = None
    trace: Trace | None = None

    def close(self) -> None:
        """Release the DNS queries in flight. Safe to call again."""
        if self.lookup is not None:
            self.lookup.close()

    def end(self, last_line: str) -> None:
        """Release everything and write the trace. Safe to call again."""
        self.close()
        if self.trace is not None:
            self.trace.end(last_line)


@dataclass(slots=True)
class Skipped:
    """A message that is not evaluated, by `[ignore]`."""

    reason: SkipReason
    keep_results: bool
    """Authentication-Results fields under our authserv-id may stay: the client is in a trusted network."""
    failed: Failed = field(init=False)
    """The state after an internal error. Made in advance: when it is needed, memory may have run out."""

    def __post_init__(self) -> None:
        self.failed = Failed(self.keep_results)

    def end(self, last_line: str) -> None:
        """Do nothing: a skipped message has no DNS queries and no trace."""


class Evaluating:
    """A message that is being evaluated: DNS queries started early, the body hashed while it arrives.

    libmilter may run the callbacks of one message on different threads, one after another but never two at once.
    """

    def __init__(
        self,
        envelope: Envelope,
        lookup: MessageDns,
        receiver: Receiver,
        trace: Trace | None = None,
        *,
        mta_rewrites: bool = False,
    ) -> None:
        """`mta_rewrites`: the MTA may write the From field anew when it delivers the message, as Sendmail does."""
        self.trace = trace
        self.failed = Failed(keep_results=False, lookup=lookup, trace=trace)
        """The state after an internal error. Made in advance: when it is needed, memory may have run out."""
        self._envelope = envelope
        self._lookup = lookup
        self._receiver = receiver
        self._mta_rewrites = mta_rewrites
        self._headers: tuple[Header, ...] = ()
        self._truncated = ""
        self._size = 0
        self._reading: Reading | None = None
        self._recipients: dict[bytes, None] = {}
        self._recipient_bytes = 0
        self._more_recipients = False
        self._header_seconds = 0.0
        self._body_seconds = 0.0
        self._prefetch(pipeline.names_at_mail_from(envelope))
        for path in envelope.recipients:
            self.recipient(path)

    def recipient(self, path: bytes) -> None:
        """Add a recipient, without angle brackets. Kept only if the configuration uses recipients."""
        if not self._receiver.needs_recipients or path in self._recipients:
            return
        self._recipient_bytes += len(path)
        if len(self._recipients) >= MAX_RECIPIENTS or self._recipient_bytes > MAX_RECIPIENT_BYTES:
            self._more_recipients = True
        else:
            self._recipients[path] = None

    def end_of_headers(self, headers: tuple[Header, ...], *, size: int, truncated: str = "") -> None:
        """Read the whole header; `truncated` names the limit that cut it short."""
        start = time.perf_counter()
        self._headers, self._truncated = headers, truncated
        self._size += size
        further_hashes = () if self._receiver.sealer is None else (arc_sealing_decision.BODY,)
        self._reading = pipeline.read(
            headers, truncated=truncated, further_hashes=further_hashes, mta_rewrites=self._mta_rewrites
        )
        if self.trace is not None:
            self.trace.header(self._reading, fields=len(headers), size=size, truncated=truncated)
        self._prefetch(pipeline.names_at_end_of_headers(self._reading, self._receiver.pipeline))
        self._header_seconds += time.perf_counter() - start

    def body(self, chunk: bytes) -> None:
        """Hash the next chunk of the body."""
        start = time.perf_counter()
        self._size += len(chunk)
        if self._reading is not None:
            self._reading.body.feed(chunk)
        self._body_seconds += time.perf_counter() - start

    def end_of_message(self, queue_id: str, authserv_id: str) -> tuple[Outcome, Response]:
        """Take the message through the pipeline, and seal it if `[arc.seal]` says so.

        The queue id comes this late because not every MTA knows it before.
        """
        start = time.perf_counter()
        reading = self._reading or pipeline.read(())
        envelope = self._envelope.completed(queue_id, tuple(self._recipients), more_recipients=self._more_recipients)
        message = Message(envelope, self._headers, self._size, self._truncated)
        unaligned = LimitedLookup(self._lookup, self._receiver.limits.unaligned_dns_seconds)
        outcome, response = pipeline.process(
            message,
            reading,
            self._lookup,
            self._receiver.pipeline,
            authserv_id=authserv_id,
            hint=self._lookup.start,
            unaligned=unaligned,
            effort=lambda: self._effort(start),
        )
        if self.trace is not None:
            self.trace.outcome(outcome)
        if self._receiver.sealer is None:
            return outcome, response
        # None: the MTA sent no end of header.
        body_hash = None if self._reading is None else reading.body.finish().get(arc_sealing_decision.BODY)
        return arc_sealing_decision.sealed(outcome, response, body_hash, self._receiver.sealer)

    def end(self, last_line: str = "end of message") -> None:
        """Release the DNS queries in flight and write the trace. Safe to call again."""
        self.failed.end(last_line)

    def _prefetch(self, names: list[str]) -> None:
        for name in names:
            self._lookup.start(name, "TXT")

    def _effort(self, start: float) -> Effort:
        lookup = self._lookup
        return Effort(
            dns_queries=lookup.queries,
            dns_cache_hits=lookup.cache_hits,
            dns_milliseconds=lookup.milliseconds,
            milliseconds=(time.perf_counter() - start) * 1000,
            header_milliseconds=self._header_seconds * 1000,
            body_milliseconds=self._body_seconds * 1000,
            dns_spent=lookup.spent,
        )


Transaction = Evaluating | Skipped | Failed
"""The message between MAIL and its end (RFC 5321 section 3.3), in exactly one state."""
