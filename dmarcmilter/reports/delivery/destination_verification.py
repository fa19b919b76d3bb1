"""The destinations of a report, and whether their owners agreed to receive it (RFC 9990 3.5 and 4)."""

import re
from collections.abc import Callable, Iterable
from enum import StrEnum

from dmarcmilter.dmarc import record as records
from dmarcmilter.dmarc.report_uri import address_of, host_of
from dmarcmilter.dns.lookup import Lookup, Status
from dmarcmilter.mail import domain as domains
from dmarcmilter.mail.domain import MAX_NAME, Domain, is_within
from dmarcmilter.value import Value

MAX_DESTINATIONS = 5
"""Addresses of one report (RFC 9990 3.5: "up to the Receiver's limits"; RFC 7489 6.2 asks for two at least)."""
MAX_RECORDS = 20
"""TXT records read at one name; further ones are ignored. Any one of them authorizes."""

REPORT_PREFIX = "._report._dmarc."

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"([0-9]{1,12})([kmgt]?)", re.IGNORECASE)


class DestinationVerification(StrEnum):
    ALLOWED = "allowed"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """DNS failed; ask again later (RFC 9990 4, step 5)."""


class Destination(Value):
    """A URI of a record, and what its owner says about reports."""

    uri: str
    """The URI as written in the record."""
    verification: DestinationVerification
    addresses: tuple[str, ...] = ()
    """Addresses to send to: that of the URI, or those that the destination's own record gives instead."""
    reason: str = ""


Organization = Callable[[Domain], Domain | None]
"""Finds the Organizational Domain; None if DNS failed."""


def verify(
    policy_domain: Domain, uri: str, lookup: Lookup, organization: Organization, *, tag: str = "rua"
) -> Destination:
    """Verify a destination (RFC 9990 4; RFC 9991 5 for the tag ruf): one outside the organization has to agree."""
    address = address_of(uri)
    if address is None:
        return Destination(
            uri, DestinationVerification.REFUSED, reason="not a mail address that reports can be sent to"
        )
    host = host_of(address)
    policy_organization, host_organization = organization(policy_domain), organization(host)
    if host == policy_domain or (policy_organization is not None and policy_organization == host_organization):
        return Destination(uri, DestinationVerification.ALLOWED, (address,))
    if policy_organization is None or host_organization is None:
        return Destination(
            uri, DestinationVerification.UNKNOWN, reason="the Organizational Domain is unknown: DNS failed"
        )
    return _verify_external(policy_domain, uri, lookup, address=address, tag=tag)


def _verify_external(policy_domain: Domain, uri: str, lookup: Lookup, *, address: str, tag: str) -> Destination:
    host = host_of(address)
    name = policy_domain + REPORT_PREFIX + host
    if len(name) > MAX_NAME:
        return Destination(
            uri, DestinationVerification.REFUSED, reason="the name that would authorize it is too long for DNS"
        )
    answer = lookup(name, "TXT")
    if answer.status is Status.FAILED:
        return Destination(uri, DestinationVerification.UNKNOWN, reason=f"TXT {name}: {answer.reason or 'no answer'}")
    consents = [parsed for text in answer.texts[:MAX_RECORDS] if (parsed := records.parse(text)) is not None]
    if not consents:
        return Destination(uri, DestinationVerification.REFUSED, reason=f"{name} does not authorize it")
    overriding = [override for record in consents for override in getattr(record, tag)]
    if not overriding:
        return Destination(uri, DestinationVerification.ALLOWED, (address,))
    addresses = [address_of(override) for override in overriding]
    # Step 9: another host is sent nothing, and neither is the address that named it.
    if any(address is None or host_of(address) != host for address in addresses):
        return Destination(uri, DestinationVerification.REFUSED, reason=f"{name} names an address outside {host}")
    return Destination(
        uri, DestinationVerification.ALLOWED, tuple(dict.fromkeys(filter(None, addresses)))[:MAX_DESTINATIONS]
    )


def excluded(policy_domain: str, address: str, exclusions: Iterable[str]) -> str:
    """The entry of the operator's list that excludes the report; empty if none. A domain includes names below it."""
    host = host_of(address)
    for entry in exclusions:
        domain = domains.parse(entry)
        if entry.lower() == address.lower():
            return entry
        if domain and (is_within(Domain(policy_domain), domain) or is_within(host, domain)):
            return entry
    return ""


def size_limit(record: str, uri: str, *, tag: str = "rua") -> int | None:
    """Bytes that the older syntax `mailto:a@b!10m` allows (RFC 7489 6.2); None for no limit. RFC 9990 has no limits."""
    tags = (tag.partition("=") for tag in record.split(";"))
    items = [
        item.strip().partition("!")
        for name, _, value in tags
        if name.strip().lower() == tag
        for item in value.split(",")
    ]
    return next((_bytes(size) for item_uri, _, size in items if item_uri.strip() == uri), None)


def _bytes(text: str) -> int | None:
    size = _SIZE.fullmatch(text.strip())
    return int(size[1]) * _UNITS[size[2].lower()] if size else None
