"""Mitigations: rules that soften what is done to a message that fails DMARC (RFC 9989 7.4), each with its reason.

The order is the order in MITIGATIONS; docs/overrides.md shows it as a table.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile

from dmarcmilter.dmarc.record import Disposition
from dmarcmilter.mail.domain import Domain, is_within
from dmarcmilter.policy import overrides
from dmarcmilter.policy.facts import ArcHop, Facts, Unvouched
from dmarcmilter.policy.rules import (
    Override,
    QuarantineAction,
    ReasonType,
    RejectAction,
    Rules,
    TracesAction,
    TrustedHops,
)
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.value import Value, replace

Softer = tuple[Disposition, Override]
Rule = Callable[[Facts, Rules, Disposition], Softer | None]


class Mitigation(Value):
    """A rule that softens what is done to a message that fails, and the disposition that it leads to."""

    place: int
    """Position of the rule in MITIGATIONS: the first that applies counts."""
    disposition: Disposition
    override: Override


def first(facts: Facts, rules: Rules, requested: Disposition) -> Mitigation | None:
    """The first mitigation that applies to a message with this requested disposition; None: none applies."""
    return _first_of(MITIGATIONS, facts, rules, requested)


def with_client_names(
    facts: Facts, rules: Rules, requested: Disposition, without: Mitigation | None
) -> Mitigation | None:
    """The first mitigation, now that the client's names are known too. `without` is the first without them.

    Only the rules that look at these names are evaluated.
    """
    by_name = _first_of(BY_CLIENT_NAME, facts, rules, requested)
    applicable = [mitigation for mitigation in (by_name, without) if mitigation]
    return min(applicable, key=lambda mitigation: mitigation.place, default=None)


def _first_of(candidates: Sequence[Rule], facts: Facts, rules: Rules, requested: Disposition) -> Mitigation | None:
    for rule in candidates:
        softer = rule(facts, rules, requested)
        if softer:
            return Mitigation(MITIGATIONS.index(rule), *softer)
    return None


def trusted_arc_sealer(facts: Facts, rules: Rules, requested: Disposition) -> Softer | None:  # noqa: ARG001
    """A passing chain in which a trusted sealer saw DMARC pass for this same Author Domain (RFC 8617 7.2.1).

    Only the unbroken run of trusted sealers from the newest on counts, because each sealer could have rewritten all
    that came before it. With `trusted_hops = "all"` the run must be the whole chain.
    """
    run = _trusted_run(facts, rules)
    if rules.trusted_hops is TrustedHops.ALL and len(run) < len(facts.hops):
        return None
    vouched = any(hop.vouches for hop in run)
    return (Disposition.NONE, Override(ReasonType.LOCAL_POLICY, _arc_reason(facts))) if vouched else None


def why_unvouched(facts: Facts, rules: Rules) -> Unvouched | None:
    """Why a passing chain does not count although a trusted sealer sealed it last; None: it counts, or none did.

    Of several trusted hops, the oldest gives the reason: it saw the message before the others changed it.
    """
    run = _trusted_run(facts, rules)
    if not run:
        return None
    if rules.trusted_hops is TrustedHops.ALL and len(run) < len(facts.hops):
        return Unvouched.UNTRUSTED_HOP
    return None if any(hop.vouches for hop in run) else run[-1].unvouched


def _trusted_run(facts: Facts, rules: Rules) -> list[ArcHop]:
    """The unbroken run of trusted sealers from the newest on."""
    return list(takewhile(lambda hop: hop.sealer in rules.trusted_sealers, facts.hops))


def _arc_reason(facts: Facts) -> Reason:
    """The comment of RFC 8617 7.2.2: the chain's status, domain and selector of each seal, and where it came from."""
    seals = " ".join(f"as[{hop.instance}].d={hop.sealer} as[{hop.instance}].s={hop.selector}" for hop in facts.hops)
    origin = f" remote-ip[{facts.hops[-1].instance}]={facts.arc_origin}" if facts.arc_origin else ""
    return Reason.of(Code.TRUSTED_ARC_SEALER, chain=f"{seals}{origin}")


def forwarder_network(facts: Facts, rules: Rules, requested: Disposition) -> Softer | None:  # noqa: ARG001
    """A client in a network that the operator trusts to check the mail that it forwards."""
    client = facts.client_ip
    if client is not None and any(client in network for network in rules.forwarder_networks):
        return Disposition.NONE, Override(ReasonType.TRUSTED_FORWARDER, Reason.of(Code.FORWARDER_NETWORK))
    return None


