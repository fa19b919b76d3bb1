"""One failure report as a message (RFC 9991, RFC 6591, RFC 5965), redacted (RFC 6590). Pure.

Nothing captures messages for it yet: docs/reports.md has the design of that. Headers only, never a body; local-parts
and Subject are replaced by keyed hashes, the same for the same, so that an owner can see what belongs together.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime, formataddr

from dmarcmilter.message import Header
from dmarcmilter.reports.aggregate import Shape
from dmarcmilter.reports.grouping import Outcome
from dmarcmilter.reports.message import CRLF, Sender

MAX_FIELDS = 100
"""Header fields shown."""
MAX_VALUE = 900
"""Characters shown of one: a line has 998 (RFC 5322 2.1.1)."""
HASH_DIGITS = 16

# What an owner needs to find the fault. Whatever names recipients (To, Cc, Received) or could be anything is left out.
_SHOWN = frozenset({"date", "dkim-signature", "from", "message-id", "sender", "subject"})
_REDACTED_WHOLE = frozenset({"subject"})
_ADDRESSES_ONLY = frozenset({"from", "message-id", "sender"})
_ADDRESS = re.compile(r"(?:[^\s<>@,;:\"()\[\]=]{1,256}|\"[^\"]{0,256}\")@[A-Za-z0-9._-]{1,253}")
_DATE = re.compile(r"[A-Za-z]{3}[A-Za-z0-9,:+ -]{1,40}")
_UNSAFE = re.compile(r"[^\x20-\x7e]")
_DELIVERY = {"accept": "delivered", "quarantine": "policy", "reject": "reject", "tempfail": "other"}
"""RFC 6591 3.2.2."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of one message beyond its outcome."""

    fields: Sequence[Header] = ()
    """Of its header; the fields that are not shown may be missing."""
    mail_from: str = ""
    spf_records: Sequence[tuple[str, str]] = ()
    """Name and text of each SPF record that was used (RFC 6591 3.2.6)."""
    incidents: int = 1
    """How many like it this report stands for (RFC 5965 3.2)."""


def unwanted(outcome: Outcome, observed: Observed, *, on_none: bool = False) -> str:
    """Why no report is made; empty: one is asked for and may be made."""
    policy, dmarc = outcome.get("policy"), outcome["dmarc"]
    if not policy or not policy.get("ruf"):
        return "the record asks for none"
    if policy.get("psd") == "y":
        return "the record is of a public suffix (RFC 9991 2)"
    if dmarc["result"] not in {"fail", "pass"}:
        return f"the result is {dmarc['result']}"
    if (dmarc.get("published") or "none") == "none" and not on_none:
        return "the policy is none"
    if any(_is_report(field) for field in observed.fields):
        return "the message is itself a report or an automatic reply"
    return "" if _option_met(policy.get("fo") or "0", outcome) else "the fo tag asks for other failures"


def _is_report(field: Header) -> bool:
    name, value = field.name.lower(), field.value.lower()
    automatic = name == b"auto-submitted" and value.strip() not in {b"", b"no"}
    return automatic or (name == b"content-type" and b"multipart/report" in value)


def _option_met(fo: str, outcome: Outcome) -> bool:
    """RFC 9989 4.7, `fo`."""
    aligned = {found["mechanism"] for found in outcome["dmarc"].get("aligned") or ()}
    met = {
        "0": not aligned,
        "1": aligned != {"dkim", "spf"},
        "d": any(found["result"] in {"fail", "permerror"} for found in outcome.get("dkim") or ()),
        "s": (outcome.get("spf") or {}).get("result") in {"fail", "softfail", "permerror"},
    }
    return any(met.get(option, False) for option in fo.split(":"))


