"""What speaks for a message that fails DMARC (RFC 9989 7.4): the rules that soften, each with its report reason.

The order is the order in WHAT_SPEAKS_FOR_IT; docs/overrides.md shows it as a table.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import takewhile

from dmarcmilter.dmarc.record import Policy as Disposition
from dmarcmilter.mail.domain import Domain, is_within
from dmarcmilter.policy import overrides
from dmarcmilter.policy.facts import Case, Hop, Unvouched
from dmarcmilter.policy.types import (
    Override,
    QuarantineAction,
    ReasonType,
    RejectAction,
    Rules,
    TracesAction,
    TrustedHops,
)

Softer = tuple[Disposition, Override]
Rule = Callable[[Case, Rules, Disposition], Softer | None]


def softened(case: Case, rules: Rules, wanted: Disposition) -> Softer | None:
    """What the first rule that finds something makes of it."""
    for rule in WHAT_SPEAKS_FOR_IT:
        found = rule(case, rules, wanted)
        if found:
            return found
    return None


def trusted_arc_sealer(case: Case, rules: Rules, wanted: Disposition) -> Softer | None:  # noqa: ARG001
    """A passing chain in which a trusted sealer saw DMARC pass for this same Author Domain (RFC 8617 7.2.1).

    Only the unbroken run of trusted sealers from the newest on is believed: whoever sealed last could have
    rewritten all that came before. The operator may ask for more: that the run is the whole chain.
    """
    run = _trusted_run(case, rules)
    if rules.trusted_hops is TrustedHops.ALL and len(run) < len(case.hops):
        return None
    vouched = any(hop.vouches for hop in run)
    return (Disposition.NONE, Override(ReasonType.LOCAL_POLICY, _arc_comment(case))) if vouched else None


def why_unvouched(case: Case, rules: Rules) -> Unvouched | None:
    """Why a passing chain does not count although a trusted sealer sealed it last; None: it counts, or none did.

    Of several trusted hops the oldest one's reason: it saw the message first, before others changed it.
    """
    run = _trusted_run(case, rules)
    if not run:
        return None
    if rules.trusted_hops is TrustedHops.ALL and len(run) < len(case.hops):
        return Unvouched.UNTRUSTED_HOP
    return None if any(hop.vouches for hop in run) else run[-1].unvouched


def _trusted_run(case: Case, rules: Rules) -> list[Hop]:
    """The unbroken run of trusted sealers from the newest on."""
    return list(takewhile(lambda hop: hop.sealer in rules.trusted_sealers, case.hops))


def _arc_comment(case: Case) -> str:
    """What RFC 8617 7.2.2 asks for: the chain's status, domain and selector of each seal, and where it came from."""
    seals = " ".join(f"as[{hop.instance}].d={hop.sealer} as[{hop.instance}].s={hop.selector}" for hop in case.hops)
    origin = f" remote-ip[{case.hops[-1].instance}]={case.arc_origin}" if case.arc_origin else ""
    return f"arc=pass {seals}{origin}"


def trusted_forwarder(case: Case, rules: Rules, wanted: Disposition) -> Softer | None:  # noqa: ARG001
    """A client that the operator knows to pass on mail which it has checked: by network, or by confirmed name."""
    client = case.client_ip
    if client is not None and any(client in network for network in rules.forwarder_networks):
        return Disposition.NONE, Override(ReasonType.TRUSTED_FORWARDER, "client in [forwarders] networks")
    names = case.client_names.names if case.client_names else ()
    for trusted in rules.forwarder_names:
        if any(is_within(name, trusted) for name in names):
            return Disposition.NONE, Override(ReasonType.TRUSTED_FORWARDER, f"client within {trusted}")
    return None


def known_mailing_list(case: Case, rules: Rules, wanted: Disposition) -> Softer | None:  # noqa: ARG001
    """A list that the operator knows, and an identifier of the same domain that authenticates what the list sends."""
    for known in rules.mailing_lists:
        named = any(is_within(name, known) for name in case.list_ids)
        if named and any(is_within(name, known) for name in case.authenticated):
            return Disposition.NONE, Override(ReasonType.MAILING_LIST, f"list of {known}, authenticated")
    return None


def mailing_list_traces(case: Case, rules: Rules, wanted: Disposition) -> Softer | None:
    """Anyone can write List-Id: it softens reject to quarantine, and never further."""
    if rules.mailing_list_traces is TracesAction.IGNORE or not case.list_traces:
        return None
    if not _may_become_quarantine(rules, wanted):
        return None
    return Disposition.QUARANTINE, Override(
        ReasonType.MAILING_LIST, f"{case.list_traces[0]} present, not authenticated"
    )


def unanswered(case: Case, rules: Rules, wanted: Disposition) -> Softer | None:
    """DNS kept from us what might have spoken for it: a message that is refused does not come back.

    Whoever sends can make DNS fail, at least his own, so this lets nothing through either.
    """
    if not _may_become_quarantine(rules, wanted):
        return None
    if case.client_names is not None and case.client_names.failed:
        comment = "a DNS error left open whether the client is a trusted forwarder"
    elif any(_would_speak(supposed, rules, wanted) for supposed in _supposed(case)):
        comment = "a DNS error left open whether an exception applies"
    elif any(_would_speak(_with_domain(case, name), rules, wanted) for name in case.cut_off):
        comment = "a limit left open whether an exception applies"
    else:
        return None
    return Disposition.QUARANTINE, Override(ReasonType.LOCAL_POLICY, comment)


def _supposed(case: Case) -> Iterator[Case]:
    """The message as it would be if one of the answers that DNS kept from us were the best for it."""
    for name in case.unsettled:
        yield _with_domain(case, name)
    if case.unsettled_sealer is not None:
        yield replace(case, hops=(Hop(1, case.unsettled_sealer, "", vouches=True),))


def _with_domain(case: Case, name: Domain) -> Case:
    """The message as it would be if that domain authenticated it."""
    return replace(case, dkim_domains=(*case.dkim_domains, name), spf_domain=case.spf_domain or name)


def _would_speak(supposed: Case, rules: Rules, wanted: Disposition) -> bool:
    entry = overrides.deciding(supposed, rules, wanted)
    softer = entry is not None and overrides.DISPOSITIONS[entry.action] is not wanted
    return softer or any(rule(supposed, rules, wanted) for rule in (trusted_arc_sealer, known_mailing_list))


def _may_become_quarantine(rules: Rules, wanted: Disposition) -> bool:
    """Where reject already acts as something milder, quarantine would be the harder word; and where quarantine does
    nothing, what anyone can bring about would let the message through.
    """
    return (
        wanted is Disposition.REJECT
        and rules.reject_action is RejectAction.REJECT
        and rules.quarantine_action is not QuarantineAction.NONE
    )


WHAT_SPEAKS_FOR_IT: tuple[Rule, ...] = (
    trusted_arc_sealer,
    trusted_forwarder,
    known_mailing_list,
    mailing_list_traces,
    unanswered,
)
"""First match wins. The [[override]] entries come before all of them."""