def forwarder_name(facts: Facts, rules: Rules, requested: Disposition) -> Softer | None:  # noqa: ARG001
    """A client with a confirmed name that the operator trusts to check the mail that it forwards."""
    names = facts.client_names.names if facts.client_names else ()
    for trusted in rules.forwarder_names:
        if any(is_within(name, trusted) for name in names):
            return Disposition.NONE, Override(
                ReasonType.TRUSTED_FORWARDER, Reason.of(Code.FORWARDER_NAME, domain=trusted)
            )
    return None


def known_mailing_list(facts: Facts, rules: Rules, requested: Disposition) -> Softer | None:  # noqa: ARG001
    """A mailing list that the operator trusts, with an Authenticated Identifier of the same domain."""
    for known in rules.mailing_lists:
        named = any(is_within(name, known) for name in facts.list_ids)
        if named and any(is_within(name, known) for name in facts.authenticated):
            return Disposition.NONE, Override(ReasonType.MAILING_LIST, Reason.of(Code.KNOWN_MAILING_LIST, domain=known))
    return None


def mailing_list_traces(facts: Facts, rules: Rules, requested: Disposition) -> Softer | None:
    """A mailing list field. Anyone can write one, so it softens reject to quarantine and no further."""
    if rules.mailing_list_traces is TracesAction.IGNORE or not facts.list_traces:
        return None
    if not _may_become_quarantine(rules, requested):
        return None
    reason = Reason.of(Code.MAILING_LIST_TRACES, field=facts.list_traces[0])
    return Disposition.QUARANTINE, Override(ReasonType.MAILING_LIST, reason)


def unanswered_client_name(facts: Facts, rules: Rules, requested: Disposition) -> Softer | None:
    """A DNS error left open whether the client has a trusted name."""
    if facts.client_names is None or not facts.client_names.failed or not _may_become_quarantine(rules, requested):
        return None
    return Disposition.QUARANTINE, Override(ReasonType.LOCAL_POLICY, Reason.of(Code.FORWARDER_OPEN_DNS))


def unanswered(facts: Facts, rules: Rules, requested: Disposition) -> Softer | None:
    """A DNS error or a limit left open whether a softening rule applies: rejected, a genuine message could be lost.

    Senders can make lookups of their own names fail, so this softens to quarantine and no further.
    """
    if not _may_become_quarantine(rules, requested):
        return None
    if any(_would_soften(supposed, rules, requested) for supposed in _supposed(facts)):
        code = Code.EXCEPTION_OPEN_DNS
    elif any(_would_soften(_with_domain(facts, name), rules, requested) for name in facts.cut_off):
        code = Code.EXCEPTION_OPEN_LIMIT
    else:
        return None
    return Disposition.QUARANTINE, Override(ReasonType.LOCAL_POLICY, Reason.of(code))


def _supposed(facts: Facts) -> Iterator[Facts]:
    """The facts as they would be if one of the failed lookups had the best answer for the message."""
    for name in facts.unresolved:
        yield _with_domain(facts, name)
    if facts.unresolved_sealer is not None:
        yield replace(facts, hops=(ArcHop(1, facts.unresolved_sealer, "", vouches=True),))


def _with_domain(facts: Facts, name: Domain) -> Facts:
    """The facts as they would be if that domain authenticated the message."""
    return replace(facts, dkim_domains=(*facts.dkim_domains, name), spf_domain=facts.spf_domain or name)


def _would_soften(supposed: Facts, rules: Rules, requested: Disposition) -> bool:
    """Whether an entry or a mitigation would soften the disposition if these were the facts."""
    entry = overrides.deciding(supposed, rules, requested)
    softer = entry is not None and overrides.DISPOSITIONS[entry.action] is not requested
    return softer or any(rule(supposed, rules, requested) for rule in (trusted_arc_sealer, known_mailing_list))


def _may_become_quarantine(rules: Rules, requested: Disposition) -> bool:
    """Whether reject may be softened to quarantine.

    Not if reject acts as something milder already, nor if quarantine does nothing: then a fact that anyone can bring
    about would let the message through.
    """
    return (
        requested is Disposition.REJECT
        and rules.reject_action is RejectAction.REJECT
        and rules.quarantine_action is not QuarantineAction.NONE
    )


MITIGATIONS: tuple[Rule, ...] = (
    trusted_arc_sealer,
    forwarder_network,
    forwarder_name,
    known_mailing_list,
    mailing_list_traces,
    unanswered_client_name,
    unanswered,
)
"""All rules, in order: the first that applies counts. The [[override]] entries come before all of them."""
BY_CLIENT_NAME = (forwarder_name, unanswered_client_name)
"""The rules of MITIGATIONS that look at the client's names."""