class Redaction:
    """RFC 6590: what stands for a text is the same at each place, and tells nobody without the key what it was."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def word(self, text: str) -> str:
        whole = hmac.new(self._key, text.encode("utf-8", "backslashreplace"), hashlib.sha256)
        return whole.hexdigest()[:HASH_DIGITS]

    def address(self, text: str) -> str:
        local, _, domain = text.rpartition("@")
        return f"{self.word(local)}@{_safe(domain)}"

    def field(self, name: str, value: str) -> str:
        if name in _REDACTED_WHOLE:
            return self.word(value)
        if name == "date":
            found = _DATE.match(value)  # and no comment after it
            return found[0] if found else ""
        if name in _ADDRESSES_ONLY:
            return ", ".join(f"<{self.address(found[0])}>" for found in _ADDRESS.finditer(value))
        return _ADDRESS.sub(lambda found: self.address(found[0]), value)


def _safe(text: object) -> str:
    """For one line of a header."""
    return _UNSAFE.sub("?", str(text))[:MAX_VALUE]


def compose(
    outcome: Outcome, observed: Observed, sender: Sender, address: str, now: datetime, *,
    identifier: str, redaction: Redaction, shape: Shape = Shape.RFC9990,
) -> bytes:  # fmt: skip
    """The whole message with CRLF line ends, not yet signed. `identifier`: letters and digits."""
    boundary = f"=_{identifier}"
    domain = outcome["author_domain"]
    host = sender.email.rpartition("@")[2]
    lines = [
        f"From: {formataddr((sender.org_name, sender.email))}",
        f"To: {address}",
        # The message's own subject is redacted, so it cannot be ours (RFC 5965 2, f).
        f"Subject: DMARC failure report for {_safe(domain)}",
        f"Date: {format_datetime(now)}",
        f"Message-ID: <{identifier}@{host}>",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=feedback-report;{CRLF} boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        f"A message from {_safe(outcome['client_ip'])} that names {_safe(domain)} as its author",
        "failed authentication. Local-parts and subject are replaced by keyed hashes.",
        "",
        f"--{boundary}",
        "Content-Type: message/feedback-report",
        "",
        *(f"{name}: {_safe(value)}" for name, value in feedback(outcome, observed, host, redaction, shape)),
        "",
        f"--{boundary}",
        "Content-Type: text/rfc822-headers",
        "",
        *_shown_fields(observed.fields, redaction),
        "",
        f"--{boundary}--",
        "",
    ]
    return CRLF.join(lines).encode("ascii", "replace")


def feedback(
    outcome: Outcome, observed: Observed, host: str, redaction: Redaction, shape: Shape
) -> Iterator[tuple[str, object]]:
    """The fields of message/feedback-report (RFC 6591 3.1, RFC 9991 4)."""
    domain, dmarc = outcome["author_domain"], outcome["dmarc"]
    yield "Feedback-Type", "auth-failure"
    yield "Version", 1
    yield "User-Agent", "dmarcmilter"
    yield "Auth-Failure", "dmarc"
    yield "Authentication-Results", f"{host}; dmarc={dmarc['result']} header.from={domain}"
    yield "Identity-Alignment", _identity_alignment(outcome, shape)
    yield "Reported-Domain", domain
    yield "Source-IP", outcome["client_ip"]
    yield "Arrival-Date", format_datetime(datetime.fromisoformat(outcome["time"]))
    yield "Delivery-Result", _DELIVERY.get(outcome["action"], "other")
    if outcome.get("queue_id"):
        yield "Original-Envelope-Id", outcome["queue_id"]
    if observed.mail_from:
        yield "Original-Mail-From", f"<{redaction.address(observed.mail_from)}>"
    if observed.incidents > 1:
        yield "Incidents", observed.incidents
    yield from _of_mechanisms(outcome, observed)


def _identity_alignment(outcome: Outcome, shape: Shape) -> str:
    """RFC 9991 4: the mechanisms that failed to give an aligned identity; RFC 7489 7.3.1: those that did."""
    aligned = {found["mechanism"] for found in outcome["dmarc"].get("aligned") or ()}
    told = sorted(aligned if shape is Shape.RFC7489 else {"dkim", "spf"} - aligned)
    return ", ".join(told) or "none"


def _of_mechanisms(outcome: Outcome, observed: Observed) -> Iterator[tuple[str, object]]:
    """Of the first signature of the Organizational Domain that failed, and of SPF; required in RFC 9991 4."""
    organization = (outcome.get("policy") or {}).get("organizational_domain") or outcome["author_domain"]
    for found in outcome.get("dkim") or ():
        domain = found.get("domain") or ""
        if found["result"] != "pass" and (domain == organization or domain.endswith("." + organization)):
            yield "DKIM-Domain", domain
            yield "DKIM-Identity", f"@{domain}"
            yield "DKIM-Selector", found.get("selector") or ""
            break
    if (outcome.get("spf") or {}).get("result") != "pass":
        for name, text in observed.spf_records:
            quoted = text.replace("\\", "\\\\").replace('"', '\\"')
            yield "SPF-DNS", f'txt : {name} : "{quoted}"'


def _shown_fields(fields: Sequence[Header], redaction: Redaction) -> Iterator[str]:
    shown = [field for field in fields if field.name.decode("latin-1").lower() in _SHOWN]
    for field in shown[:MAX_FIELDS]:
        name = field.name.decode("latin-1")
        value = " ".join(field.value.decode("utf-8", "replace").split())
        if len(value) > MAX_VALUE:
            # At a space, so that no half of an address is left without the sign that it is one.
            value = value[:MAX_VALUE].rpartition(" ")[0]
        yield f"{name}: {_safe(redaction.field(name.lower(), value))}"
