"""Identifier Alignment (RFC 9989 4.4, 4.10.2; RFC 7489 3.1)."""

from collections.abc import Mapping
from enum import Enum

from dmarcmilter.dmarc.discovery import Discovery
from dmarcmilter.dmarc.record import AlignmentMode
from dmarcmilter.mail.domain import Domain, is_within


class Alignment(Enum):
    """Whether an identifier is aligned with the Author Domain."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """A lookup that decides it failed."""
    UNCHECKED = "unchecked"
    """The identifier's Organizational Domain was not looked up, because the message has too many identifiers."""


def could_align(identifier: Domain | None, discovery: Discovery) -> bool:
    """Whether the identifier may be of the author's organization, so that its lookups are worth making.

    Names outside the organization belong to other parties. One of them may try to use up the message's DNS budget.
    """
    organization = discovery.organizational_domain or discovery.highest_possible
    return identifier is not None and (organization is None or is_within(identifier, organization))


def is_aligned(
    identifier: Domain,
    discovery: Discovery,
    mode: AlignmentMode,
    organizational: Mapping[Domain, Domain | None],
) -> Alignment:
    """Whether the identifier has the Author Domain's name (strict) or Organizational Domain (relaxed).

    `organizational` is the result of discovery.organizational_domains. An Organizational Domain is the name itself
    or above it, so an identifier outside the author's Organizational Domain is not aligned, whatever DNS answers.
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
    organization = organizational[identifier]
    if organization is None:
        return Alignment.UNKNOWN
    return Alignment.YES if organization == own else Alignment.NO


def is_aligned_but_for_author(
    identifier: Domain, discovery: Discovery, organizational: Mapping[Domain, Domain | None]
) -> bool:
    """Whether relaxed alignment is unknown only because a lookup at or above the Author Domain failed.

    False where the identifier's own lookups failed: the owner of the identifier can make them fail.
    """
    if discovery.assumed_organization is not None:
        return organizational.get(identifier) == discovery.assumed_organization
    return discovery.organizational_domain is None
