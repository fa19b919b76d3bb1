"""What is due: destinations are asked whether they agree, and reports go out, within the limits."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dmarcmilter.dmarc.discovery import Method, discover
from dmarcmilter.dmarc.domain import Domain
from dmarcmilter.dmarc.suffixes import Suffixes
from dmarcmilter.lookup import Lookup
from dmarcmilter.reports.aggregate import Shape
from dmarcmilter.reports.book import Delivery, Kind, State
from dmarcmilter.reports.delivery import GIVE_UP_AFTER, Attempt, Mail, Result, Transport, retry_seconds
from dmarcmilter.reports.destinations import Destination, Verification, excluded, size_limit, verify
from dmarcmilter.reports.failuremail import addressed
from dmarcmilter.reports.ledger import Ledger
from dmarcmilter.reports.message import Sender, compose
from dmarcmilter.reports.planning import submitter_of
from dmarcmilter.reports.signing import Signer, signed
from dmarcmilter.reports.standing import Lock, Standing
from dmarcmilter.settings import Reports

HOUR = 3600
DAY = 86_400

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
    """Why the run ended before all that was due."""
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Limits:
    per_hour: int
    per_domain: int
    """Of the addresses."""
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

    def verify_destinations(self, kind: Kind, now: Callable[[], int], done: Sum, progress: Progress) -> None:
        total = self._ledger.waiting(kind, State.UNVERIFIED, now())
        for count, delivery in enumerate(self._ledger.deliveries(kind, State.UNVERIFIED, now()), start=1):
            self._verify(delivery, now(), done)
            self._lock.refresh(now())
            progress("verifying destinations", count, total)

    def _verify(self, delivery: Delivery, now: int, done: Sum) -> None:
        found = asked(self._world, delivery.domain, delivery.uri, delivery.kind)
        if found.verification is Verification.UNKNOWN:
            self._again_or_never(delivery, State.UNVERIFIED, now, found.reason, done)
            return
        reasons = {address: refusal(self._settings, delivery.domain, address) for address in found.addresses}
        welcome = [address for address, reason in reasons.items() if not reason]
        if welcome:
            self._ledger.verified(delivery, welcome, now)
            return
        reason = found.reason or next(iter(reasons.values()))
        done.refused += 1
        done.lines.append(f"{delivery.domain}: nothing to {delivery.uri}: {reason}")
        self._ledger.set_state(delivery, State.REFUSED, now, reason)

    def send_due(self, kind: Kind, transport: Transport, now: Callable[[], int], done: Sum, progress: Progress) -> bool:
        """False: the relay takes nothing for now."""
        limits = limits_of(self._settings, kind)
        total = self._ledger.waiting(kind, State.PENDING, now())
        left = limits.per_hour - sum(self._ledger.sent_since(kind, now() - HOUR).values())
        lately = self._ledger.sent_since(kind, now() - limits.seconds)
        for count, delivery in enumerate(self._ledger.deliveries(kind, State.PENDING, now()), start=1):
            domain = delivery.address.rpartition("@")[2]
            if left <= 0:
                done.stopped = f"{limits.per_hour} {kind} reports were sent within the hour, the rest waits"
                return True
            if lately.get(domain, 0) >= limits.per_domain:
                done.postponed += 1
                continue
            attempt = self._send(delivery, transport, now, done)
            progress("sending", count, total)
            if attempt is None:
                continue
            left -= 1
            lately[domain] = lately.get(domain, 0) + 1
            if attempt.result is Result.UNAVAILABLE:
                done.stopped = f"the relay does not take reports now: {attempt.detail}"
                return False
        return True

    def _send(self, delivery: Delivery, transport: Transport, now: Callable[[], int], done: Sum) -> Attempt | None:
        """None: there was nothing to hand over."""
        pause = self._standing.pause(delivery.address, now())
        message = None if pause else self._message(delivery, now())
        if message is None:
            reason = f"left alone after {pause.failures} refusals: {pause.detail}" if pause else "no longer kept"
            self._ledger.set_state(delivery, State.REFUSED, now(), reason)
            done.refused += 1
            return None
        limit = size_limit(delivery.record, delivery.uri, tag=TAGS[delivery.kind])
        if delivery.shape is Shape.RFC7489 and limit is not None and len(message) > limit:
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
                done.sent += 1
            case Result.UNCERTAIN:
                self._ledger.set_state(delivery, State.UNCERTAIN, now, attempt.detail)
                done.uncertain += 1
            case Result.REFUSED:
                # The pause first: after a crash between the two the next try finds it.
                self._standing.failed(delivery.address, now, attempt.detail)
                self._ledger.set_state(delivery, State.FAILED, now, attempt.detail)
                done.failed += 1
            case Result.LATER | Result.UNAVAILABLE:
                self._again_or_never(delivery, State.PENDING, now, attempt.detail, done)
        if attempt.result is not Result.SENT:
            done.lines.append(f"{delivery.domain}: {delivery.address}: {attempt.detail}")

    def _again_or_never(self, delivery: Delivery, state: State, now: int, detail: str, done: Sum) -> None:
        if now - delivery.created > GIVE_UP_AFTER:
            self._ledger.set_state(delivery, State.FAILED, now, f"given up: {detail}")
            done.failed += 1
            return
        self._ledger.postpone(delivery, state, now + retry_seconds(delivery.attempts), now, detail)
        done.postponed += 1
