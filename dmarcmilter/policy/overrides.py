"""The [[override]] entries: which one decides about a message. Pure."""

from collections.abc import Iterable, Sequence
from enum import Enum, auto

from dmarcmilter.dmarc.record import Policy as Disposition
from dmarcmilter.mail import path
from dmarcmilter.mail.domain import Domain, is_within
from dmarcmilter.mail.path import Mailbox
from dmarcmilter.policy.facts import Facts
from dmarcmilter.policy.types import (
    STRICT,
    Entry,
    EntryAction,
    NamePattern,
    Override,
    RecipientPattern,
    Rules,
    TrustedHops,
)
from dmarcmilter.reasons import Code, Reason

DISPOSITIONS = {
    EntryAction.ACCEPT: Disposition.NONE,
    EntryAction.NONE: Disposition.NONE,
    EntryAction.QUARANTINE: Disposition.QUARANTINE,
    EntryAction.REJECT: Disposition.REJECT,
}
SEVERITY = (Disposition.NONE, Disposition.QUARANTINE, Disposition.REJECT)


class Match(Enum):
    NO = auto()
    POSSIBLE = auto()
    """Of some recipients, of addresses without a single reading, or of recipients beyond those that are kept."""
    YES = auto()


def deciding(facts: Facts, rules: Rules, requested: Disposition) -> Entry | None:
    """The first entry that matches a message for which `requested` is asked; what comes after it is not looked at.

    A possible match counts where it is the stricter choice: no sender shall evade an entry, or be let through by one,
    by the spelling of a recipient or by a further recipient.
    """
    strictest: Entry | None = None
    recipients = _read_recipients(facts, rules)
    for entry in rules.overrides:
        match = _match(entry, facts, rules, recipients) if _may_decide(entry, facts, requested) else Match.NO
        if match is Match.YES:
            return entry if strictest is None or _severity(entry) > _severity(strictest) else strictest
        is_strict = _severity(entry) >= max(1, SEVERITY.index(requested))
        if match is Match.POSSIBLE and is_strict and (strictest is None or _severity(entry) > _severity(strictest)):
            strictest = entry
    return strictest


def _severity(entry: Entry) -> int:
    return SEVERITY.index(DISPOSITIONS[entry.action])


def accepting(facts: Facts, rules: Rules) -> Entry | None:
    """The first matching entry that delivers in any case: for messages of which DMARC says nothing."""
    recipients = _read_recipients(facts, rules)
    for entry in rules.overrides:
        accepts = entry.action is EntryAction.ACCEPT and _is_entitled(entry)
        if accepts and _match(entry, facts, rules, recipients) is Match.YES:
            return entry
    return None


def override(entry: Entry) -> Override:
    strict = entry.action in STRICT
    reason = Reason(Code.LOCAL_RULE if strict else Code.LOCAL_EXCEPTION)
    if entry.comment:
        reason = Reason(Code.OPERATOR_COMMENT, text=entry.comment)
    return Override(entry.reason, reason, entry=entry.name)


def is_authenticated(entry: Entry) -> bool:
    """Whether one of its criteria cannot be met by writing something into a message."""
    return bool(entry.dkim_domain or entry.spf_domain or entry.client or entry.arc_sealer)


def _is_entitled(entry: Entry) -> bool:
    return not entry.require_auth or is_authenticated(entry)


def _may_decide(entry: Entry, facts: Facts, requested: Disposition) -> bool:
    """What softens needs something that the sender cannot write; what hardens is for strangers to the domain only."""
    difference = SEVERITY.index(DISPOSITIONS[entry.action]) - SEVERITY.index(requested)
    if entry.action not in STRICT or difference < 0:
        return _is_entitled(entry)
    if difference > 0 and not entry.from_domain:
        return False
    return _is_strangers(facts)


def _is_strangers(facts: Facts) -> bool:
    """No identifier of the Author Domain's organization authenticates the message, or might but for DNS or a limit.

    Relaxed alignment and more: strict alignment is the Domain Owner's choice, and where no policy is published he has
    made none. Mail that is probably his own must not be refused for a rule that he does not know.
    """
    organization = facts.organization
    if organization is None:
        return False
    return not any(is_within(name, organization) for name in (*facts.authenticated, *facts.unsettled, *facts.cut_off))


Recipients = Sequence[Mailbox | None]


def _read_recipients(facts: Facts, rules: Rules) -> Recipients:
    """Once for all entries: a message may have many, and be matched with many."""
    return path.read_all(facts.recipients) if rules.needs_recipients else ()


def _match(entry: Entry, facts: Facts, rules: Rules, recipients: Recipients) -> Match:
    if not _has_criteria(entry, facts, rules):
        return Match.NO
    return _match_recipients(entry.recipient, facts, recipients) if entry.recipient else Match.YES


def _has_criteria(entry: Entry, facts: Facts, rules: Rules) -> bool:
    """All but the recipients."""
    if entry.expires is not None and facts.day >= entry.expires:
        return False
    author = (facts.author,) if facts.author else ()
    spf = (facts.spf_domain,) if facts.spf_domain else ()
    return (
        _any_covered(entry.from_domain, author)
        and _any_covered(entry.dkim_domain, facts.dkim_domains)
        and _any_covered(entry.spf_domain, spf)
        and _any_covered(entry.list_id, facts.list_ids)
        and (not entry.client or _is_in(facts, entry))
        and (not entry.arc_sealer or _is_sealed(entry.arc_sealer, facts, rules))
    )


def _any_covered(patterns: tuple[NamePattern, ...], names: Iterable[Domain]) -> bool:
    """Without patterns: not a criterion of this entry."""
    return not patterns or any(pattern.covers(name) for name in names for pattern in patterns)


def _is_in(facts: Facts, entry: Entry) -> bool:
    client = facts.client_ip
    return client is not None and any(client in network for network in entry.client)


def _is_sealed(patterns: tuple[NamePattern, ...], facts: Facts, rules: Rules) -> bool:
    """By one of these sealers, with none but trusted ones since: whoever seals last could have rewritten all before."""
    run = []
    for hop in facts.hops:
        own = any(pattern.covers(hop.sealer) for pattern in patterns)
        if not own and hop.sealer not in rules.trusted_sealers:
            break
        run.append(own)
    if rules.trusted_hops is TrustedHops.ALL and len(run) < len(facts.hops):
        return False
    return any(run)


def _match_recipients(patterns: tuple[RecipientPattern, ...], facts: Facts, recipients: Recipients) -> Match:
    """One message has one answer: a match for all recipients alike is sure, one for some of them only possible."""
    matches = {_match_recipient(patterns, mailbox) for mailbox in recipients}
    if not matches:
        return Match.NO
    return Match.POSSIBLE if facts.more_recipients or len(matches) > 1 else matches.pop()


def _match_recipient(patterns: tuple[RecipientPattern, ...], mailbox: Mailbox | None) -> Match:
    if mailbox is None or not mailbox.plain:
        return Match.POSSIBLE
    return Match.YES if any(_is_for(pattern, mailbox) for pattern in patterns) else Match.NO


def _is_for(pattern: RecipientPattern, mailbox: Mailbox) -> bool:
    # Mail to joe+anything@ is joe's (RFC 5233).
    if pattern.local is not None and pattern.local not in (mailbox.key, mailbox.key.partition("+")[0]):
        return False
    return pattern.domain.covers(mailbox.domain)
