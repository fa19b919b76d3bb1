"""From the standard's answer to what is done here: the ordered rules that soften, and the operator's choices.

RFC 9989 7.4 forbids rejecting on p=reject alone, so before a message is refused the rules look for what speaks for
it. Each effect is an Override with the reason type that RFC 9990 reports need, and RFC 7489's for the older shape.
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from dmarcmilter import authresreader
from dmarcmilter.dmarc import domain as domains
from dmarcmilter.dmarc.author import AuthorProblem
from dmarcmilter.dmarc.domain import Domain
from dmarcmilter.dmarc.evaluation import Assessment, DmarcWord, Evaluation
from dmarcmilter.dmarc.record import Policy as Disposition
from dmarcmilter.evidence import ArcSet, ArcWord, Evidence
from dmarcmilter.message import UNCLEANABLE, Message
from dmarcmilter.rules import (
    Action,
    AuthorAction,
    Mode,
    OnTemperror,
    Override,
    QuarantineAction,
    ReasonType,
    RejectAction,
    Rules,
    TracesAction,
)


@dataclass(frozen=True, slots=True)
class Case:
    """All that a rule may look at."""

    message: Message
    evidence: Evidence
    rules: Rules


@dataclass(frozen=True, slots=True)
class Decision:
    disposition: Disposition
    """What is done with the message, in DMARC's words."""
    action: Action
    """What the MTA is told."""
    would: Action
    """What it would be told in mode enforce."""
    overrides: tuple[Override, ...] = ()


def decide(case: Case, evaluation: Evaluation, assessment: Assessment | None) -> Decision:
    """Honour, soften or defer (RFC 9989 5.3.6, 5.4, 7.4)."""
    if case.message.truncated == UNCLEANABLE:
        # In every mode: passing it on would deliver results in our name that we did not write (RFC 8601 5).
        return Decision(Disposition.REJECT, Action.REJECT, Action.REJECT)
    if case.evidence.author.problem is not None:
        return _enforced(case.rules, *_for_author_problem(case))
    if evaluation.result is DmarcWord.TEMPERROR:
        would = Action.TEMPFAIL if case.rules.temperror is OnTemperror.TEMPFAIL else Action.ACCEPT
        action = would if case.rules.mode is Mode.ENFORCE else Action.ACCEPT
        return Decision(Disposition.NONE, action, would)
    if evaluation.result is not DmarcWord.FAIL or assessment is None:
        return Decision(Disposition.NONE, Action.ACCEPT, Action.ACCEPT)
    wanted, overrides = _softened(case, assessment)
    return _enforced(case.rules, wanted, overrides)


def _for_author_problem(case: Case) -> tuple[Disposition, tuple[Override, ...]]:
    """A From field that names no single Author Domain is outside DMARC, yet an evasion (RFC 9989 11.5)."""
    rules = case.rules
    action = {
        AuthorProblem.MISSING: rules.on_missing,
        AuthorProblem.NO_DOMAIN: rules.on_missing,
        AuthorProblem.SEVERAL_FIELDS: rules.on_multiple,
        AuthorProblem.SEVERAL_DOMAINS: rules.on_multiple,
        AuthorProblem.MALFORMED: rules.on_malformed,
    }[case.evidence.author.problem or AuthorProblem.MALFORMED]
    wanted = {
        AuthorAction.REJECT: Disposition.REJECT,
        AuthorAction.QUARANTINE: Disposition.QUARANTINE,
        AuthorAction.ACCEPT: Disposition.NONE,
    }[action]
    if wanted is Disposition.REJECT and case.evidence.author.problem is AuthorProblem.NO_DOMAIN:
        return _bounce_kept(case)
    return wanted, ()


def _bounce_kept(case: Case) -> tuple[Disposition, tuple[Override, ...]]:
    """Some systems send bounces From `MAILER-DAEMON` without a domain: nobody is impersonated, somebody may wait."""
    if case.message.envelope.mail_from:
        return Disposition.REJECT, ()
    return Disposition.QUARANTINE, (Override(ReasonType.OTHER, "a bounce whose From has no domain"),)


def _softened(case: Case, assessment: Assessment) -> tuple[Disposition, tuple[Override, ...]]:
    """The policy after t or pct, then after the first rule that finds something to say for the message."""
    overrides = _of_assessment(assessment)
    wanted = assessment.requested
    if wanted is not Disposition.NONE:
        for rule in WHAT_SPEAKS_FOR_IT:
            found = rule(case, wanted)
            if found:
                softer, override = found
                return softer, (*overrides, override)
    return wanted, overrides


