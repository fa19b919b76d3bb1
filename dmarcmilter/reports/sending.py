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
from dmarcmilter.reports.delivery import GIVE_UP_AFTER, Attempt, Mail, Result, Transport, retry_seconds
from dmarcmilter.reports.destinations import Destination, Verification, excluded, size_limit, verify
from dmarcmilter.reports.ledger import Delivery, Ledger, State
from dmarcmilter.reports.message import Attachment, Sender, Signer, compose, signed
from dmarcmilter.reports.planning import submitter_of
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


def asked(world: World, domain: str, uri: str) -> Destination:
    """One destination, looked up."""
    with world.lookups() as lookup:

        def organization(name: Domain) -> Domain | None:
            return discover(name, lookup, method=world.method, suffixes=world.suffixes).organizational_domain

        return verify(Domain(domain), uri, lookup, organization)


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

    def verify_destinations(self, now: Callable[[], int], done: Sum, progress: Progress) -> None:
        due = self._ledger.deliveries(State.UNVERIFIED, now())
        for count, delivery in enumerate(due, start=1):
            self._verify(delivery, now(), done)
            self._lock.refresh(now())
            progress("verifying destinations", count, len(due))

    def _verify(self, delivery: Delivery, now: int, done: Sum) -> None:
        found = asked(self._world, delivery.domain, delivery.uri)
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

    def send_due(self, transport: Transport, now: Callable[[], int], done: Sum, progress: Progress) -> None:
        due = self._ledger.deliveries(State.PENDING, now())
        left = self._settings.max_per_hour - sum(self._ledger.sent_since(now() - HOUR).values())
        today = self._ledger.sent_since(now() - DAY)
        for count, delivery in enumerate(due, start=1):
            domain = delivery.address.rpartition("@")[2]
            if left <= 0:
                done.stopped = f"{self._settings.max_per_hour} reports were sent within the hour, the rest waits"
                return
            if today.get(domain, 0) >= self._settings.max_per_domain:
                done.postponed += 1
                continue
            attempt = self._send(delivery, transport, now, done)
            progress("sending", count, len(due))
            if attempt is None:
                continue
            left -= 1
            today[domain] = today.get(domain, 0) + 1
            if attempt.result is Result.UNAVAILABLE:
                done.stopped = f"the relay does not take reports now: {attempt.detail}"
                return

    def _send(self, delivery: Delivery, transport: Transport, now: Callable[[], int], done: Sum) -> Attempt | None:
        """None: there was nothing to hand over."""
        pause = self._standing.pause(delivery.address, now())
        attachment = self._ledger.attachment(delivery.report)
        if pause is not None or attachment is None:
            reason = f"left alone after {pause.failures} refusals: {pause.detail}" if pause else "no longer kept"
            self._ledger.set_state(delivery, State.REFUSED, now(), reason)
            done.refused += 1
            return None
        message = self._message(attachment, delivery.address, now())
        limit = size_limit(delivery.record, delivery.uri) if delivery.shape is Shape.RFC7489 else None
        if limit is not None and len(message) > limit:
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

    def _message(self, attachment: Attachment, address: str, now: int) -> bytes:
        settings = self._settings
        sender = Sender(settings.org_name or submitter_of(settings), settings.email)
        message = compose(attachment, sender, address, datetime.fromtimestamp(now, UTC))
        return signed(message, self._signer) if self._signer else message

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
