"""The DMARC Policy Record published for one domain (RFC 9989 4.10 steps 1, 2, 5, 6; RFC 7489 6.6.3 steps 1 to 5)."""

from dataclasses import dataclass

from dmarcmilter.dmarc import record
from dmarcmilter.dmarc.record import PolicyRecord
from dmarcmilter.dmarc.record_faults import FaultKind
from dmarcmilter.dns.lookup import Answer, Lookup, Status
from dmarcmilter.mail.domain import Domain
from dmarcmilter.reasons import Code, Reason

PREFIX = "_dmarc."


@dataclass(frozen=True, slots=True)
class Published:
    domain: Domain
    record: PolicyRecord | None = None
    """The only DMARC record there; None: none, several, or unknown."""
    several: bool = False
    """More than one DMARC record stands there, and so none counts."""
    near_miss: bool = False
    """What stands there was meant as a DMARC record, and is none."""
    fault: FaultKind | None = None
    """Why what stands there does not count, when something was meant to."""
    failed: Reason | None = None
    """Why the record is not known: the lookup that failed."""
    name_exists: bool = False
    """The answer proves that the domain exists, because the name below it does (RFC 8020)."""


def fetch(domain: Domain, lookup: Lookup) -> Published:
    """Ask for the record of exactly this domain."""
    answer = lookup(PREFIX + domain, "TXT")
    if answer.status is Status.FAILED:
        return Published(
            domain, failed=lookup_failed(PREFIX + domain, "TXT", answer), name_exists=answer.proves_existence
        )
    exists = answer.proves_existence
    candidates = [text for text in answer.texts if record.is_policy_record(text)]
    if len(candidates) != 1:
        if candidates:
            return Published(domain, several=True, fault=FaultKind.SEVERAL_RECORDS, name_exists=exists)
        meant = next(filter(None, map(record.near_miss, answer.texts)), None)
        return Published(domain, near_miss=meant is not None, fault=meant.kind if meant else None, name_exists=exists)
    return Published(domain, record=record.parse(candidates[0]), name_exists=exists)


def lookup_failed(name: str, rdtype: str, answer: Answer) -> Reason:
    """The reason for what is not known because this lookup failed."""
    cause = answer.reason or Reason(Code.DNS_NO_ANSWER)
    return Reason(Code.DNS_LOOKUP_FAILED, rdtype=rdtype, name=name, reason=cause)
