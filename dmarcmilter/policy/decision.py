"""From the standard's answer to what is done here: what speaks for the message, and the operator's choices.

RFC 9989 7.4 forbids rejecting on p=reject alone, so before a message is refused the rules look for what speaks for
it. Each effect is an Override with the reason type that RFC 9990 reports need, and RFC 7489's for the older shape.

In this order: [[override]] entries, what speaks for it (speaking), recipients who have opted out, what the operator
lets reject and quarantine do, the mode and its rollout.
"""

from dataclasses import dataclass, replace

from dmarcmilter.dmarc.author import AuthorProblem
from dmarcmilter.dmarc.evaluation import SEVERITY, Assessment, DmarcWord, Evaluation, Trouble
from dmarcmilter.dmarc.record import Policy as Disposition
from dmarcmilter.mail.domain import is_within
from dmarcmilter.mail.message import UNCLEANABLE
from dmarcmilter.policy import mitigations
from dmarcmilter.policy import overrides as entries
from dmarcmilter.policy.facts import Case
from dmarcmilter.policy.types import (
    AWAY,
    EVERY_MESSAGE,
    STRICT,
    Action,
    AuthorAction,
    DuplicateAction,
    Exempt,
    Mode,
    OnTemperror,
    Override,
    QuarantineAction,
    ReasonType,
    RejectAction,
    Rules,
)


