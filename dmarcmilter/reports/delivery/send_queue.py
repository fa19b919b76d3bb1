"""What one run may send of one kind of report: deliveries that are due, in turns between organizations, and limits.

What is verified is sent while other destinations are still being verified; but no organization gets another report
while a destination of one that had fewer is still being verified.
"""

from collections import Counter, deque
from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import islice

from dmarcmilter.config.schema import ReportsSection
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.reports.delivery.deliveries_table import (
    DAY_SECONDS,
    Deliveries,
    DeliveryState,
    DueDelivery,
    ReportKind,
)
from dmarcmilter.reports.delivery.organization_turns import organization_of, provider_of, turns_within_providers
from dmarcmilter.reports.delivery.parallel_verification import DeliveryTurn, Verifier
from dmarcmilter.value import Value

HOUR_SECONDS = 3600


class Limits(Value):
    """How many reports of one kind may be sent."""

    per_hour: int
    per_domain: int
    """To the addresses of one organization, within `seconds`."""
    seconds: int


def limits_of(settings: ReportsSection, kind: ReportKind) -> Limits:
    if kind is ReportKind.FAILURE:
        return Limits(settings.failure.max_per_hour, settings.failure.max_per_domain, HOUR_SECONDS)
    return Limits(settings.max_per_hour, settings.max_per_domain, DAY_SECONDS)


class SendQueue:
    """The deliveries of one kind that are due, and how many may still be sent."""

    def __init__(
        self, kind: ReportKind, deliveries: Deliveries, settings: ReportsSection, suffixes: Suffixes, now: int
    ) -> None:
        self.kind = kind
        self.limits = limits_of(settings, kind)
        self._suffixes = suffixes
        sent = deliveries.sent_since(kind, now - self.limits.seconds, now)
        sent_in_hour = deliveries.sent_since(kind, now - HOUR_SECONDS, now)
        self.left = self.limits.per_hour - sum(count for _, _, count in sent_in_hour)
        """Reports that may still be sent within this hour."""
        self._sent_to: Counter[str] = Counter()
        """Reports sent within the period of the limit, by organization of the address."""
        for _, host, count in sent:
            self._sent_to[self.organization_of_host(host)] += count
        # A failed attempt counts as a turn: otherwise addresses that fail would come first in each run.
        earlier = Counter(deliveries.failed_attempts_since(kind, now - self.limits.seconds, now))
        for organization, _, count in sent:
            earlier[organization] += count
        # One more than the limit shows that something is left.
        due = deliveries.due(kind, now, self.limits.per_hour + 1)
        self._unverified, self._ready = self._in_turns(due, earlier)

    def _in_turns(
        self, due: Iterable[DueDelivery], earlier: Counter[str]
    ) -> tuple[deque[DeliveryTurn], list[DeliveryTurn]]:
        """Deliveries to verify, in the order of turns, and a heap of those to send."""
        numbered = turns_within_providers(
            due,
            lambda delivery: delivery.organization,
            lambda organization: provider_of(self._suffixes, organization),
            earlier,
        )
        ordered = sorted((turn, delivery.rank, delivery.id, delivery.state) for turn, delivery in numbered)
        unverified = deque(item[:3] for item in ordered if item[3] is DeliveryState.UNVERIFIED)
        return unverified, [item[:3] for item in ordered if item[3] is DeliveryState.PENDING]

    def organization_of_host(self, host: str) -> str:
        return organization_of(self._suffixes, host)

    @property
    def is_empty(self) -> bool:
        return not (self._unverified or self._ready)

    @property
    def unverified(self) -> int:
        """Deliveries whose verification has not begun."""
        return len(self._unverified)

    @property
    def ready(self) -> int:
        """Deliveries that may be sent."""
        return len(self._ready)

    def next_unverified(self) -> DeliveryTurn:
        return self._unverified.popleft()

    def next_ready(self) -> DeliveryTurn:
        return heappop(self._ready)

    def add_ready(self, turn: DeliveryTurn) -> None:
        heappush(self._ready, turn)

    def is_verifying(self, verifier: Verifier) -> bool:
        return bool(verifier.waiting or self._unverified) and not verifier.is_over

    def may_send(self, verifier: Verifier) -> bool:
        """Whether a delivery is ready, and none of an earlier turn is still to be verified."""
        if not self._ready or not self.is_verifying(verifier):
            return bool(self._ready)
        earliest = [turn for turn, *_ in [*islice(self._unverified, 1), *verifier.turns]]
        return self._ready[0][0] <= min(earliest)

    def is_full(self, organization: str) -> bool:
        """Whether addresses of this organization got as many reports as the limit allows."""
        return self._sent_to[organization] >= self.limits.per_domain

    def count(self, organization: str) -> None:
        """One report was handed over, to an address of this organization."""
        self.left -= 1
        self._sent_to[organization] += 1

    def left_over(self, verifier: Verifier) -> str:
        """Why something is left for the next run; empty if nothing is."""
        unverified = self.unverified + verifier.waiting
        if self.left <= 0 and (self._ready or unverified):
            return f"{self.limits.per_hour} {self.kind} reports were sent within the hour, the rest waits"
        if unverified:
            return f"{unverified} destinations were not verified in time and wait for the next run"
        return "the time of a run is over, the rest waits" if self._ready else ""
