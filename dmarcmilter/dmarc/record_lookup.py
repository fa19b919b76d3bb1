"""The DMARC Policy Record published for one domain (RFC 9989 4.10 steps 1, 2, 5, 6; RFC 7489 6.6.3 steps 1 to 5)."""

from dmarcmilter.dmarc import record
from dmarcmilter.dmarc.record import PolicyRecord
from dmarcmilter.dmarc.record_fault_kinds import FaultKind
from dmarcmilter.dns.lookup import Answer, Lookup, Status
from dmarcmilter.mail.domain import Domain
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.value import Value

PREFIX = "_dmarc."
"""The label before a domain in the name of its policy record (RFC 9989 4.5)."""


class PublishedRecord(Value):
    """The DMARC record that a domain publishes, or why it has none that counts."""

    domain: Domain
    record: PolicyRecord | None = None
    """The only DMARC record; None: none, several, or unknown."""
    several: bool = False
    """There is more than one DMARC record, so none counts."""
    near_miss: bool = False
    """There is TXT data that was meant as a DMARC record but is none."""
    fault: FaultKind | None = None
    """Why a record that was meant as one does not count."""
    failed: Reason | None = None
    """Why the lookup failed, so that the record is unknown."""
    name_exists: bool = False
    """The answer proves that the domain exists, because the name below it does (RFC 8020)."""


def fetch(domain: Domain, lookup: Lookup) -> PublishedRecord:
    """Look up the record of exactly this domain."""
    answer = lookup(PREFIX + domain, "TXT")
    if answer.status is Status.FAILED:
        return PublishedRecord(
            domain, failed=lookup_failed(PREFIX + domain, "TXT", answer), name_exists=answer.proves_existence
        )
    exists = answer.proves_existence
    if not answer.records:
        return PublishedRecord(domain, name_exists=exists)
    candidates = [text for text in answer.texts if record.is_policy_record(text)]
    if len(candidates) != 1:
        if candidates:
            return PublishedRecord(domain, several=True, fault=FaultKind.SEVERAL_RECORDS, name_exists=exists)
        miss = next(filter(None, map(record.near_miss, answer.texts)), None)
        return PublishedRecord(
            domain, near_miss=miss is not None, fault=miss.kind if miss else None, name_exists=exists
        )
    return PublishedRecord(domain, record=record.parse(candidates[0]), name_exists=exists)


def lookup_failed(name: str, rdtype: str, answer: Answer) -> Reason:
    """The reason that says which lookup failed, and why."""
    cause = answer.reason or Reason.of(Code.DNS_NO_ANSWER)
    return Reason.of(Code.DNS_LOOKUP_FAILED, rdtype=rdtype, name=name, reason=cause)
