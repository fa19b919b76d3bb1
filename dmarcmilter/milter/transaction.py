"""One message on its way in: questions asked early, the body hashed as it comes, then judged.

The daemon and `dmarcmilter check` both go through here, so they cannot differ.
"""

import time
from dataclasses import replace

from dmarcmilter import pipeline
from dmarcmilter.auth.body_hash import BodyHash, BodyPlan
from dmarcmilter.dns import Brief, MessageLookup
from dmarcmilter.mail.domain import LabelBudget
from dmarcmilter.mail.message import Envelope, Header, Message
from dmarcmilter.milter.message_trace import Trace
from dmarcmilter.outcome import Effort, Outcome
from dmarcmilter.pipeline import Reading
from dmarcmilter.receiver import Receiver

MAX_RECIPIENTS = 10_000
"""Different recipients of one message that are kept; Postfix takes 1,000 of a message unless told otherwise."""
MAX_RECIPIENT_OCTETS = 4_194_304
"""Of them all together."""


class Examination:
    """Callbacks of one message may come on different threads, one after another; never two at once."""

    def __init__(
        self, envelope: Envelope, lookup: MessageLookup, receiver: Receiver, trace: Trace | None = None
    ) -> None:
        self._trace = trace
        self.envelope = replace(envelope, recipients=())
        self._lookup = lookup
        self._receiver = receiver
        self._headers: tuple[Header, ...] = ()
        self._truncated = ""
        self._size = 0
        self._reading: Reading | None = None
        self._recipients: dict[bytes, None] = {}
        self._recipient_octets = 0
        self._more_recipients = False
        self._header_seconds = 0.0
        self._body_seconds = 0.0
        self._prefetch(pipeline.names_at_mail_from(envelope))
        for path in envelope.recipients:
            self.recipient(path)

    def recipient(self, path: bytes) -> None:
        """Without angle brackets. Kept only where something asks for it."""
        if not self._receiver.needs_recipients or path in self._recipients:
            return
        self._recipient_octets += len(path)
        if len(self._recipients) >= MAX_RECIPIENTS or self._recipient_octets > MAX_RECIPIENT_OCTETS:
            self._more_recipients = True
        else:
            self._recipients[path] = None

    def end_of_headers(self, headers: tuple[Header, ...], *, size: int, truncated: str = "") -> None:
        """Take the whole header; `truncated` names the limit that cut it short."""
        start = time.perf_counter()
        self._headers, self._truncated = headers, truncated
        self._size += size
        self._reading = pipeline.read(headers, truncated=truncated, seal=self._receiver.sealer is not None)
        if self._trace is not None:
            self._trace.header(self._reading, fields=len(headers), size=size, truncated=truncated)
        self._prefetch(pipeline.names_at_end_of_headers(self._reading, self._receiver.pipeline))
        self._header_seconds += time.perf_counter() - start

    def body(self, chunk: bytes) -> None:
        start = time.perf_counter()
        self._size += len(chunk)
        if self._reading is not None:
            self._reading.body.feed(chunk)
        self._body_seconds += time.perf_counter() - start

    def outcome(self, queue_id: str) -> Outcome:
        """Judge the message. The queue id is known for sure only at its end."""
        start = time.perf_counter()
        reading = self._reading or pipeline.read(())
        envelope = replace(
            self.envelope,
            queue_id=queue_id,
            recipients=tuple(self._recipients),
            more_recipients=self._more_recipients,
        )
        message = Message(envelope, self._headers, self._size, self._truncated)
        strangers = Brief(self._lookup, self._receiver.unaligned_budget)
        # Names in the envelope have a budget apart from the header's, so that no header can hide a recipient.
        with LabelBudget():
            outcome = pipeline.process(
                message, reading, self._lookup, self._receiver.pipeline, self._lookup.start, strangers=strangers
            )
        if self._trace is not None:
            self._trace.outcome(outcome)
        return replace(outcome, effort=self._effort(start))

    def body_hash(self, plan: BodyPlan) -> BodyHash | None:
        """After outcome(). None: the MTA never said that the header ended, or nobody planned it."""
        return self._reading.body.finish().get(plan) if self._reading is not None else None

    def close(self) -> None:
        """Give back what DNS still holds. Safe to call again."""
        self._lookup.close()

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
