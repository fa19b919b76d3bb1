"""Failure reports (RFC 9991): whether one is asked for, and what is kept of a message for it. Pure.

capture.py keeps incidents in the filter, merging.py makes reports of them in another process.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import ip_address, ip_network

import msgspec

from dmarcmilter.mail.message import Header
from dmarcmilter.outcome import OutcomeRecord
from dmarcmilter.reports.failure.redaction import Redaction

KIND_DIGITS = 32
IPV6_PREFIX_BITS = 64
"""Bits of an IPv6 address that stand for one client: the rest is the client's to choose."""


class IncidentPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The policy record that asked for the report."""

    domain: str
    record: str
    ruf: tuple[str, ...]
    organizational_domain: str | None


class IncidentSpf(msgspec.Struct, frozen=True, kw_only=True):
    """The SPF result."""

    result: str
    domain: str | None


class IncidentSignature(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one DKIM signature."""

    result: str
    domain: str | None
    selector: str | None


class IncidentIdentifier(msgspec.Struct, frozen=True, kw_only=True):
    """An aligned identifier."""

    mechanism: str


class IncidentDmarc(msgspec.Struct, frozen=True, kw_only=True):
    """The DMARC result."""

    result: str
    aligned: tuple[IncidentIdentifier, ...]


class IncidentOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an outcome record that a failure report tells."""

    time: str
    queue_id: str | None
    client_ip: str | None
    author_domain: str
    action: str
    policy: IncidentPolicy
    spf: IncidentSpf
    dkim: tuple[IncidentSignature, ...]
    dmarc: IncidentDmarc


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of one message beyond its outcome."""

    fields: Sequence[Header] = ()
    mail_from: str = ""
    """The reverse-path without its angle brackets; what is not UTF-8 in it is surrogates."""


@dataclass(frozen=True, slots=True)
class Incident:
    """What is kept of a message, already redacted."""

    id: str
    """Letters and digits; the report has it too."""
    outcome: IncidentOutcome
    mail_from: str = ""
    fields: Sequence[tuple[str, str]] = ()
    count: int = 1
    """How many like it this one stands for (RFC 5965 3.2)."""
    spf_records: Sequence[tuple[str, str]] = ()
    """Name and text (RFC 6591 3.2.6)."""


def reason_not_to_report(record: OutcomeRecord, observed: Observed, *, on_none: bool = False) -> str:
    """Why no report is made; empty: one is asked for and may be made."""
    policy, dmarc = record.policy, record.dmarc
    if policy is None or not policy.ruf or not record.author_domain:
        return "the record asks for none"
    if policy.psd == "y":
        return "the record is of a public suffix (RFC 9991 2)"
    if dmarc.result not in {"fail", "pass"}:
        return f"the result is {dmarc.result}"
    if record.action == "tempfail":
        return "the message was deferred and comes again"
    if (dmarc.published or "none") == "none" and not on_none:
        return "the policy is none"
    if not observed.mail_from.strip():
        return "the reverse-path is null"
    if any(_is_automatic(header) for header in observed.fields):
        return "the message is itself a report or an automatic reply"
    return "" if _option_met(policy.fo or "0", record) else "the fo tag asks for other failures"


def _is_automatic(header: Header) -> bool:
    """RFC 9991 5.1: no report of a report, or two of us never end."""
    name, value = header.name.lower(), header.value.lower()
    if name == b"auto-submitted":
        return value.strip() not in {b"", b"no"}
    return name == b"content-type" and b"multipart/report" in value


def _option_met(fo: str, record: OutcomeRecord) -> bool:
    """RFC 9989 4.7, `fo`."""
    aligned = {identifier.mechanism for identifier in record.dmarc.aligned}
    met = {
        "0": not aligned,
        "1": aligned != {"dkim", "spf"},
        "d": any(signature.result in {"fail", "permerror"} for signature in record.dkim),
        "s": record.spf.result in {"fail", "softfail", "permerror"},
    }
    return any(met.get(option, False) for option in fo.split(":"))


def reported_part(record: OutcomeRecord) -> IncidentOutcome:
    """The part of an outcome that a report tells. ValueError for one without a policy or an Author Domain."""
    policy, author_domain = record.policy, record.author_domain
    if policy is None or author_domain is None:
        raise ValueError("no policy")
    return IncidentOutcome(
        time=record.time,
        queue_id=record.queue_id,
        client_ip=record.client_ip,
        author_domain=author_domain,
        action=record.action,
        policy=IncidentPolicy(
            domain=policy.domain,
            record=policy.record,
            ruf=policy.ruf,
            organizational_domain=policy.organizational_domain,
        ),
        spf=IncidentSpf(result=record.spf.result, domain=record.spf.domain),
        dkim=tuple(
            IncidentSignature(result=signature.result, domain=signature.domain, selector=signature.selector)
            for signature in record.dkim
        ),
        dmarc=IncidentDmarc(
            result=record.dmarc.result,
            aligned=tuple(IncidentIdentifier(mechanism=identifier.mechanism) for identifier in record.dmarc.aligned),
        ),
    )


def kind(outcome: IncidentOutcome) -> str:
    """The same for messages that one report stands for: Author Domain, client and what was found.

    Domains of signatures and of MAIL FROM take no part: a sender who changes them for each message would have a
    report for each.
    """
    values = [
        outcome.author_domain,
        outcome.policy.domain,
        client_of(outcome.client_ip),
        outcome.spf.result,
        sorted({signature.result for signature in outcome.dkim}),
        sorted({identifier.mechanism for identifier in outcome.dmarc.aligned}),
        outcome.dmarc.result,
        outcome.action,
    ]
    return blake2b(json.dumps(values).encode(), digest_size=KIND_DIGITS // 2).hexdigest()


def client_of(ip: str | None) -> str:
    """The address, or network of an IPv6 address, that stands for one client; empty: there is none."""
    try:
        address = ip_address(ip or "")
    except ValueError:
        return ""
    return str(address) if address.version == 4 else str(ip_network((address, IPV6_PREFIX_BITS), strict=False))


def incident_of(record: OutcomeRecord, observed: Observed, redaction: Redaction, identifier: str) -> Incident:
    """What is kept, redacted: nothing else of the message reaches a disk."""
    return Incident(
        identifier,
        reported_part(record),
        redaction.path(observed.mail_from.encode("utf-8", "surrogateescape")),
        tuple(redaction.redacted_fields(observed.fields)),
    )
