"""The [[override]] entries: which one decides about a message. Pure."""

from collections.abc import Iterable

from dmarcmilter.case import Case
from dmarcmilter.dmarc import domain as domains
from dmarcmilter.dmarc.domain import Domain, is_within
from dmarcmilter.dmarc.record import Policy as Disposition
from dmarcmilter.rules import STRICT, Entry, EntryAction, NamePattern, Override, RecipientPattern, Rules, TrustedHops

DISPOSITIONS = {
    EntryAction.ACCEPT: Disposition.NONE,
    EntryAction.NONE: Disposition.NONE,
    EntryAction.QUARANTINE: Disposition.QUARANTINE,
    EntryAction.REJECT: Disposition.REJECT,
}
SEVERITY = (Disposition.NONE, Disposition.QUARANTINE, Disposition.REJECT)


def deciding(case: Case, rules: Rules, requested: Disposition) -> Entry | None:
    """The first entry that matches a message for which `requested` is asked; what comes after it is not looked at."""
    for entry in rules.overrides:
        if _may_decide(entry, case, requested) and _matches(entry, case, rules):
            return entry
    return None


def accepting(case: Case, rules: Rules) -> Entry | None:
    """The first matching entry that delivers in any case: for messages of which DMARC says nothing."""
    for entry in rules.overrides:
        if entry.action is EntryAction.ACCEPT and _is_entitled(entry) and _matches(entry, case, rules):
            return entry
    return None


def override(entry: Entry) -> Override:
    strict = entry.action in STRICT
    comment = entry.comment or ("local rule for this domain" if strict else "local exception")
    return Override(entry.reason, comment, entry=entry.name)


def is_authenticated(entry: Entry) -> bool:
    """Whether one of its criteria cannot be met by writing something into a message."""
    return bool(entry.dkim_domain or entry.spf_domain or entry.client or entry.arc_sealer)


def _is_entitled(entry: Entry) -> bool:
    return not entry.require_auth or is_authenticated(entry)


def _may_decide(entry: Entry, case: Case, requested: Disposition) -> bool:
    """What softens needs something that the sender cannot write; what hardens is for strangers to the domain only."""
    difference = SEVERITY.index(DISPOSITIONS[entry.action]) - SEVERITY.index(requested)
    if entry.action not in STRICT or difference < 0:
        return _is_entitled(entry)
    if difference > 0 and not entry.from_domain:
        return False
    return _is_strangers(case)


def _is_strangers(case: Case) -> bool:
    """No identifier of the Author Domain's organization authenticates the message, or might but for DNS or a limit.

    Relaxed alignment and more: strict alignment is the Domain Owner's choice, and where no policy is published he has
    made none. Mail that is probably his own must not be refused for a rule that he does not know.
    """
    organization = case.organization
    if organization is None:
        return False
    return not any(is_within(name, organization) for name in (*case.authenticated, *case.unsettled, *case.cut_off))


def _matches(entry: Entry, case: Case, rules: Rules) -> bool:
    if entry.expires is not None and case.day >= entry.expires:
        return False
    author = (case.author,) if case.author else ()
    spf = (case.spf_domain,) if case.spf_domain else ()
    return (
        _any_covered(entry.from_domain, author)
        and _any_covered(entry.dkim_domain, case.dkim_domains)
        and _any_covered(entry.spf_domain, spf)
        and _any_covered(entry.list_id, case.list_ids)
        and (not entry.client or _is_in(case, entry))
        and (not entry.arc_sealer or _is_sealed(entry.arc_sealer, case, rules))
        and (not entry.recipient or _are_all_for(entry.recipient, case))
    )


def _any_covered(patterns: tuple[NamePattern, ...], names: Iterable[Domain]) -> bool:
    """Without patterns: not a criterion of this entry."""
    return not patterns or any(pattern.covers(name) for name in names for pattern in patterns)


def _is_in(case: Case, entry: Entry) -> bool:
    client = case.client_ip
    return client is not None and any(client in network for network in entry.client)


def _is_sealed(patterns: tuple[NamePattern, ...], case: Case, rules: Rules) -> bool:
    """By one of these sealers, with none but trusted ones since: whoever seals last could have rewritten all before."""
    run = []
    for hop in case.hops:
        own = any(pattern.covers(hop.sealer) for pattern in patterns)
        if not own and hop.sealer not in rules.trusted_sealers:
            break
        run.append(own)
    if rules.trusted_hops is TrustedHops.ALL and len(run) < len(case.hops):
        return False
    return any(run)


def _are_all_for(patterns: tuple[RecipientPattern, ...], case: Case) -> bool:
    """One message has one answer, so it takes all of its recipients."""
    if not case.recipients or case.more_recipients:
        return False
    return all(any(_is_for(pattern, path) for pattern in patterns) for path in case.recipients)


def _is_for(pattern: RecipientPattern, path: bytes) -> bool:
    local, _, host = path.rpartition(b"@")
    # Mail to joe+anything@ is joe's (RFC 5233).
    if pattern.local is not None and pattern.local not in (local.lower(), local.lower().partition(b"+")[0]):
        return False
    domain = domains.parse(host)
    return domain is not None and pattern.domain.covers(domain)
