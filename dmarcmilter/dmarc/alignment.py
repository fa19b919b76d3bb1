"""Identifier Alignment (RFC 9989 4.4, 4.10.2; RFC 7489 3.1)."""

from collections.abc import Mapping
from enum import Enum

from dmarcmilter.dmarc.discovery import Discovery
from dmarcmilter.dmarc.record import AlignmentMode
from dmarcmilter.mail.domain import Domain, is_within


class Alignment(Enum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """DNS did not say what it depends on."""
    UNCHECKED = "unchecked"
    """Its Organizational Domain was not looked up, because the message has too many identifiers."""


def could_align(identifier: Domain | None, discovery: Discovery) -> bool:
    """Whether it is worth knowing if the identifier authenticates: only what is not outside the organization.

    What is outside belongs to somebody else, and perhaps to whoever wants the message's DNS budget spent.
    """
    organization = discovery.organizational_domain or discovery.highest_possible
    return identifier is not None and (organization is None or is_within(identifier, organization))


def is_aligned(
    identifier: Domain,
    discovery: Discovery,
    mode: AlignmentMode,
    organizational: Mapping[Domain, Domain | None],
) -> Alignment:
    """Strict: the same name as the Author Domain. Relaxed: the same Organizational Domain.

    `organizational` is what discovery.organizational_domains found. An Organizational Domain is the name itself
    or above it, so an identifier outside the author's is not aligned, whatever DNS would say of it.
    """
    if identifier == discovery.author:
        return Alignment.YES
    if mode is AlignmentMode.STRICT:
        return Alignment.NO
    own = discovery.organizational_domain
    if own is None:
        possible = discovery.highest_possible
        return Alignment.NO if possible and not is_within(identifier, possible) else Alignment.UNKNOWN
    if not is_within(identifier, own):
        return Alignment.NO
    if identifier not in organizational:
        return Alignment.UNCHECKED
    found = organizational[identifier]
    if found is None:
        return Alignment.UNKNOWN
    return Alignment.YES if found == own else Alignment.NO


def is_aligned_but_for_author(
    identifier: Domain, discovery: Discovery, organizational: Mapping[Domain, Domain | None]
) -> bool:
    """Whether relaxed alignment is open only because a lookup above or at the Author Domain failed.

    False where the identifier's own lookups failed: whoever controls the identifier can make them fail.
    """
    if discovery.assumed_organization is not None:
        return organizational.get(identifier) == discovery.assumed_organization
    return discovery.organizational_domain is None
