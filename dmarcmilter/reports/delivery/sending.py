"""Verify the destinations of reports that are due, and send these, organizations taking turns within the limits."""

import logging
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heappop, heappush
from itertools import islice

from dmarcmilter.config.schema import ReportFormat, Reports
from dmarcmilter.dmarc.discovery import Method, discover
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.dns.lookup import Lookup
from dmarcmilter.history.store import StoreError
from dmarcmilter.mail.domain import Domain
from dmarcmilter.reports.aggregate.mail_message import Sender, compose
from dmarcmilter.reports.aggregate.planning import submitter_of
from dmarcmilter.reports.delivery.destination_verification import Asked, Verifier
from dmarcmilter.reports.delivery.destinations import Destination, Verification, excluded, size_limit, verify
from dmarcmilter.reports.delivery.dkim_signing import Signer, signed
from dmarcmilter.reports.delivery.ledger import Ledger
from dmarcmilter.reports.delivery.organization_turns import organization_of, provider_of, turns_within_providers
from dmarcmilter.reports.delivery.relay import (
    GIVE_UP_AFTER,
    LEAST_ATTEMPTS,
    Attempt,
    Mail,
    Result,
    Transport,
    retry_seconds,
)
from dmarcmilter.reports.delivery.report_tables import Delivery, Due, Kind, State
from dmarcmilter.reports.delivery.suppressions import Lock, Standing
from dmarcmilter.reports.failure.mail_message import addressed

log = logging.getLogger(__name__)

HOUR = 3600
DAY = 86_400
WAIT_SECONDS = 1.0
"""Seconds to wait for the answer of a destination before the lock of the run is refreshed."""

Turn = tuple[int, int, int]
"""Turn of the organization, rank within the turn, id of the delivery: what sorts first is done first."""

Progress = Callable[[str, int, int], None]
"""What is done, how much of it, of how much."""


@dataclass(frozen=True, slots=True)
class World:
    """What destinations are looked up with."""

    lookups: Callable[[], AbstractContextManager[Lookup]]
    """One for each report: each has the budget of one message."""
    suffixes: Suffixes
    method: Method


@dataclass(slots=True)
class Sum:
    """What a run did."""

    planned: int = 0
    withheld: int = 0
    sent: int = 0
    refused: int = 0
    failed: int = 0
    uncertain: int = 0
    postponed: int = 0
    stopped: str = ""
    """Why the run could not do its work; an operator has to look."""
    left: str = ""
    """Why something is left for the next run, which will go on: a limit is reached, or the time is over."""
    troubles: int = 0
    """Deliveries at which the relay ended the connection or did not answer."""
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Limits:
    per_hour: int
    per_domain: int
    """To the addresses of one organization."""
    seconds: int
    """Within which the second one holds."""


def limits_of(settings: Reports, kind: Kind) -> Limits:
    if kind is Kind.FAILURE:
        return Limits(settings.failure.max_per_hour, settings.failure.max_per_domain, HOUR)
    return Limits(settings.max_per_hour, settings.max_per_domain, DAY)


TAGS = {Kind.AGGREGATE: "rua", Kind.FAILURE: "ruf"}


def asked(world: World, domain: str, uri: str, kind: Kind = Kind.AGGREGATE) -> Destination:
    """One destination, looked up."""
    with world.lookups() as lookup:

        def organization(name: Domain) -> Domain | None:
            return discover(name, lookup, method=world.method, suffixes=world.suffixes).organizational_domain

        return verify(Domain(domain), uri, lookup, organization, tag=TAGS[kind])


def sender_of(settings: Reports) -> Sender:
    return Sender(settings.org_name or submitter_of(settings), settings.email)


def refusal(settings: Reports, domain: str, address: str) -> str:
    """Why we send nothing there, whatever the destination says."""
    if address.lower() == settings.email.lower():
        return "it is the address that our reports come from"
    entry = excluded(domain, address, settings.exclude)
    return f"{entry} is excluded" if entry else ""


