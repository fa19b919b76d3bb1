"""Find the [[override]] entry that decides about a message. Pure.

The criteria of an entry are fields of `policy.rules.OverrideRule`; `config.override_entries` reads them from the conf
file.
"""

from collections.abc import Iterable, Sequence
from enum import Enum, auto

from dmarcmilter.dmarc.record import Disposition
from dmarcmilter.mail import path
from dmarcmilter.mail.domain import Domain, is_within
from dmarcmilter.mail.path import Mailbox
from dmarcmilter.policy.facts import Facts
from dmarcmilter.policy.rules import (
    STRICT,
    EntryAction,
    NamePattern,
    Override,
    OverrideRule,
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
    """Some recipients match, or an address has several readings, or there are recipients that were not kept."""
    YES = auto()


def deciding(facts: Facts, rules: Rules, requested: Disposition) -> OverrideRule | None:
    """The first entry that matches a message with this requested disposition; entries after it are ignored.

    A possible match counts if it is the stricter choice. So a sender can neither evade an entry nor profit from one by
    the spelling of a recipient or by an additional recipient.
    """
    strictest: OverrideRule | None = None
    recipients = _read_recipients(facts, rules)
    for entry in rules.overrides:
        match = _match(entry, facts, rules, recipients) if _may_decide(entry, facts, requested) else Match.NO
        if match is Match.YES:
            return entry if strictest is None or _severity(entry) > _severity(strictest) else strictest
        is_strict = _severity(entry) >= max(1, SEVERITY.index(requested))
        if match is Match.POSSIBLE and is_strict and (strictest is None or _severity(entry) > _severity(strictest)):
            strictest = entry
    return strictest


def _severity(entry: OverrideRule) -> int:
    return SEVERITY.index(DISPOSITIONS[entry.action])


def accepting(facts: Facts, rules: Rules) -> OverrideRule | None:
    """The first matching entry that accepts. For messages without a DMARC policy or result."""
    recipients = _read_recipients(facts, rules)
    for entry in rules.overrides:
        accepts = entry.action is EntryAction.ACCEPT and _is_entitled(entry)
        if accepts and _match(entry, facts, rules, recipients) is Match.YES:
            return entry
    return None


def override(entry: OverrideRule) -> Override:
    strict = entry.action in STRICT
    reason = Reason.of(Code.LOCAL_RULE if strict else Code.LOCAL_EXCEPTION)
    if entry.comment:
        reason = Reason.of(Code.OPERATOR_COMMENT, text=entry.comment)
    return Override(entry.reason, reason, entry=entry.name)


def is_authenticated(entry: OverrideRule) -> bool:
    """Whether one of its criteria cannot be met by writing header fields alone."""
    return bool(entry.dkim_domain or entry.spf_domain or entry.client or entry.arc_sealer)


def _is_entitled(entry: OverrideRule) -> bool:
    return not entry.require_auth or is_authenticated(entry)


def _may_decide(entry: OverrideRule, facts: Facts, requested: Disposition) -> bool:
    """Whether the entry may decide about the message.

    A softening entry needs a criterion that the sender cannot write; a hardening one spares the domain's own mail.
    """
    difference = SEVERITY.index(DISPOSITIONS[entry.action]) - SEVERITY.index(requested)
    if entry.action not in STRICT or difference < 0:
        return _is_entitled(entry)
    if difference > 0 and not entry.from_domain:
        return False
    return _is_unaligned(facts)


def _is_unaligned(facts: Facts) -> bool:
    """Whether no identifier of the Author Domain's organization authenticates the message, nor was left open.

    Wider than relaxed alignment: only a Domain Owner who publishes a policy can ask for strict alignment. Mail that is
    probably the domain's own must not be rejected by a rule that the Domain Owner does not know.
    """
    organization = facts.organization
    if organization is None:
        return False
    return not any(is_within(name, organization) for name in (*facts.authenticated, *facts.unresolved, *facts.cut_off))


ReadRecipients = Sequence[Mailbox | None]


def _read_recipients(facts: Facts, rules: Rules) -> ReadRecipients:
    """Read the recipients once for all entries: both may be many."""
    return path.read_all(facts.recipients) if rules.needs_recipients else ()


def _match(entry: OverrideRule, facts: Facts, rules: Rules, recipients: ReadRecipients) -> Match:
    if not _has_criteria(entry, facts, rules):
        return Match.NO
    return _match_recipients(entry.recipient, facts, recipients) if entry.recipient else Match.YES


def _has_criteria(entry: OverrideRule, facts: Facts, rules: Rules) -> bool:
    """Whether the message meets all criteria except the recipients."""
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
    """Whether a name is covered; yes without patterns, because then it is not a criterion of the entry."""
    return not patterns or any(pattern.covers(name) for name in names for pattern in patterns)


def _is_in(facts: Facts, entry: OverrideRule) -> bool:
    client = facts.client_ip
    return client is not None and any(client in network for network in entry.client)


def _is_sealed(patterns: tuple[NamePattern, ...], facts: Facts, rules: Rules) -> bool:
    """Whether one of these sealers sealed the message, with only trusted sealers after it.

    Each sealer could have rewritten all that came before it.
    """
    run = []
    for hop in facts.hops:
        own = any(pattern.covers(hop.sealer) for pattern in patterns)
        if not own and hop.sealer not in rules.trusted_sealers:
            break
        run.append(own)
    if rules.trusted_hops is TrustedHops.ALL and len(run) < len(facts.hops):
        return False
    return any(run)


def _match_recipients(patterns: tuple[RecipientPattern, ...], facts: Facts, recipients: ReadRecipients) -> Match:
    """YES if all recipients match, POSSIBLE if some do: one message gets one answer."""
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