@dataclass(frozen=True, slots=True)
class Decision:
    disposition: Disposition
    """What is done with the message, in DMARC's words."""
    action: Action
    """What the MTA is told."""
    would: Action
    """What it would be told in mode enforce, with everything in the rollout and nobody opted out."""
    would_disposition: Disposition
    """The disposition then."""
    overrides: tuple[Override, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be done, before the operator's limits."""

    disposition: Disposition = Disposition.NONE
    overrides: tuple[Override, ...] = ()
    is_deferred: bool = False


def decide(case: Case, rules: Rules, evaluation: Evaluation, assessment: Assessment | None) -> Decision:
    """Honour, soften, harden or defer (RFC 9989 5.3.6, 5.4, 7.4)."""
    if case.truncated == UNCLEANABLE:
        # In every mode: passing it on would deliver results in our name that we did not write (RFC 8601 5).
        return Decision(Disposition.REJECT, Action.REJECT, Action.REJECT, Disposition.REJECT)
    return _enforced(case, rules, _limited(rules, _wanted(case, rules, evaluation, assessment)))


def _wanted(case: Case, rules: Rules, evaluation: Evaluation, assessment: Assessment | None) -> Wanted:
    if case.author_problem is not None:
        return _unless_accepted(case, rules, _for_author_problem(case, rules, case.author_problem))
    if evaluation.result is DmarcWord.TEMPERROR:
        return _for_temperror(case, rules, evaluation, assessment)
    if evaluation.result is DmarcWord.FAIL and assessment is not None:
        return _as_requested(case, rules, assessment.requested, _of_assessment(assessment))
    if evaluation.result is DmarcWord.PASS and rules.on_unsigned_duplicate is not DuplicateAction.ACCEPT:
        return _unless_accepted(case, rules, _for_unsigned_duplicates(evaluation))
    if evaluation.result is DmarcWord.NONE and rules.forces:
        return _by_entry(case, rules, Disposition.NONE) or Wanted()
    return Wanted()


def _for_unsigned_duplicates(evaluation: Evaluation) -> Wanted:
    """Quarantine what passes by a signature that leaves out a second Subject, To, Date or the like (RFC 6376 8.15).

    With an aligned SPF pass nothing is gained: that client could send for the Author Domain without any signature.
    """
    if not (evaluation.unsigned_duplicates and evaluation.rests_on_dkim_alone):
        return Wanted()
    comment = f"fields added beside signed ones: {', '.join(evaluation.unsigned_duplicates)}"
    return Wanted(Disposition.QUARANTINE, (Override(ReasonType.LOCAL_POLICY, comment),))


def _unless_accepted(case: Case, rules: Rules, wanted: Wanted) -> Wanted:
    """An entry that accepts does so also where DMARC says nothing about the message."""
    if wanted.is_deferred or wanted.disposition is not Disposition.NONE:
        entry = entries.accepting(case, rules)
        if entry is not None:
            return Wanted(overrides=(entries.override(entry),))
    return wanted


def _for_author_problem(case: Case, rules: Rules, problem: AuthorProblem) -> Wanted:
    """A From field that names no single Author Domain is outside DMARC, yet an evasion (RFC 9989 11.5)."""
    action = {
        AuthorProblem.MISSING: rules.on_missing,
        AuthorProblem.NO_DOMAIN: rules.on_missing,
        AuthorProblem.SEVERAL_FIELDS: rules.on_multiple,
        AuthorProblem.SEVERAL_DOMAINS: rules.on_multiple,
        AuthorProblem.MALFORMED: rules.on_malformed,
    }[problem]
    wanted = {
        AuthorAction.REJECT: Disposition.REJECT,
        AuthorAction.QUARANTINE: Disposition.QUARANTINE,
        AuthorAction.ACCEPT: Disposition.NONE,
    }[action]
    if wanted is Disposition.REJECT and problem is AuthorProblem.NO_DOMAIN and case.null_reverse_path:
        # Some systems send bounces From `MAILER-DAEMON`: nobody is impersonated, somebody may wait for them.
        return Wanted(Disposition.QUARANTINE, (Override(ReasonType.OTHER, "a bounce whose From has no domain"),))
    return Wanted(wanted)


def _for_temperror(case: Case, rules: Rules, evaluation: Evaluation, assessment: Assessment | None) -> Wanted:
    """Deferred where the operator wants that, but not for ever; then, or at once, at most quarantined.

    RFC 9989 5.3.6 leaves the handling to the Mail Receiver. The sender chooses most of the names that are looked up,
    and can choose one whose lookup fails, so with a policy of quarantine or reject a failure never leads to less than
    quarantine. It never leads to more: the message may be genuine.
    """
    is_deferrable = any(_on(trouble, rules) is OnTemperror.TEMPFAIL for trouble in evaluation.troubles)
    if is_deferrable and not (case.deferral_unrecorded or _has_waited(case, rules)):
        return _unless_accepted(case, rules, Wanted(is_deferred=True))
    wanted = _while_open(case, rules, assessment)
    if wanted.disposition is Disposition.REJECT and rules.reject_action is RejectAction.REJECT:
        wanted = replace(wanted, disposition=Disposition.QUARANTINE)
    if wanted.disposition is not Disposition.NONE:
        comment = (
            "a limit left the DMARC result open: at most quarantined"
            if set(evaluation.troubles) == {Trouble.LIMIT}
            else "a DNS error left the DMARC result open: at most quarantined"
        )
        wanted = replace(wanted, overrides=(*wanted.overrides, Override(ReasonType.LOCAL_POLICY, comment)))
    elif is_deferrable and not wanted.overrides:
        comment = (
            "accepted without a DMARC result, because its deferral could not be recorded"
            if case.deferral_unrecorded
            else "accepted without a DMARC result, having been deferred for long enough"
        )
        wanted = Wanted(overrides=(Override(ReasonType.LOCAL_POLICY, comment),))
    return wanted


def _has_waited(case: Case, rules: Rules) -> bool:
    cap = rules.defer.cap
    return cap is not None and case.deferred_for is not None and case.deferred_for >= cap


def _while_open(case: Case, rules: Rules, assessment: Assessment | None) -> Wanted:
    """As if the message failed; `strictest` because it may be `np` that applies.

    Nothing is requested where an authenticated domain of the author's organization is probably aligned: such mail is
    genuine, and only its formal alignment is open.
    """
    if assessment is None or case.likely_aligned:
        return _as_requested(case, rules, Disposition.NONE, ())
    return _as_requested(case, rules, assessment.strictest, _of_assessment(assessment))


def _on(trouble: Trouble, rules: Rules) -> OnTemperror:
    if trouble is Trouble.LIMIT:
        return OnTemperror.ACCEPT  # the same message reaches the same limit again
    own = {
        Trouble.POLICY: rules.defer.policy,
        Trouble.DKIM_KEY: rules.defer.dkim_key,
        Trouble.SPF: rules.defer.spf,
    }[trouble]
    return own or rules.temperror


def _as_requested(case: Case, rules: Rules, wanted: Disposition, overrides: tuple[Override, ...]) -> Wanted:
    """The policy after t or pct (`overrides`), then as the deciding entry says, else as the first mitigation says."""
    forced = _by_entry(case, rules, wanted)
    if forced is not None:
        is_harder = SEVERITY.index(forced.disposition) > SEVERITY.index(wanted)
        # Stricter than what t or pct have made of it: then they have changed nothing.
        return forced if is_harder else Wanted(forced.disposition, (*overrides, *forced.overrides))
    if wanted is Disposition.NONE:
        return Wanted(wanted, overrides)
    if case.is_misread:
        # What vouches for the Author Domain does not for the address that people may be shown.
        return Wanted(wanted, overrides)
    softer = mitigations.softened(case, rules, wanted)
    return Wanted(softer[0], (*overrides, softer[1])) if softer else Wanted(wanted, overrides)


def _by_entry(case: Case, rules: Rules, requested: Disposition) -> Wanted | None:
    """As though the Author Domain had published it; told as an override only where that makes a difference."""
    entry = entries.deciding(case, rules, requested)
    if requested is Disposition.NONE and (case.unsettled or case.cut_off):
        answered = entries.deciding(replace(case, unsettled=(), cut_off=()), rules, requested)
        if answered is not None and answered is not entry and answered.action in STRICT:
            # An entry for mail that is not the domain's own, and only a failed lookup or a limit leaves that open.
            comment = (
                "a DNS error left open whether it is the domain's own mail: at most quarantined"
                if case.unsettled
                else "a limit left open whether it is the domain's own mail: at most quarantined"
            )
            reason = Override(ReasonType.LOCAL_POLICY, comment)
            return Wanted(Disposition.QUARANTINE, (entries.override(answered), reason))
    if entry is None:
        return None
    disposition = entries.DISPOSITIONS[entry.action]
    return Wanted(disposition, () if disposition is requested else (entries.override(entry),))


def _of_assessment(assessment: Assessment) -> tuple[Override, ...]:
    """Reported only when the outcome changed (RFC 9990 3.1.6; RFC 7489 6.6.4)."""
    if assessment.requested is assessment.policy:
        return ()
    if assessment.test_mode:
        return (Override(ReasonType.POLICY_TEST_MODE, "t=y: one level lower", "other"),)
    return (Override(ReasonType.LOCAL_POLICY, "not selected by pct", "sampled_out"),)


def _limited(rules: Rules, wanted: Wanted) -> Wanted:
    """The operator's limits on what may be done to mail at all."""
    disposition = wanted.disposition
    if disposition is Disposition.REJECT and rules.reject_action is not RejectAction.REJECT:
        disposition = Disposition(rules.reject_action)
    if disposition is Disposition.QUARANTINE and rules.quarantine_action is QuarantineAction.NONE:
        disposition = Disposition.NONE
    if disposition is wanted.disposition:
        return wanted
    limit = Override(ReasonType.LOCAL_POLICY, f"{wanted.disposition} is set to act as {disposition}")
    return Wanted(disposition, (*wanted.overrides, limit))


def _enforced(case: Case, rules: Rules, wanted: Wanted) -> Decision:
    """What is done, beside what would be: only what the mode and the recipients let be done."""
    disposition = wanted.disposition
    holds = disposition is Disposition.QUARANTINE and rules.quarantine_action in AWAY
    would = Action.TEMPFAIL if wanted.is_deferred else Action.QUARANTINE if holds else Action.ACCEPT
    if disposition is Disposition.REJECT:
        would = Action.REJECT
    released = _why_released(case, rules)
    if not released or (would is Action.ACCEPT and disposition is Disposition.NONE):
        return Decision(disposition, would, would, disposition, wanted.overrides)
    word = "deferred" if wanted.is_deferred else disposition
    override = Override(ReasonType.LOCAL_POLICY, f"{released}: would be {word}")
    return Decision(Disposition.NONE, Action.ACCEPT, would, disposition, (*wanted.overrides, override))


def _why_released(case: Case, rules: Rules) -> str:
    """Why nothing is done to the message, whatever is wanted; empty: it is."""
    if case.exempt is not Exempt.NOBODY:
        return "all recipients have opted out" if case.exempt is Exempt.ALL else "some recipients have opted out"
    if rules.mode is Mode.MONITOR:
        return "mode is monitor"
    return _why_not_in_rollout(case, rules)


def _why_not_in_rollout(case: Case, rules: Rules) -> str:
    """A message with several authors is in when one of them is, and in any case when they could not all be read."""
    is_unread = case.author_unread or case.author_problem is AuthorProblem.MALFORMED
    if is_unread and rules.rollout_percent > 0:
        return ""
    listed, authors = rules.rollout_domains, (case.author,) if case.author else case.author_domains
    if listed and not any(is_within(author, name) for author in authors for name in listed):
        return "not in rollout_domains"
    draw = case.draws.rollout
    if rules.rollout_percent < EVERY_MESSAGE and (draw is None or draw >= rules.rollout_percent):
        return "not in rollout_percent"
    return ""