@dataclass(slots=True)
class _Quota:
    """What may still be sent."""

    left: int
    """Of this hour."""
    per_host: int
    lately: Counter[str]
    """Sent within the period of the limit, by organization of the address."""


class Sending:
    def __init__(  # noqa: PLR0917  what a run is made of
        self, ledger: Ledger, standing: Standing, lock: Lock, settings: Reports, signer: Signer | None, world: World
    ) -> None:
        self._ledger = ledger
        self._standing = standing
        self._lock = lock
        self._settings = settings
        self._signer = signer
        self._world = world

    def deliver(  # noqa: PLR0917  what a run is made of
        self,
        kind: Kind,
        transport: Transport,
        now: Callable[[], int],
        done: Sum,
        progress: Progress,
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Verify and send what is due, organizations taking turns. False: the relay takes nothing for now.

        What is verified is sent while the rest is asked; but no organization gets another report while a
        destination of one that had fewer is still being asked.
        """
        quota = self._quota(kind, now())
        unverified, ready = self._queues(kind, now())
        if unverified or ready:
            verifier = Verifier(lambda delivery: asked(self._world, delivery.domain, delivery.uri, delivery.kind))
            work = _Work(verifier, unverified, ready, quota)
            try:
                return self._work(kind, work, transport, now, done, _Told(progress, work), stop)
            finally:
                verifier.close()
        return True

    def _quota(self, kind: Kind, now: int) -> _Quota:
        limits = limits_of(self._settings, kind)
        left = limits.per_hour - sum(count for _, _, count in self._ledger.sent_since(kind, now - HOUR, now))
        lately: Counter[str] = Counter()
        for _, host, count in self._ledger.sent_since(kind, now - limits.seconds, now):
            lately[self._organization(host)] += count
        return _Quota(left, limits.per_domain, lately)

    def _organization(self, host: str) -> str:
        return organization_of(self._world.suffixes, host)

    def _provider(self, organization: str) -> str:
        return provider_of(self._world.suffixes, organization)

    def _queues(self, kind: Kind, now: int) -> tuple[deque[Turn], list[Turn]]:
        """What is to be verified, in the order of turns, and a heap of what is to be sent."""
        limits = limits_of(self._settings, kind)
        # What was tried in vain counts as a turn: otherwise addresses that fail would come first in each run.
        had = Counter(self._ledger.tried_since(kind, now - limits.seconds, now))
        for organization, _, count in self._ledger.sent_since(kind, now - limits.seconds, now):
            had[organization] += count
        due = self._ledger.due(kind, now, limits.per_hour + 1)  # one more tells that something is left
        numbered = turns_within_providers(due, _organization, self._provider, had)
        ordered = sorted((turn, item.rank, item.id, item.state) for turn, item in numbered)
        unverified = deque(found[:3] for found in ordered if found[3] is State.UNVERIFIED)
        return unverified, [found[:3] for found in ordered if found[3] is State.PENDING]

    def _work(  # noqa: PLR0917
        self,
        kind: Kind,
        work: "_Work",
        transport: Transport,
        now: Callable[[], int],
        done: Sum,
        told: "_Told",
        stop: Callable[[], bool],
    ) -> bool:
        while work.quota.left > 0 and not stop():
            self._ask_more(work)
            answer = work.verifier.answered(0 if work.may_send() else WAIT_SECONDS) if work.verifier.waiting else None
            if answer:
                self._record_answer(work, answer, now(), done)
                told.verified()
            elif work.may_send():
                attempt = self._send_next(work, transport, now, done)
                told.sent()
                if attempt and attempt.result is Result.UNAVAILABLE and not attempt.after_connecting:
                    done.stopped = f"the relay does not take reports now: {attempt.detail}"
                    return False
            elif not work.is_verifying():
                break
            self._lock.refresh(now())
        done.left = done.left or _reason(kind, work, limits_of(self._settings, kind))
        return True

    def _ask_more(self, work: "_Work") -> None:
        while work.unverified and work.verifier.has_room:
            turn = work.unverified.popleft()
            delivery = self._ledger.delivery(turn[2])
            if delivery:
                work.verifier.start(turn, delivery)

    def _record_answer(self, work: "_Work", answer: Asked, now: int, done: Sum) -> None:
        (turn, rank, _), delivery, found = answer
        if found.verification is Verification.UNKNOWN:
            self._again_or_never(delivery, State.UNVERIFIED, now, found.reason, done)
            return
        reasons = {address: refusal(self._settings, delivery.domain, address) for address in found.addresses}
        welcome = [address for address, reason in reasons.items() if not reason]
        if welcome:
            for place, identifier in enumerate(self._ledger.verified(delivery, welcome, now)):
                heappush(work.ready, (turn + place, rank, identifier))
            return
        reason = found.reason or next(iter(reasons.values()))
        done.refused += 1
        done.lines.append(f"{delivery.domain}: nothing to {delivery.uri}: {reason}")
        self._ledger.set_state(delivery, State.REFUSED, now, reason)

    def _send_next(self, work: "_Work", transport: Transport, now: Callable[[], int], done: Sum) -> Attempt | None:
        """None: there was nothing to hand over."""
        quota = work.quota
        delivery = self._ledger.delivery(heappop(work.ready)[2])
        if delivery is None:
            return None
        host = self._organization(delivery.address.rpartition("@")[2])
        if quota.lately[host] >= quota.per_host:
            reason = f"{quota.per_host} reports were sent to addresses of {host}, the rest waits"
            self._ledger.wait(delivery, now() + HOUR, now(), reason)
            done.postponed += 1
            return None
        attempt = self._send_safely(delivery, transport, now, done)
        if attempt:
            quota.left -= 1
            quota.lately[host] += 1
        return attempt

    def _send_safely(
        self, delivery: Delivery, transport: Transport, now: Callable[[], int], done: Sum
    ) -> Attempt | None:
        """A bug for one report must not keep all others from being sent."""
        try:
            return self._send(delivery, transport, now, done)
        except (StoreError, OSError):
            raise
        except Exception as error:
            log.exception("reports: %s: internal error", delivery.address)
            reason = f"internal error: {type(error).__name__}"
            done.lines.append(f"{delivery.domain}: {delivery.address}: {reason}")
            if self._ledger.is_sending(delivery):
                self._ledger.set_state(delivery, State.UNCERTAIN, now(), reason)
                done.uncertain += 1
            else:
                self._again_or_never(delivery, State.PENDING, now(), reason, done)
            return None

    def _send(self, delivery: Delivery, transport: Transport, now: Callable[[], int], done: Sum) -> Attempt | None:
        """None: there was nothing to hand over."""
        pause = self._standing.pause(delivery.organization, delivery.address, now())
        if pause:
            reason = f"waits until {_date(pause.until)}: {pause.failures} refusals, the last: {pause.detail}"
            self._ledger.wait(delivery, min(pause.until, now() + DAY), now(), reason)
            done.postponed += 1
            return None
        message = self._message(delivery, now())
        if message is None:
            self._ledger.set_state(delivery, State.REFUSED, now(), "no longer kept")
            done.refused += 1
            return None
        limit = size_limit(delivery.record, delivery.uri, tag=TAGS[delivery.kind])
        if delivery.shape is ReportFormat.RFC7489 and limit is not None and len(message) > limit:
            self._ledger.set_state(delivery, State.REFUSED, now(), f"larger than the {limit} octets of its record")
            done.refused += 1
            return None

        def committing() -> None:
            self._ledger.set_state(delivery, State.SENDING, now())
            self._lock.refresh(now())

        mail_from = self._settings.bounce_address.replace("{token}", delivery.token)
        attempt = transport.send(Mail(mail_from, delivery.address, message), committing)
        self._record(delivery, attempt, now(), done)
        return attempt

    def _message(self, delivery: Delivery, now: int) -> bytes | None:
        """As it goes to this address; None: the report is no longer kept."""
        when = datetime.fromtimestamp(now, UTC)
        if delivery.kind is Kind.FAILURE:
            content = self._ledger.failure(delivery.report)
            message = addressed(content, delivery.address, when) if content else None
        else:
            attachment = self._ledger.attachment(delivery.report)
            message = compose(attachment, sender_of(self._settings), delivery.address, when) if attachment else None
        return signed(message, self._signer) if message and self._signer else message

    def _record(self, delivery: Delivery, attempt: Attempt, now: int, done: Sum) -> None:
        """The relay's answer, in one step."""
        match attempt.result:
            case Result.SENT:
                self._ledger.set_state(delivery, State.SENT, now, attempt.detail)
                self._standing.accepted(delivery.address)
                done.sent += 1
            case Result.UNCERTAIN:
                self._ledger.set_state(delivery, State.UNCERTAIN, now, attempt.detail)
                done.uncertain += 1
            case Result.REFUSED:
                # The pause first: after a crash between the two the next try finds it.
                self._standing.refused(
                    delivery.organization, delivery.address, now, attempt.detail, at_rcpt=attempt.at_rcpt
                )
                self._ledger.set_state(delivery, State.FAILED, now, attempt.detail)
                done.failed += 1
            case Result.LATER | Result.UNAVAILABLE:
                done.troubles += attempt.result is Result.UNAVAILABLE
                self._again_or_never(delivery, State.PENDING, now, attempt.detail, done)
        if attempt.result is not Result.SENT:
            done.lines.append(f"{delivery.domain}: {delivery.address}: {attempt.detail}")

    def _again_or_never(self, delivery: Delivery, state: State, now: int, detail: str, done: Sum) -> None:
        if now - delivery.created > GIVE_UP_AFTER and delivery.attempts >= LEAST_ATTEMPTS:
            self._ledger.set_state(delivery, State.FAILED, now, f"given up: {detail}")
            done.failed += 1
            return
        self._ledger.postpone(delivery, state, now + retry_seconds(delivery.attempts), now, detail)
        done.postponed += 1


@dataclass(frozen=True, slots=True)
class _Work:
    """What is left to do for one kind of report."""

    verifier: Verifier
    unverified: deque[Turn]
    ready: list[Turn]
    """A heap: what is to be sent."""
    quota: _Quota

    def is_verifying(self) -> bool:
        return bool(self.verifier.waiting or self.unverified) and not self.verifier.is_over

    def may_send(self) -> bool:
        """Something is ready, and nothing of an earlier turn is still to be verified."""
        if not self.ready or not self.is_verifying():
            return bool(self.ready)
        earliest = [turn for turn, *_ in [*islice(self.unverified, 1), *self.verifier.turns]]
        return self.ready[0][0] <= min(earliest)


class _Told:
    """Tells how far the work is."""

    def __init__(self, progress: Progress, work: _Work) -> None:
        self._progress = progress
        self._work = work
        self._verified = self._sent = 0

    def verified(self) -> None:
        self._verified += 1
        left = len(self._work.unverified) + self._work.verifier.waiting
        self._progress("verifying destinations", self._verified, self._verified + left)

    def sent(self) -> None:
        self._sent += 1
        self._progress("sending", self._sent, self._sent + len(self._work.ready))


def _organization(item: Due) -> str:
    return item.organization


def _reason(kind: Kind, work: _Work, limits: Limits) -> str:
    """Why something is left; empty: nothing is."""
    unasked = len(work.unverified) + work.verifier.waiting
    if work.quota.left <= 0 and (work.ready or unasked):
        return f"{limits.per_hour} {kind} reports were sent within the hour, the rest waits"
    if unasked:
        return f"{unasked} destinations were not verified in time and wait for the next run"
    return "the time of a run is over, the rest waits" if work.ready else ""


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
