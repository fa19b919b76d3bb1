"""A failure report as a mail message (RFC 9991 4, RFC 6591 3, RFC 5965 2). Pure."""

from collections.abc import Iterator
from datetime import datetime
from email.utils import format_datetime, formataddr

from dmarcmilter.config.schema import ReportFormat
from dmarcmilter.reports.aggregate.mail_message import CRLF
from dmarcmilter.reports.failure.incident import Incident, Outcome
from dmarcmilter.reports.failure.redaction import safe
from dmarcmilter.reports.sender import Sender

MAX_INCIDENTS = 2**32 - 1
"""RFC 5965 3.2."""
MAX_SPF = 700
"""Characters shown of an SPF record: with name and quotes it stays within one line."""
_DELIVERY = {"accept": "delivered", "quarantine": "policy", "reject": "reject"}
"""RFC 6591 3.2.2."""


def compose(incident: Incident, sender: Sender, shape: ReportFormat = ReportFormat.RFC9990) -> bytes:
    """The message with CRLF line ends but for To and Date: these are of each delivery."""
    boundary = f"=_{incident.id}"
    outcome, host = incident.outcome, sender.email.rpartition("@")[2]
    domain = safe(outcome["author_domain"])
    lines = [
        f"From: {formataddr((sender.org_name, sender.email))}",
        # The message's own subject is redacted, so it cannot be ours (RFC 5965 2, f).
        f"Subject: DMARC failure report for {domain}",
        # The same for each try, so that a second copy is known as one.
        f"Message-ID: <{incident.id}@{host}>",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=feedback-report;{CRLF} boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        f"A message from {safe(outcome['client_ip'])} that names {domain} as its author",
        "failed authentication. Local-parts and subject are replaced by keyed hashes.",
        "",
        f"--{boundary}",
        "Content-Type: message/feedback-report",
        "",
        *(f"{name}: {safe(value)}" for name, value in feedback(incident, host, shape)),
        "",
        f"--{boundary}",
        "Content-Type: text/rfc822-headers",
        "",
        *(f"{safe(name)}: {safe(value)}" for name, value in incident.fields),
        "",
        f"--{boundary}--",
        "",
    ]
    return CRLF.join(lines).encode("ascii", "replace")


def addressed(message: bytes, address: str, now: datetime) -> bytes:
    """The whole message to one address, not yet signed."""
    return f"To: {address}{CRLF}Date: {format_datetime(now)}{CRLF}".encode("ascii") + message


def feedback(incident: Incident, host: str, shape: ReportFormat) -> Iterator[tuple[str, object]]:
    """The fields of message/feedback-report (RFC 6591 3.1, RFC 9991 4)."""
    outcome = incident.outcome
    domain, dmarc = outcome["author_domain"], outcome["dmarc"]
    yield "Feedback-Type", "auth-failure"
    yield "Version", 1
    yield "User-Agent", "dmarcmilter"
    yield "Auth-Failure", "dmarc"
    yield "Authentication-Results", f"{host}; dmarc={dmarc['result']} header.from={domain}"
    yield "Identity-Alignment", _identity_alignment(outcome, shape)
    yield "Reported-Domain", domain
    if outcome.get("client_ip"):
        yield "Source-IP", outcome["client_ip"]
    yield "Arrival-Date", format_datetime(datetime.fromisoformat(outcome["time"]))
    yield "Delivery-Result", _DELIVERY.get(outcome["action"], "other")
    if outcome.get("queue_id"):
        yield "Original-Envelope-Id", outcome["queue_id"]
    yield "Original-Mail-From", f"<{incident.mail_from}>"
    if incident.count > 1:
        yield "Incidents", min(incident.count, MAX_INCIDENTS)
    yield from _of_mechanisms(incident)


def _identity_alignment(outcome: Outcome, shape: ReportFormat) -> str:
    """RFC 9991 4: the mechanisms that failed to give an aligned identity; RFC 7489 7.3.1: those that did."""
    aligned = {found["mechanism"] for found in outcome["dmarc"].get("aligned") or ()}
    told = sorted(aligned if shape is ReportFormat.RFC7489 else {"dkim", "spf"} - aligned)
    return ", ".join(told) or "none"


def _of_mechanisms(incident: Incident) -> Iterator[tuple[str, object]]:
    """Of the first signature of the Organizational Domain that failed, and of SPF; required in RFC 9991 4."""
    outcome = incident.outcome
    organization = outcome["policy"].get("organizational_domain") or outcome["author_domain"]
    for found in outcome.get("dkim") or ():
        domain = found.get("domain") or ""
        if found["result"] != "pass" and (domain == organization or domain.endswith("." + organization)):
            yield "DKIM-Domain", domain
            yield "DKIM-Identity", f"@{domain}"
            yield "DKIM-Selector", found.get("selector") or ""
            break
    for name, text in incident.spf_records:
        quoted = text[:MAX_SPF].replace("\\", "\\\\").replace('"', '\\"')
        yield "SPF-DNS", f'txt : {name} : "{quoted}"'
