"""Send the reports that are due: verify their destinations, hand them to the relay, record what came of it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dmarcmilter.config.schema import ReportFormat, ReportsSection
from dmarcmilter.history.store import StoreError
from dmarcmilter.reports.aggregate import mail_message as aggregate_message
from dmarcmilter.reports.delivery.deliveries_table import DAY_SECONDS, Deliveries, Delivery, DeliveryState, ReportKind
from dmarcmilter.reports.delivery.destination_verification import DestinationVerification, excluded, size_limit
from dmarcmilter.reports.delivery.dkim_signing import ReportSigner, signed
from dmarcmilter.reports.delivery.made_reports_table import ReportLedger
from dmarcmilter.reports.delivery.parallel_verification import TAGS, ReportDns, VerifiedDelivery, Verifier
from dmarcmilter.reports.delivery.relay import DeliveryAttempt, DeliveryResult, Mail, Transport
from dmarcmilter.reports.delivery.retry_schedule import GIVE_UP_AFTER, LEAST_ATTEMPTS, retry_seconds
from dmarcmilter.reports.delivery.send_queue import HOUR_SECONDS, SendQueue
from dmarcmilter.reports.delivery.suppressions import Suppression, Suppressions
from dmarcmilter.reports.failure import mail_message as failure_message
from dmarcmilter.reports.run_lock import RunLock
from dmarcmilter.reports.sender import sender_of
from dmarcmilter.value import Value

log = logging.getLogger(__name__)

WAIT_SECONDS = 1.0
"""Longest wait for a verification, in seconds, before the lock of the run is renewed."""

SendingProgress = Callable[[str, int, int], None]
"""Called with the name of a step, how much of it is done, and how much there is."""


@dataclass(slots=True)
class RunResult:
    """What a run did, as counts of reports and deliveries."""

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
    """Why something is left for the next run: a limit is reached, or the time is over."""
    unavailable: int = 0
    """Deliveries at which the relay ended the connection or did not answer."""
    lines: list[str] = field(default_factory=list)
    """Details for the operator."""


def refusal(settings: ReportsSection, domain: str, address: str) -> str:
    """Why no report may be sent to this address, even if its domain agrees; empty if it may."""
    if address.lower() == settings.email.lower():
        return "it is the address that our reports come from"
    entry = excluded(domain, address, settings.exclude)
    return f"{entry} is excluded" if entry else ""


class Sending(Value, kw_only=True):
    """Sends what is due, with everything that it needs for it."""

    ledger: ReportLedger
    deliveries: Deliveries
    suppressions: Suppressions
    lock: RunLock
    settings: ReportsSection
    signer: ReportSigner | None
    dns: ReportDns
    transport: Transport
    clock: Callable[[], int]
    """Seconds since 1970."""
    progress: SendingProgress

    def send_due(self, kind: ReportKind, result: RunResult, is_over: Callable[[], bool]) -> bool:
        """Verify and send the reports of one kind that are due, until the run `is_over`.

        False: the relay takes nothing for now.
        """
        queue = SendQueue(kind, self.deliveries, self.settings, self.dns.suffixes, self.clock())
        if queue.is_empty:
            return True
        verifier = Verifier(lambda delivery: self.dns.verify(delivery.domain, delivery.uri, delivery.kind))
        try:
            return self._work(queue, verifier, result, is_over)
        finally:
            verifier.close()

    def _work(self, queue: SendQueue, verifier: Verifier, result: RunResult, is_over: Callable[[], bool]) -> bool:
        verified = sent = 0
        while queue.left > 0 and not is_over():
            self._start_verifying(queue, verifier)
            seconds = 0 if queue.may_send(verifier) else WAIT_SECONDS
            answer = verifier.next_answer(seconds) if verifier.waiting else None
            if answer:
                self._record_answer(queue, answer, result)
                verified += 1
                left = queue.unverified + verifier.waiting
                self.progress("verifying destinations", verified, verified + left)
            elif queue.may_send(verifier):
                attempt = self._send_next(queue, result)
                sent += 1
                self.progress("sending", sent, sent + queue.ready)
                if attempt and attempt.result is DeliveryResult.UNAVAILABLE and not attempt.after_connecting:
                    result.stopped = f"the relay does not take reports now: {attempt.detail}"
                    return False
            elif not queue.is_verifying(verifier):
                break
            self.lock.renew(self.clock())
        result.left = result.left or queue.left_over(verifier)
        return True

    def _start_verifying(self, queue: SendQueue, verifier: Verifier) -> None:
        while queue.unverified and verifier.has_room:
            turn = queue.next_unverified()
            delivery = self.deliveries.get(turn[2])
            if delivery:
                verifier.start(turn, delivery)

    def _record_answer(self, queue: SendQueue, answer: VerifiedDelivery, result: RunResult) -> None:
        """Put the addresses of a verified destination into the queue, or record why it gets no report."""
        (turn, rank, _), delivery, destination = answer
        if destination.verification is DestinationVerification.UNKNOWN:
            self._retry_or_give_up(delivery, DeliveryState.UNVERIFIED, destination.reason, result)
            return
        reasons = {address: refusal(self.settings, delivery.domain, address) for address in destination.addresses}
        allowed = [address for address, reason in reasons.items() if not reason]
        if allowed:
            identifiers = self.deliveries.replace_by_addresses(delivery, allowed, self.clock())
            for place, identifier in enumerate(identifiers):
                queue.add_ready((turn + place, rank, identifier))
            return
        reason = destination.reason or next(iter(reasons.values()))
        result.lines.append(f"{delivery.domain}: nothing to {delivery.uri}: {reason}")
        self._refuse(delivery, reason, result)

    def _send_next(self, queue: SendQueue, result: RunResult) -> DeliveryAttempt | None:
        """Send the next delivery, within the limits; None if nothing was handed to the relay."""
        delivery = self.deliveries.get(queue.next_ready()[2])
        if delivery is None:
            return None
        organization = queue.organization_of_host(delivery.address.rpartition("@")[2])
        if queue.is_full(organization):
            limit = queue.limits.per_domain
            reason = f"{limit} reports were sent to addresses of {organization}, the rest waits"
            self._wait(delivery, self.clock() + HOUR_SECONDS, reason, result)
            return None
        attempt = self._send_safely(delivery, result)
        if attempt:
            queue.count(organization)
        return attempt

    def _send_safely(self, delivery: Delivery, result: RunResult) -> DeliveryAttempt | None:
        """A bug for one report must not keep all others from being sent."""
        try:
            return self._send(delivery, result)
        except (StoreError, OSError):
            raise
        except Exception as error:
            log.exception("reports: %s: internal error", delivery.address)
            reason = f"internal error: {type(error).__name__}"
            result.lines.append(f"{delivery.domain}: {delivery.address}: {reason}")
            if self.deliveries.is_sending(delivery):
                self.deliveries.set_state(delivery, DeliveryState.UNCERTAIN, self.clock(), reason)
                result.uncertain += 1
            else:
                self._retry_or_give_up(delivery, DeliveryState.PENDING, reason, result)
            return None

    def _send(self, delivery: Delivery, result: RunResult) -> DeliveryAttempt | None:
        """Hand one message to the relay; None if there is a reason not to."""
        suppression = self.suppressions.get(delivery.organization, delivery.address, self.clock())
        if suppression:
            due = min(suppression.until, self.clock() + DAY_SECONDS)
            self._wait(delivery, due, _reason_of(suppression), result)
            return None
        message = self._message(delivery)
        if message is None:
            self._refuse(delivery, "no longer kept", result)
            return None
        limit = size_limit(delivery.record, delivery.uri, tag=TAGS[delivery.kind])
        if delivery.report_format is ReportFormat.RFC7489 and limit is not None and len(message) > limit:
            self._refuse(delivery, f"larger than the {limit} bytes that the DMARC record allows", result)
            return None

        def committing() -> None:
            self.deliveries.set_state(delivery, DeliveryState.SENDING, self.clock())
            self.lock.renew(self.clock())

        mail_from = self.settings.bounce_address.replace("{token}", delivery.token)
        attempt = self.transport.send(Mail(mail_from, delivery.address, message), committing)
        self._record_attempt(delivery, attempt, result)
        return attempt

    def _message(self, delivery: Delivery) -> bytes | None:
        """The signed message to this address; None if the report is no longer kept."""
        date = datetime.fromtimestamp(self.clock(), UTC)
        message = None
        if delivery.kind is ReportKind.FAILURE:
            content = self.ledger.failure_message(delivery.report)
            message = failure_message.addressed(content, delivery.address, date) if content else None
        else:
            attachment = self.ledger.attachment(delivery.report)
            if attachment:
                message = aggregate_message.compose(attachment, sender_of(self.settings), delivery.address, date)
        return signed(message, self.signer) if message and self.signer else message

    def _record_attempt(self, delivery: Delivery, attempt: DeliveryAttempt, result: RunResult) -> None:
        """Record the relay's answer."""
        now = self.clock()
        match attempt.result:
            case DeliveryResult.SENT:
                self.deliveries.set_state(delivery, DeliveryState.SENT, now, attempt.detail)
                self.suppressions.record_acceptance(delivery.address)
                result.sent += 1
            case DeliveryResult.UNCERTAIN:
                self.deliveries.set_state(delivery, DeliveryState.UNCERTAIN, now, attempt.detail)
                result.uncertain += 1
            case DeliveryResult.REFUSED:
                # The suppression first: after a crash between the two the next attempt finds it.
                self.suppressions.add_refusal(
                    delivery.organization, delivery.address, now, attempt.detail, at_rcpt=attempt.at_rcpt
                )
                self.deliveries.set_state(delivery, DeliveryState.FAILED, now, attempt.detail)
                result.failed += 1
            case DeliveryResult.LATER | DeliveryResult.UNAVAILABLE:
                result.unavailable += attempt.result is DeliveryResult.UNAVAILABLE
                self._retry_or_give_up(delivery, DeliveryState.PENDING, attempt.detail, result)
        if attempt.result is not DeliveryResult.SENT:
            result.lines.append(f"{delivery.domain}: {delivery.address}: {attempt.detail}")

    def _refuse(self, delivery: Delivery, reason: str, result: RunResult) -> None:
        self.deliveries.set_state(delivery, DeliveryState.REFUSED, self.clock(), reason)
        result.refused += 1

    def _wait(self, delivery: Delivery, due: int, reason: str, result: RunResult) -> None:
        self.deliveries.wait(delivery, due, self.clock(), reason)
        result.postponed += 1

    def _retry_or_give_up(self, delivery: Delivery, state: DeliveryState, detail: str, result: RunResult) -> None:
        now = self.clock()
        if now - delivery.created > GIVE_UP_AFTER and delivery.attempts >= LEAST_ATTEMPTS:
            self.deliveries.set_state(delivery, DeliveryState.FAILED, now, f"given up: {detail}")
            result.failed += 1
            return
        self.deliveries.postpone(delivery, state, now + retry_seconds(delivery.attempts), now, detail)
        result.postponed += 1


def _reason_of(suppression: Suppression) -> str:
    until = datetime.fromtimestamp(suppression.until, UTC).strftime("%Y-%m-%d %H:%M")
    return f"waits until {until}: {suppression.failures} refusals, the last: {suppression.detail}"