def _of_assessment(assessment: Assessment) -> tuple[Override, ...]:
    """Reported only when the outcome changed (RFC 9990 3.1.6; RFC 7489 6.6.4)."""
    if assessment.requested is assessment.policy:
        return ()
    if assessment.test_mode:
        return (Override(ReasonType.POLICY_TEST_MODE, "t=y: one level lower", "other"),)
    return (Override(ReasonType.LOCAL_POLICY, "not selected by pct", "sampled_out"),)


Rule = Callable[[Case, Disposition], tuple[Disposition, Override] | None]


def trusted_arc_sealer(case: Case, wanted: Disposition) -> tuple[Disposition, Override] | None:  # noqa: ARG001
    """A passing chain in which a trusted sealer saw DMARC pass for this same Author Domain (RFC 8617 7.2.1).

    Only the unbroken run of trusted sealers from the newest on is believed: whoever sealed last could have
    rewritten all that came before.
    """
    arc = case.evidence.arc
    author = case.evidence.author.domain
    if arc.result is not ArcWord.PASS or author is None:
        return None
    for sealed in arc.sets:
        if sealed.sealer not in case.rules.trusted_sealers:
            return None
        if _vouches(sealed, author):
            return Disposition.NONE, Override(ReasonType.LOCAL_POLICY, _arc_comment(case))
    return None


def _vouches(sealed: ArcSet, author: Domain) -> bool:
    parsed = authresreader.parse(sealed.results)
    if parsed is None:
        return False
    return any(
        found.method == "dmarc"
        and found.result == "pass"
        and any(name == "header.from" and domains.parse(value) == author for name, value in found.properties)
        for found in parsed.results
    )


def _arc_comment(case: Case) -> str:
    """What RFC 8617 7.2.2 asks for: the chain's status, domain and selector of each seal, and where it came from."""
    seals = " ".join(
        f"as[{sealed.instance}].d={sealed.sealer} as[{sealed.instance}].s={sealed.selector}"
        for sealed in case.evidence.arc.sets
    )
    return f"arc=pass {seals}{_origin(case.evidence.arc.sets[-1])}"


def _origin(first: ArcSet) -> str:
    """The client of the first hop, if that hop recorded it."""
    parsed = authresreader.parse(first.results)
    for found in parsed.results if parsed else ():
        for name, value in found.properties:
            if name == "smtp.remote-ip" and (address := _address(value)):
                return f" remote-ip[{first.instance}]={address}"
    return ""


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        return ""


def mailing_list_traces(case: Case, wanted: Disposition) -> tuple[Disposition, Override] | None:
    """Anyone can write List-Id: it softens reject to quarantine, and never further."""
    rules = case.rules
    if wanted is not Disposition.REJECT or rules.mailing_list_traces is TracesAction.IGNORE:
        return None
    # Where reject already acts as something milder, quarantine would be the harder word; and where quarantine does
    # nothing, the traces alone would let the message through.
    if rules.reject_action is not RejectAction.REJECT or rules.quarantine_action is QuarantineAction.NONE:
        return None
    seen = [name for name in ("List-Id", "List-Post") if any(case.message.fields(name.lower().encode()))]
    if not seen:
        return None
    return Disposition.QUARANTINE, Override(ReasonType.MAILING_LIST, f"{seen[0]} present, not authenticated")


WHAT_SPEAKS_FOR_IT: tuple[Rule, ...] = (trusted_arc_sealer, mailing_list_traces)
"""First match wins."""


def _enforced(rules: Rules, wanted: Disposition, overrides: tuple[Override, ...]) -> Decision:
    """The operator's limits on what may be done to mail at all."""
    disposition, overrides = _limited(rules, wanted, overrides)
    would = {
        Disposition.NONE: Action.ACCEPT,
        Disposition.QUARANTINE: Action.QUARANTINE
        if rules.quarantine_action is QuarantineAction.HOLD
        else Action.ACCEPT,
        Disposition.REJECT: Action.REJECT,
    }[disposition]
    if rules.mode is Mode.MONITOR and disposition is not Disposition.NONE:
        monitoring = Override(ReasonType.LOCAL_POLICY, f"mode is monitor: would be {disposition}")
        return Decision(Disposition.NONE, Action.ACCEPT, would, (*overrides, monitoring))
    return Decision(disposition, would, would, overrides)


def _limited(
    rules: Rules,
    wanted: Disposition,
    overrides: tuple[Override, ...],
) -> tuple[Disposition, tuple[Override, ...]]:
    disposition = wanted
    if disposition is Disposition.REJECT and rules.reject_action is not RejectAction.REJECT:
        disposition = Disposition(rules.reject_action)
    if disposition is Disposition.QUARANTINE and rules.quarantine_action is QuarantineAction.NONE:
        disposition = Disposition.NONE
    if disposition is wanted:
        return wanted, overrides
    return disposition, (*overrides, Override(ReasonType.LOCAL_POLICY, f"{wanted} is set to act as {disposition}"))
