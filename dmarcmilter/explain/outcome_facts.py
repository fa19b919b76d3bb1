"""What sentences and advice ask of an outcome record: who authenticated, what is aligned, whose mail it may be."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from dmarcmilter.mail import domain as domains
from dmarcmilter.mail.domain import Domain
from dmarcmilter.outcome_record import OutcomeRecord
from dmarcmilter.reasons import Code
from dmarcmilter.reasons.recorded import reason_of
from dmarcmilter.value import Value

UNANSWERED = frozenset(
    {
        Code.DNS_LOOKUP_FAILED,
        Code.IDENTIFIER_NOT_CHECKED,
        Code.ORGANIZATION_UNKNOWN,
        Code.EXISTENCE_NOT_ASKED,
    }
)
"""Reasons of a temperror with the name or domain for which DNS did not answer."""


class Identifier(Value):
    """A domain that SPF or DKIM authenticated and that does not count, because it is not aligned."""

    mechanism: str
    domain: Domain
    strict: bool
    """It is of the author's organization: only strict alignment keeps it out."""


def author(record: OutcomeRecord) -> Domain | None:
    return domains.parse(record.author_domain or "")


def organization(record: OutcomeRecord) -> Domain | None:
    """The author's Organizational Domain; the Author Domain itself where it is not known."""
    known = record.policy.organizational_domain if record.policy else None
    return domains.parse(known or "") or author(record)


def is_own(record: OutcomeRecord, name: str | None) -> bool:
    """Whether a domain belongs to the author's organization, which can then fix what is wrong with it."""
    own, parsed = organization(record), domains.parse(name or "")
    return own is not None and parsed is not None and domains.is_within(parsed, own)


def unaligned(record: OutcomeRecord) -> list[Identifier]:
    """Unaligned identifiers, each once, SPF first; none without an Author Domain and a policy."""
    policy = record.policy
    if policy is None or author(record) is None:
        return []
    counted = {(identifier.mechanism, identifier.domain) for identifier in record.dmarc.aligned}
    spf = record.spf
    passed = [("spf", spf.domain, policy.aspf)] if spf.result == "pass" else []
    passed += [("dkim", signature.domain, policy.adkim) for signature in record.dkim if signature.result == "pass"]
    identifiers = {
        Identifier(mechanism, name, strict=mode == "s" and is_own(record, name)): None
        for mechanism, raw, mode in passed
        if (name := domains.parse(raw or "")) and (mechanism, raw) not in counted
    }
    return list(identifiers)


def client(record: OutcomeRecord) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(record.client_ip or "")
    except ValueError:
        return None


def client_term(record: OutcomeRecord) -> str:
    """The SPF mechanism that names the client; empty: there is no address."""
    address = client(record)
    return "" if address is None else f"ip{address.version}:{address}"


def is_touched(record: OutcomeRecord) -> bool:
    """Whether the message is not simply delivered, or would not be if the policy were enforced for all mail."""
    return record.would_action != "accept" or (record.would_disposition or record.disposition) != "none"


def may_be_forwarded(record: OutcomeRecord) -> bool:
    """Whether a signature of the author is broken, or the message has fields of a mailing list."""
    broken = any(signature.result == "fail" and is_own(record, signature.domain) for signature in record.dkim)
    return broken or bool(list_ids(record)) or bool(record.lists and record.lists.traces)


def list_ids(record: OutcomeRecord) -> list[Domain]:
    return [name for raw in (record.lists.ids if record.lists else ()) if (name := domains.parse(raw))]


def unanswered(record: OutcomeRecord) -> str:
    """The name for which DNS did not answer, of a temperror; empty: not known."""
    reason = reason_of(record.dmarc)
    if reason is None or reason.code not in UNANSWERED:
        return ""
    domain = reason.get("domain")
    if reason.get("mechanism") == "dkim":
        for signature in record.dkim:
            if signature.result == "temperror" and signature.domain == domain and signature.selector:
                return f"{signature.selector}._domainkey.{domain}"
    return str(reason.get("name") or domain)
