"""Discovery of the policy record that applies to the Author Domain, and of Organizational Domains.

The method is the tree walk of RFC 9989 4.10, or the public suffix list as in RFC 7489 6.6.3 (with `np` of RFC 9091).
One message is evaluated with one method only: with both, one name could belong to two organizations.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from dmarcmilter.dmarc import tree_walk
from dmarcmilter.dmarc.author import Author
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.dmarc.record import AlignmentMode, PolicyRecord
from dmarcmilter.dmarc.record_fault_kinds import FaultKind
from dmarcmilter.dmarc.record_lookup import PREFIX, PublishedRecord, fetch, lookup_failed
from dmarcmilter.dns.lookup import Lookup, Status
from dmarcmilter.mail.domain import Domain, is_within
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.value import Value, replace

MAX_IDENTIFIERS = 10
"""Identifiers of one message whose Organizational Domain is looked up, each with up to eight queries. The alignment of
further ones stays unknown.
"""


class Method(StrEnum):
    """A discovery method, spelled as in the aggregate report's discovery_method (RFC 9990)."""

    TREEWALK = "treewalk"
    PSL = "psl"


class DiscoverySettings(Value):
    """How the Author Domain's policy is discovered, and whether `pct` counts."""

    method: Method
    suffixes: Suffixes
    honor_pct: bool
    """Whether `pct` is applied (RFC 7489 6.6.4). RFC 9989 ignores it."""


class Discovery(Value):
    """The policy record and the Organizational Domain of one Author Domain, or which lookup failed."""

    method: Method
    author: Domain
    record: PolicyRecord | None = None
    """The record that applies, even if it is not usable. With `failed`: the record that applies unless the name whose
    lookup failed has one of its own.
    """
    policy_domain: Domain | None = None
    """The domain that publishes the record."""
    organizational_domain: Domain | None = None
    """The Author Domain's Organizational Domain; None: unknown because DNS failed."""
    failed: Reason | None = None
    """The failed lookup that leaves the policy unknown; None: the policy is known, or known not to exist."""
    assumed_organization: Domain | None = None
    """The Organizational Domain if the name whose lookup failed has no record; set only with `failed`."""
    incomplete: Reason | None = None
    """Why the lookup of a name above failed although the policy is known."""
    author_exists: bool | None = None
    """None: unknown, or not looked up."""
    existence_failed: Reason | None = None
    """The failed lookup that leaves the existence of the Author Domain unknown."""
    notes: tuple[Reason, ...] = ()
    """Remarks for the Domain Owner or the operator."""
    faulty: tuple[Domain, ...] = ()
    """Domains whose TXT data was meant as a DMARC record but does not count."""
    fault_kinds: tuple[FaultKind, ...] = ()
    """The kind of fault at each domain of `faulty`."""
    highest_possible: Domain | None = None
    """The shortest name that the Organizational Domain can be; set when the tree walk leaves it unknown."""


class OtherDiscovery(Value):
    """The result of the discovery method that is not in use, for statistics only."""

    discovery: Discovery
    organizational: Mapping[Domain, Domain | None] | None
    """As AuthorPolicy.organizational; None: unknown."""


class AuthorPolicy(Value):
    """The Author Domain, its policy record and how it was discovered, and which Organizational Domains are known."""

    author: Author
    discovery: Discovery | None
    """None: there is no Author Domain."""
    organizational: Mapping[Domain, Domain | None]
    """The result of organizational_domains(); a value of None: DNS failed."""
    other: OtherDiscovery | None = None
    """None: unknown without another query."""


def discover(author: Domain, lookup: Lookup, *, method: Method, suffixes: Suffixes) -> Discovery:
    """The policy for mail of this Author Domain."""
    if method is Method.PSL:
        return _by_suffix_list(author, lookup, suffixes)
    return _by_tree_walk(author, lookup, suffixes)


def prefetch_names(author: Domain, method: Method, suffixes: Suffixes) -> tuple[str, ...]:
    """TXT names that discover() is going to look up, most important first."""
    if method is Method.PSL:
        domains: Iterable[Domain] = dict.fromkeys((author, _suffix_list_organization(author, suffixes)))
    else:
        domains = tree_walk.targets(author)
    return tuple(PREFIX + domain for domain in domains)


def organizational_domains(
    identifiers: Iterable[Domain], discovery: Discovery, lookup: Lookup, *, suffixes: Suffixes
) -> dict[Domain, Domain | None]:
    """The Organizational Domains that relaxed alignment still depends on (RFC 9989 4.10.2); None: DNS failed.

    Left out: the Author Domain itself, and identifiers outside its Organizational Domain, which can never be aligned.
    """
    result: dict[Domain, Domain | None] = {}
    walks = 0
    own = discovery.organizational_domain or discovery.assumed_organization
    record = discovery.record
    if record is None or not record.usable or own is None or _is_strict_for_both(record):
        return result
    for identifier in dict.fromkeys(identifiers):
        if identifier == discovery.author or not is_within(identifier, own):
            continue
        if discovery.method is Method.TREEWALK and identifier != own:
            walks += 1
            if walks > MAX_IDENTIFIERS:
                continue
        result[identifier] = _organizational_domain(identifier, own, discovery.method, lookup, suffixes)
    return result


def existence_decides(discovery: Discovery) -> bool:
    """Whether another policy applies when the Author Domain does not exist (RFC 9989 4.10.1)."""
    record = discovery.record
    if record is None or not record.usable or record.np is None or discovery.policy_domain == discovery.author:
        return False
    return record.np is not (record.sp or record.p)


