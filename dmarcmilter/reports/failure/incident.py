"""Incidents: whether a message asks for a failure report (RFC 9991), and what is kept of it for the report. Pure.

capture.py writes incidents in the workers; planning.py makes reports of them in another process.
"""

import json
from collections.abc import Sequence
from hashlib import blake2b
from ipaddress import ip_address, ip_network

from dmarcmilter.mail.message import Header
from dmarcmilter.outcome_record import OutcomeRecord
from dmarcmilter.reports.failure.redaction import Redaction
from dmarcmilter.value import Value

KIND_DIGITS = 32
"""Hexadecimal digits of the kind of an incident."""
IPV6_PREFIX_BITS = 64
"""Leading bits of an IPv6 address that identify a client, which may choose the rest freely."""


class IncidentPolicy(Value, kw_only=True):
    """The policy record that asked for the report."""

    domain: str
    record: str
    ruf: tuple[str, ...]
    organizational_domain: str | None


class IncidentSpf(Value, kw_only=True):
    """The SPF result."""

    result: str
    domain: str | None


class IncidentSignature(Value, kw_only=True):
    """The result of one DKIM signature."""

    result: str
    domain: str | None
    selector: str | None


class IncidentIdentifier(Value, kw_only=True):
    """An aligned identifier."""

    mechanism: str


class IncidentDmarc(Value, kw_only=True):
    """The DMARC result."""

    result: str
    aligned: tuple[IncidentIdentifier, ...]


class IncidentOutcome(Value, kw_only=True):
    """The part of an outcome record that a failure report shows."""

    time: str
    queue_id: str | None
    client_ip: str | None
    author_domain: str
    action: str
    policy: IncidentPolicy
    spf: IncidentSpf
    dkim: tuple[IncidentSignature, ...]
    dmarc: IncidentDmarc


class Observed(Value):
    """Parts of a message that its outcome does not have."""

    fields: Sequence[Header] = ()
    mail_from: str = ""
    """The reverse-path without angle brackets. Bytes that are not UTF-8 are surrogates."""


class Incident(Value):
    """The redacted parts of a message that its failure report will show."""

    id: str
    """Letters and digits. It becomes the id of the report."""
    outcome: IncidentOutcome
    mail_from: str = ""
    fields: Sequence[tuple[str, str]] = ()
    count: int = 1
    """Number of incidents of the same kind, this one included (field Incidents, RFC 5965 3.2)."""
    spf_records: Sequence[tuple[str, str]] = ()
    """Name and text of SPF records (field SPF-DNS, RFC 6591 3.2.6)."""


def reason_not_to_report(record: OutcomeRecord, observed: Observed, *, on_none: bool = False) -> str:
    """Why no report is made; empty if one is asked for and may be made."""
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
    """Whether a message was generated automatically. Reports about reports could cause a loop (RFC 9991 5.1)."""
    name, value = header.name.lower(), header.value.lower()
    if name == b"auto-submitted":
        return value.strip() not in {b"", b"no"}
    return name == b"content-type" and b"multipart/report" in value


def _option_met(fo: str, record: OutcomeRecord) -> bool:
    """Whether a failure meets one of the options of the tag fo (RFC 9989 4.7)."""
    aligned = {identifier.mechanism for identifier in record.dmarc.aligned}
    met = {
        "0": not aligned,
        "1": aligned != {"dkim", "spf"},
        "d": any(signature.result in {"fail", "permerror"} for signature in record.dkim),
        "s": record.spf.result in {"fail", "softfail", "permerror"},
    }
    return any(met.get(option, False) for option in fo.split(":"))


def reported_part(record: OutcomeRecord) -> IncidentOutcome:
    """The part of an outcome that a failure report shows. ValueError if it has no policy or no Author Domain."""
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
    """A digest of Author Domain, client and results. One report covers all messages with the same kind.

    The domains of signatures and of MAIL FROM are not part of it: a sender that changes them in each message would
    cause a report for each.
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
    """The IPv4 address, or the network of an IPv6 address, that identifies a client; empty if unknown."""
    try:
        address = ip_address(ip or "")
    except ValueError:
        return ""
    return str(address) if address.version == 4 else str(ip_network((address, IPV6_PREFIX_BITS), strict=False))


def incident_of(record: OutcomeRecord, observed: Observed, redaction: Redaction, identifier: str) -> Incident:
    """The incident of a message, redacted. Nothing else of the message is written to disk."""
    return Incident(
        identifier,
        reported_part(record),
        redaction.path(observed.mail_from.encode("utf-8", "surrogateescape")),
        tuple(redaction.redacted_fields(observed.fields)),
    )
