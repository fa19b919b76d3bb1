"""Verify report destinations: several at once, while reports are sent, and for a limited time.

A name server that does not answer holds one thread for seconds. Destinations that were not verified in time stay as
they were, and the next run verifies them.
"""

import logging
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue

from dmarcmilter.dmarc.discovery import Method, discover
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.dns.lookup import Lookup
from dmarcmilter.mail.domain import Domain
from dmarcmilter.reports.delivery.deliveries_table import Delivery, ReportKind
from dmarcmilter.reports.delivery.destination_verification import Destination, DestinationVerification, verify
from dmarcmilter.value import Value

log = logging.getLogger(__name__)

VERIFY_SECONDS = 600.0
"""Seconds of one run for the destinations of one kind of report. The next run verifies the rest."""
VERIFY_AT_ONCE = 16
"""Destinations verified at once."""
TAGS = {ReportKind.AGGREGATE: "rua", ReportKind.FAILURE: "ruf"}
"""The tag of the DMARC record that names the destinations of each kind of report."""

DeliveryTurn = tuple[int, int, int]
"""Turn of the organization, rank within the turn, id of the delivery: the smallest is done first."""
VerifiedDelivery = tuple[DeliveryTurn, Delivery, Destination]
"""A delivery with its turn, and what DNS said about its destination."""


class ReportDns(Value):
    """DNS and the public suffix list, as report runs use them."""

    lookups: Callable[[], AbstractContextManager[Lookup]]
    """Opens a lookup for one destination, with the DNS budget of one message."""
    suffixes: Suffixes
    method: Method

    def verify(self, domain: str, uri: str, kind: ReportKind = ReportKind.AGGREGATE) -> Destination:
        """Ask DNS whether this destination wants reports about the policy domain."""
        with self.lookups() as lookup:

            def organizational_domain(name: Domain) -> Domain | None:
                return discover(name, lookup, method=self.method, suffixes=self.suffixes).organizational_domain

            return verify(Domain(domain), uri, lookup, organizational_domain, tag=TAGS[kind])


class Verifier:
    """Threads that ask DNS. Everything else stays in the caller's thread."""

    def __init__(
        self,
        verify: Callable[[Delivery], Destination],
        *,
        seconds: float = VERIFY_SECONDS,
        at_once: int = VERIFY_AT_ONCE,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._verify = verify
        self._at_once = at_once
        self._timer = timer
        self._end = timer() + seconds
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="verify")
        self._answers: SimpleQueue[VerifiedDelivery] = SimpleQueue()
        self._waiting: dict[int, tuple[DeliveryTurn, Delivery]] = {}
        """Deliveries that are being verified, by id."""

    @property
    def is_over(self) -> bool:
        """Whether the time for verification is over."""
        return self._timer() >= self._end

    @property
    def waiting(self) -> int:
        """Number of destinations that are being verified."""
        return len(self._waiting)

    @property
    def has_room(self) -> bool:
        return len(self._waiting) < self._at_once and not self.is_over

    @property
    def turns(self) -> Collection[DeliveryTurn]:
        """The turns of the deliveries that are being verified."""
        return [turn for turn, _ in self._waiting.values()]

    def start(self, turn: DeliveryTurn, delivery: Delivery) -> None:
        self._waiting[delivery.id] = turn, delivery
        self._threads.submit(self._work, turn, delivery)

    def next_answer(self, seconds: float) -> VerifiedDelivery | None:
        """The next answer; None if none comes within these seconds. When the time for verification is over, each
        delivery that still waits gets the answer UNKNOWN.
        """
        try:
            answer = self._answers.get(timeout=max(0.0, min(seconds, self._end - self._timer())))
        except Empty:
            if not self.is_over or not self._waiting:
                return None
            turn, delivery = next(iter(self._waiting.values()))
            reason = "DNS did not answer in the time of the run"
            answer = turn, delivery, Destination(delivery.uri, DestinationVerification.UNKNOWN, reason=reason)
        # An answer that comes too late is ignored: the delivery was postponed.
        return answer if self._waiting.pop(answer[1].id, None) else None

    def close(self) -> None:
        """Does not wait for threads that still ask DNS; they end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _work(self, turn: DeliveryTurn, delivery: Delivery) -> None:
        try:
            destination = self._verify(delivery)
        except Exception as error:
            # A bug for one destination must not stop the reports to all others.
            log.exception("reports: %s: internal error", delivery.uri)
            destination = Destination(
                delivery.uri, DestinationVerification.UNKNOWN, reason=f"internal error: {type(error).__name__}"
            )
        self._answers.put((turn, delivery, destination))