def with_existence(discovery: Discovery, lookup: Lookup) -> Discovery:
    """Look up whether the Author Domain exists, if that decides the policy and is not yet known."""
    if not existence_decides(discovery) or discovery.author_exists is not None:
        return discovery
    if discovery.method is Method.PSL:
        return _with_addresses_or_exchangers(discovery, lookup)
    # RFC 9989 3.2.13: a domain does not exist if a query of any type gets NXDOMAIN. The NXDOMAIN of an alias is about
    # its target (RFC 6604 3), not about the Author Domain.
    answer = lookup(discovery.author, "A")
    if answer.proves_existence:
        return replace(discovery, author_exists=True)
    if answer.status is Status.FAILED:
        return replace(discovery, existence_failed=lookup_failed(discovery.author, "A", answer))
    return replace(discovery, author_exists=False)


def _with_addresses_or_exchangers(discovery: Discovery, lookup: Lookup) -> Discovery:
    """Look up whether the Author Domain has A, AAAA or MX records: without any it does not exist (RFC 9091 2.7).

    An alias exists, whatever its target has (RFC 8020 2, RFC 6604 3).
    """
    failed: Reason | None = None
    for rdtype in ("A", "AAAA", "MX"):
        answer = lookup(discovery.author, rdtype)
        if answer.status is Status.FOUND or answer.is_alias:
            return replace(discovery, author_exists=True)
        if answer.status is Status.NXDOMAIN:
            return replace(discovery, author_exists=False)
        if answer.status is Status.FAILED:
            failed = lookup_failed(discovery.author, rdtype, answer)
    if failed:
        return replace(discovery, existence_failed=failed)
    return replace(discovery, author_exists=False)


def _by_tree_walk(author: Domain, lookup: Lookup, suffixes: Suffixes) -> Discovery:
    walked = tree_walk.walk(author, lookup)
    own = tree_walk.organizational_domain(walked, suffixes)
    first = walked.steps[0]
    assumed = None
    failed: Reason | None = None
    if own is None and first.record is None:
        failed = walked.failed
        walked = tree_walk.past_failure(walked, lookup)
        assumed = tree_walk.below_public_suffixes(tree_walk.selected_by_records(walked), author, suffixes)
        applied = tree_walk.applicable(walked, assumed)
    elif own is None:
        applied = first
    else:
        applied = tree_walk.applicable(walked, own)
    return Discovery(
        method=Method.TREEWALK,
        author=author,
        record=applied.record if applied else None,
        policy_domain=applied.domain if applied else None,
        organizational_domain=own,
        failed=failed,
        assumed_organization=assumed if applied else None,
        incomplete=None if failed else walked.failed,
        author_exists=True if first.name_exists else None,
        notes=_notes(walked.steps) + _guard_note(walked, own) + _fallback_note(failed, applied),
        faulty=_faulty(walked.steps),
        fault_kinds=_fault_kinds(walked.steps),
        highest_possible=tree_walk.highest_organizational_domain(author, suffixes) if own is None else None,
    )


def _by_suffix_list(author: Domain, lookup: Lookup, suffixes: Suffixes) -> Discovery:
    """Discover by RFC 7489 6.6.3: look up the Author Domain, then its Organizational Domain if that gave no record."""
    own = _suffix_list_organization(author, suffixes)
    steps = [fetch(author, lookup)]
    if steps[0].record is None and not steps[0].several and own != author:
        steps.append(fetch(own, lookup))
    last = steps[-1]
    failed = steps[0].failed or last.failed
    return Discovery(
        method=Method.PSL,
        author=author,
        record=last.record,
        policy_domain=last.domain if last.record else None,
        organizational_domain=own,
        failed=failed,
        assumed_organization=own if failed and last.record else None,
        notes=_notes(steps) + _fallback_note(failed, last if last.record else None),
        faulty=_faulty(steps),
        fault_kinds=_fault_kinds(steps),
    )


def _suffix_list_organization(domain: Domain, suffixes: Suffixes) -> Domain:
    """The Organizational Domain by the suffix list. A public suffix is an organization of its own, without the names
    below it.
    """
    return suffixes.organizational_domain(domain) or domain


def _organizational_domain(
    domain: Domain, own: Domain, method: Method, lookup: Lookup, suffixes: Suffixes
) -> Domain | None:
    if domain == own:
        # A walk from here would query the same names as the rest of the author's walk, and select the same.
        return own
    if method is Method.PSL:
        return _suffix_list_organization(domain, suffixes)
    return tree_walk.organizational_domain(tree_walk.walk(domain, lookup), suffixes)


def _is_strict_for_both(record: PolicyRecord) -> bool:
    return record.adkim is AlignmentMode.STRICT and record.aspf is AlignmentMode.STRICT


def _notes(steps: Iterable[PublishedRecord]) -> tuple[Reason, ...]:
    return tuple([Reason.of(Code.SEVERAL_POLICY_RECORDS, name=PREFIX + step.domain) for step in steps if step.several])


def _fallback_note(failed: Reason | None, applied: PublishedRecord | None) -> tuple[Reason, ...]:
    if not failed or applied is None:
        return ()
    return (Reason.of(Code.OWN_RECORD_UNKNOWN, domain=applied.domain),)


def _faulty(steps: Iterable[PublishedRecord]) -> tuple[Domain, ...]:
    return tuple([step.domain for step in steps if step.fault])


def _fault_kinds(steps: Iterable[PublishedRecord]) -> tuple[FaultKind, ...]:
    return tuple([step.fault for step in steps if step.fault])


def _guard_note(walked: tree_walk.Walk, own: Domain | None) -> tuple[Reason, ...]:
    if own is None or walked.failed:
        return ()
    selected = tree_walk.selected_by_records(walked)
    if own == selected:
        return ()
    return (Reason.of(Code.PUBLIC_SUFFIX_GUARD, suffix=selected, domain=own),)
