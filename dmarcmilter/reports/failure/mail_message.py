"""A failure report as a mail message (RFC 9991 4, RFC 6591 3, RFC 5965 2). Pure."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from email.message import Message
from email.mime.multipart import MIMEMultipart
from email.utils import format_datetime

from dmarcmilter.config.schema import ReportFormat
from dmarcmilter.reports.failure.incident import Incident, IncidentOutcome
from dmarcmilter.reports.failure.redaction import safe
from dmarcmilter.reports.mail_header import POLICY, add_address_and_date, add_header
from dmarcmilter.reports.sender import Sender

MAX_INCIDENTS = 2**32 - 1
"""Largest value of the field Incidents (RFC 5965 3.2). A higher count is given as this one."""
MAX_SPF = 700
"""Characters shown of an SPF record: with name and quotes it stays within one line. The rest is left out."""
_DELIVERY_RESULTS = {"accept": "delivered", "quarantine": "policy", "reject": "reject"}
"""Delivery-Result for each action (RFC 6591 3.2.2); "other" for any other."""


def compose(incident: Incident, sender: Sender, report_format: ReportFormat = ReportFormat.RFC9990) -> bytes:
    """The message with CRLF line ends, without To and Date: these are added for each delivery."""
    outcome, host = incident.outcome, sender.email.rpartition("@")[2]
    domain = safe(outcome.author_domain)
    message = MIMEMultipart("report", f"=_{incident.id}", report_type="feedback-report", policy=POLICY)
    # The message's own subject is redacted, so it cannot be that of the report (RFC 5965 2, f).
    add_header(message, sender, f"DMARC failure report for {domain}", incident.id)
    text = (
        f"A message from {safe(outcome.client_ip)} that names {domain} as its author",
        "failed authentication. Local-parts and subject are replaced by keyed hashes.",
    )
    message.attach(_part("text/plain; charset=us-ascii", text))
    message.attach(_part("message/feedback-report", _lines(feedback(incident, host, report_format))))
    message.attach(_part("text/rfc822-headers", _lines(incident.fields)))
    return message.as_bytes()


def _part(content_type: str, lines: Iterable[str]) -> Message:
    part = Message(policy=POLICY)
    part["Content-Type"] = content_type
    # CRLF already here: the email package writes the text of a message/* part as it is.
    part.set_payload("".join(f"{line}\r\n" for line in lines))
    return part


def _lines(fields: Iterable[tuple[str, object]]) -> Iterator[str]:
    return (f"{safe(name)}: {safe(value)}" for name, value in fields)


def addressed(message: bytes, address: str, date: datetime) -> bytes:
    """The whole message to one address, not yet signed: To and Date are put before the stored message."""
    header = Message(policy=POLICY)
    add_address_and_date(header, address, date)
    return header.as_bytes().removesuffix(b"\r\n") + message


def feedback(incident: Incident, host: str, report_format: ReportFormat) -> Iterator[tuple[str, object]]:
    """The fields of message/feedback-report (RFC 6591 3.1, RFC 9991 4)."""
    outcome = incident.outcome
    domain, dmarc = outcome.author_domain, outcome.dmarc
    yield "Feedback-Type", "auth-failure"
    yield "Version", 1
    yield "User-Agent", "dmarcmilter"
    yield "Auth-Failure", "dmarc"
    yield "Authentication-Results", f"{host}; dmarc={dmarc.result} header.from={domain}"
    yield "Identity-Alignment", _identity_alignment(outcome, report_format)
    yield "Reported-Domain", domain
    if outcome.client_ip:
        yield "Source-IP", outcome.client_ip
    yield "Arrival-Date", format_datetime(datetime.fromisoformat(outcome.time))
    yield "Delivery-Result", _DELIVERY_RESULTS.get(outcome.action, "other")
    if outcome.queue_id:
        yield "Original-Envelope-Id", outcome.queue_id
    yield "Original-Mail-From", f"<{incident.mail_from}>"
    if incident.count > 1:
        yield "Incidents", min(incident.count, MAX_INCIDENTS)
    yield from _mechanism_fields(incident)


def _identity_alignment(outcome: IncidentOutcome, report_format: ReportFormat) -> str:
    """RFC 9991 4: the mechanisms that failed to give an aligned identity; RFC 7489 7.3.1: those that did."""
    aligned = {identifier.mechanism for identifier in outcome.dmarc.aligned}
    mechanisms = sorted(aligned if report_format is ReportFormat.RFC7489 else {"dkim", "spf"} - aligned)
    return ", ".join(mechanisms) or "none"


def _mechanism_fields(incident: Incident) -> Iterator[tuple[str, object]]:
    """Fields about the first failed signature of the Organizational Domain, and about SPF; RFC 9991 4 requires them."""
    outcome = incident.outcome
    organization = outcome.policy.organizational_domain or outcome.author_domain
    for signature in outcome.dkim:
        domain = signature.domain or ""
        if signature.result != "pass" and (domain == organization or domain.endswith("." + organization)):
            yield "DKIM-Domain", domain
            yield "DKIM-Identity", f"@{domain}"
            yield "DKIM-Selector", signature.selector or ""
            break
    for name, text in incident.spf_records:
        quoted = text[:MAX_SPF].replace("\\", "\\\\").replace('"', '\\"')
        yield "SPF-DNS", f'txt : {name} : "{quoted}"'
