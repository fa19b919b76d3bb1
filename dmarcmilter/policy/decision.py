"""Decide what is done with a message, from its DMARC evaluation, its facts and the operator's rules.

RFC 9989 7.4 forbids rejecting on p=reject alone, so mitigations are looked for before a message is rejected. Each
effect is an Override with the reason type that RFC 9990 reports need, and RFC 7489's for the older report format.

In this order: [[override]] entries, mitigations, the operator's limits on reject and quarantine, recipients who have
opted out, the mode and its rollout.
"""

from enum import Enum, auto

from dmarcmilter.dmarc.author import AuthorProblem
from dmarcmilter.dmarc.evaluation import SEVERITY, Assessment, DmarcWord, DnsFailure, Evaluation
from dmarcmilter.dmarc.record import Disposition
from dmarcmilter.mail.domain import is_within
from dmarcmilter.mail.message import UNCLEANABLE
from dmarcmilter.policy import mitigations
from dmarcmilter.policy import overrides as entries
from dmarcmilter.policy.facts import Facts, Unvouched
from dmarcmilter.policy.mitigations import Mitigation
from dmarcmilter.policy.rules import (
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
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.value import Value, replace


class Decision(Value):
    """How the message is handled, and how it would be handled under full enforcement.

    Full enforcement: mode enforce, every message in the rollout, and no recipient opted out.
    """

    disposition: Disposition
    """DMARC's disposition of the message."""
    action: Action
    """The action that the MTA is asked for."""
    would_action: Action
    """The action under full enforcement."""
    would_disposition: Disposition
    """The disposition under full enforcement."""
    overrides: tuple[Override, ...] = ()
    """Why the disposition is not that of the published policy."""
    quarantine_method: QuarantineAction | None = None
    """How the message is quarantined; None: it is not."""
    why_held: Reason | None = None
    """Why it is held instead of redirected; None: it is not, or redirect is not the configured method."""
    unvouched: Unvouched | None = None
    """Why the results of a trusted ARC sealer do not vouch for the message (mitigations.why_unvouched)."""


class Deferral(Enum):
    """Whether a message with a temperror is to be deferred."""

    NO = auto()
    """The conf does not ask for it."""
    YES = auto()
    ENDED = auto()
    """It has been deferred for as long as `[defer] cap` allows."""
    UNRECORDED = auto()
    """It would be deferred, but the deferral cannot be recorded, so it would never end."""


class Wanted(Value):
    """The handling that policy and rules want, before the operator's limits, the recipients' choices and the mode.

    Made once, from the facts that need no query. with_deferral and with_client_names add facts that were looked up.
    """

    requested: Disposition = Disposition.NONE
    """Disposition that the policy, the conf or an [[override]] entry asks for."""
    overrides: tuple[Override, ...] = ()
    """Why `requested` is not the published policy."""
    may_be_mitigated: bool = False
    mitigation: Mitigation | None = None
    deferral: Deferral = Deferral.NO
    open_result: Reason | None = None
    """Reason of the override for a message whose DMARC result is open; None: the result is known."""
    at_most_quarantine: bool = False
    """An open result does not lead to a rejection."""
    is_unconditional: bool = False
    """Rejected in every mode and for every recipient."""

    @property
    def disposition(self) -> Disposition:
        """The disposition of a message that is not deferred."""
        disposition = self.mitigation.disposition if self.mitigation else self.requested
        is_lowered = self.at_most_quarantine and disposition is Disposition.REJECT
        return Disposition.QUARANTINE if is_lowered else disposition

    def acts(self, rules: Rules) -> bool:
        """Whether the message would not simply be delivered under full enforcement."""
        if self.is_unconditional or self.deferral is Deferral.YES:
            return True
        return rules.acts_as(self.disposition) is not Disposition.NONE


NOTHING_WANTED = Wanted()
"""The message is simply delivered."""


def wanted(facts: Facts, rules: Rules, evaluation: Evaluation) -> Wanted:
    """Whether to honor, soften or harden the policy, or to defer the message (RFC 9989 5.3.6, 5.4, 7.4)."""
    if facts.truncated == UNCLEANABLE:
        # In every mode: passing it on would deliver results in our name that we did not write (RFC 8601 5).
        return Wanted(Disposition.REJECT, is_unconditional=True)
    if facts.author_problem is not None:
        return _unless_accepted(facts, rules, _for_author_problem(facts, rules, facts.author_problem))
    if evaluation.result is DmarcWord.TEMPERROR:
        return _for_temperror(facts, rules, evaluation)
    if evaluation.result is DmarcWord.FAIL and evaluation.assessment is not None:
        return _as_requested(facts, rules, evaluation.assessment.requested, _of_assessment(evaluation.assessment))
    if evaluation.result is DmarcWord.PASS and rules.on_unsigned_duplicate is not DuplicateAction.ACCEPT:
        return _unless_accepted(facts, rules, _for_unsigned_duplicates(evaluation))
    if evaluation.result is DmarcWord.NONE and rules.forces:
        return _by_entry(facts, rules, Disposition.NONE) or NOTHING_WANTED
    return NOTHING_WANTED


def with_deferral(wanted: Wanted, facts: Facts, rules: Rules) -> Wanted:
    """The wanted handling, with the deferral decided again now that the facts have the time of the first one."""
    return replace(wanted, deferral=_deferral_so_far(facts, rules))


def with_client_names(wanted: Wanted, facts: Facts, rules: Rules) -> Wanted:
    """The wanted handling, with the mitigation chosen again now that the facts have the client's names."""
    if not wanted.may_be_mitigated:
        return wanted
    mitigation = mitigations.with_client_names(facts, rules, wanted.requested, wanted.mitigation)
    return replace(wanted, mitigation=mitigation)


def decide(wanted: Wanted, facts: Facts, rules: Rules) -> Decision:
    """Decide how the message is handled, and how it would be under full enforcement.

    The method of quarantine is chosen afterwards (quarantine_method.with_method).
    """
    decision = _decided(wanted, facts, rules)
    unvouched = mitigations.why_unvouched(facts, rules)
    return decision if unvouched is None else replace(decision, unvouched=unvouched)


def _decided(wanted: Wanted, facts: Facts, rules: Rules) -> Decision:
    """Apply the operator's limits, the recipients' choices and the mode, in this order."""
    if wanted.is_unconditional:
        return Decision(Disposition.REJECT, Action.REJECT, Action.REJECT, Disposition.REJECT)
    disposition, would_action = Disposition.NONE, Action.TEMPFAIL
    reasons: tuple[Override, ...] = ()
    if wanted.deferral is not Deferral.YES:
        disposition, reasons = _limited(rules, wanted.disposition, _reasons(wanted))
        would_action = _action(disposition, rules)
    if would_action is Action.ACCEPT and disposition is Disposition.NONE:
        return Decision(disposition, would_action, would_action, disposition, reasons)
    released = _why_released(facts, rules)
    if released is None:
        return Decision(disposition, would_action, would_action, disposition, reasons)
    word = "deferred" if would_action is Action.TEMPFAIL else disposition
    override = Override(ReasonType.LOCAL_POLICY, Reason.of(released, disposition=word))
    return Decision(Disposition.NONE, Action.ACCEPT, would_action, disposition, (*reasons, override))


def _reasons(wanted: Wanted) -> tuple[Override, ...]:
    """All overrides of a message that is not deferred, except those by the operator's limits."""
    overrides = wanted.overrides
    if wanted.mitigation is not None:
        overrides = (*overrides, wanted.mitigation.override)
    if wanted.open_result is None:
        return overrides
    if wanted.disposition is not Disposition.NONE:
        return (*overrides, Override(ReasonType.LOCAL_POLICY, wanted.open_result))
    if wanted.deferral is Deferral.NO or overrides:
        return overrides
    is_unrecorded = wanted.deferral is Deferral.UNRECORDED
    code = Code.DEFERRAL_UNRECORDED if is_unrecorded else Code.DEFERRED_LONG_ENOUGH
    return (Override(ReasonType.LOCAL_POLICY, Reason.of(code)),)


def _for_unsigned_duplicates(evaluation: Evaluation) -> Wanted:
    """Quarantine what passes by a signature that leaves out a second Subject, To, Date or the like (RFC 6376 8.15).

    With an aligned SPF pass nothing is gained by that: the client may send for the Author Domain without a signature.
    """
    if not (evaluation.unsigned_duplicates and evaluation.rests_on_dkim_alone):
        return NOTHING_WANTED
    reason = Reason.of(Code.UNSIGNED_DUPLICATES, fields=", ".join(evaluation.unsigned_duplicates))
    return Wanted(Disposition.QUARANTINE, (Override(ReasonType.LOCAL_POLICY, reason),))


def _unless_accepted(facts: Facts, rules: Rules, wanted: Wanted) -> Wanted:
    """The wanted handling, unless an entry accepts the message. For messages without a DMARC policy or result."""
    if wanted.deferral is Deferral.YES or wanted.disposition is not Disposition.NONE:
        entry = entries.accepting(facts, rules)
        if entry is not None:
            return Wanted(overrides=(entries.override(entry),))
    return wanted


def _for_author_problem(facts: Facts, rules: Rules, problem: AuthorProblem) -> Wanted:
    """By the operator's rules: DMARC says nothing of a From field without a single Author Domain (RFC 9989 11.5)."""
    action = {
        AuthorProblem.MISSING: rules.on_missing,
        AuthorProblem.NO_DOMAIN: rules.on_missing,
        AuthorProblem.SEVERAL_FIELDS: rules.on_multiple,
        AuthorProblem.SEVERAL_DOMAINS: rules.on_multiple,
        AuthorProblem.MALFORMED: rules.on_malformed,
    }[problem]
    disposition = {
        AuthorAction.REJECT: Disposition.REJECT,
        AuthorAction.QUARANTINE: Disposition.QUARANTINE,
        AuthorAction.ACCEPT: Disposition.NONE,
    }[action]
    if disposition is Disposition.REJECT and problem is AuthorProblem.NO_DOMAIN and facts.null_reverse_path:
        # Some systems send bounces From `MAILER-DAEMON`. They impersonate no domain, and recipients may need them.
        return Wanted(Disposition.QUARANTINE, (Override(ReasonType.OTHER, Reason.of(Code.BOUNCE_WITHOUT_DOMAIN)),))
    return Wanted(disposition)


def _for_temperror(facts: Facts, rules: Rules, evaluation: Evaluation) -> Wanted:
    """Defer the message if the operator wants that, for a limited time; afterwards, or at once, quarantine at most.

    RFC 9989 5.3.6 leaves the handling to the Mail Receiver. The sender chooses most of the names that are looked up,
    and can choose one whose lookup fails, so with a policy of quarantine or reject a failure never leads to less than
    quarantine. It never leads to more: the message may be genuine.
    """
    deferral = Deferral.NO
    if any(_on(failure, rules) is OnTemperror.TEMPFAIL for failure in evaluation.dns_failures):
        deferral = _deferral_so_far(facts, rules)
    if deferral is Deferral.YES and (entry := entries.accepting(facts, rules)) is not None:
        return Wanted(overrides=(entries.override(entry),))
    is_limit = set(evaluation.dns_failures) == {DnsFailure.LIMIT}
    return replace(
        _while_open(facts, rules, evaluation.assessment),
        deferral=deferral,
        open_result=Reason.of(Code.RESULT_OPEN_LIMIT if is_limit else Code.RESULT_OPEN_DNS),
        at_most_quarantine=rules.reject_action is RejectAction.REJECT,
    )


def _deferral_so_far(facts: Facts, rules: Rules) -> Deferral:
    """Whether a message that the conf wants deferred is to be deferred (again)."""
    cap = rules.defer.cap
    if facts.deferral_unrecorded:
        return Deferral.UNRECORDED
    has_waited = cap is not None and facts.deferred_for is not None and facts.deferred_for >= cap
    return Deferral.ENDED if has_waited else Deferral.YES


def _while_open(facts: Facts, rules: Rules, assessment: Assessment | None) -> Wanted:
    """The handling of a message with an open result: as if it failed. `strictest` because `np` may apply.

    Nothing is requested if an authenticated domain of the author's organization is probably aligned: such mail is
    genuine, and only its formal alignment is open.
    """
    if assessment is None or facts.likely_aligned:
        return _as_requested(facts, rules, Disposition.NONE, ())
    return _as_requested(facts, rules, assessment.strictest, _of_assessment(assessment))


def _on(failure: DnsFailure, rules: Rules) -> OnTemperror:
    """The operator's choice for this kind of failure."""
    if failure is DnsFailure.LIMIT:
        return OnTemperror.ACCEPT  # the same message reaches the same limit again
    choice = {
        DnsFailure.POLICY: rules.defer.policy,
        DnsFailure.DKIM_KEY: rules.defer.dkim_key,
        DnsFailure.SPF: rules.defer.spf,
    }[failure]
    return choice or rules.temperror


def _as_requested(facts: Facts, rules: Rules, requested: Disposition, overrides: tuple[Override, ...]) -> Wanted:
    """Apply the deciding entry, else the first mitigation, to the policy after t or pct (`overrides`)."""
    forced = _by_entry(facts, rules, requested)
    if forced is not None:
        is_harder = SEVERITY.index(forced.requested) > SEVERITY.index(requested)
        # A stricter entry replaces the policy, so t and pct have changed nothing.
        return forced if is_harder else Wanted(forced.requested, (*overrides, *forced.overrides))
    # Whatever vouches for the Author Domain does not vouch for another address that a mail reader may show.
    may_be_mitigated = requested is not Disposition.NONE and not facts.is_misread
    mitigation = mitigations.first(facts, rules, requested) if may_be_mitigated else None
    return Wanted(requested, overrides, may_be_mitigated, mitigation)


def _by_entry(facts: Facts, rules: Rules, requested: Disposition) -> Wanted | None:
    """Apply the deciding entry as if it were the published policy; an override only if that makes a difference."""
    entry = entries.deciding(facts, rules, requested)
    if requested is Disposition.NONE and (facts.unresolved or facts.cut_off):
        answered = entries.deciding(replace(facts, unresolved=(), cut_off=()), rules, requested)
        if answered is not None and answered is not entry and answered.action in STRICT:
            # An entry for mail that is not the domain's own, and only a failed lookup or a limit leaves that open.
            reason = Reason.of(Code.OWN_MAIL_OPEN_DNS if facts.unresolved else Code.OWN_MAIL_OPEN_LIMIT)
            overrides = entries.override(answered), Override(ReasonType.LOCAL_POLICY, reason)
            return Wanted(Disposition.QUARANTINE, overrides)
    if entry is None:
        return None
    disposition = entries.DISPOSITIONS[entry.action]
    return Wanted(disposition, () if disposition is requested else (entries.override(entry),))


def _of_assessment(assessment: Assessment) -> tuple[Override, ...]:
    """The override by t or pct, if one of them changed the policy (RFC 9990 3.1.6; RFC 7489 6.6.4)."""
    if assessment.requested is assessment.policy:
        return ()
    if assessment.test_mode:
        return (Override(ReasonType.POLICY_TEST_MODE, Reason.of(Code.TEST_MODE), "other"),)
    return (Override(ReasonType.LOCAL_POLICY, Reason.of(Code.PCT_NOT_SELECTED), "sampled_out"),)


def _limited(
    rules: Rules, disposition: Disposition, overrides: tuple[Override, ...]
) -> tuple[Disposition, tuple[Override, ...]]:
    """The disposition within the operator's limits (reject_action, quarantine_action), and all overrides."""
    limited = rules.acts_as(disposition)
    if limited is disposition:
        return disposition, overrides
    limit = Override(ReasonType.LOCAL_POLICY, Reason.of(Code.ACTION_LIMITED, policy=disposition, disposition=limited))
    return limited, (*overrides, limit)


def _action(disposition: Disposition, rules: Rules) -> Action:
    if disposition is Disposition.REJECT:
        return Action.REJECT
    is_held = disposition is Disposition.QUARANTINE and rules.quarantine_action in AWAY
    return Action.QUARANTINE if is_held else Action.ACCEPT


def _why_released(facts: Facts, rules: Rules) -> Code | None:
    """Why the message is delivered, whatever is wanted; None: it is handled as wanted."""
    if facts.exempt is not Exempt.NOBODY:
        return Code.OPTED_OUT_ALL if facts.exempt is Exempt.ALL else Code.OPTED_OUT_SOME
    if rules.mode is Mode.MONITOR:
        return Code.MODE_MONITOR
    return _why_not_in_rollout(facts, rules)


def _why_not_in_rollout(facts: Facts, rules: Rules) -> Code | None:
    """Why the message is not in the rollout. It is in if one of its authors is, or if not all could be read."""
    is_unread = facts.author_unread or facts.author_problem is AuthorProblem.MALFORMED
    if is_unread and rules.rollout_percent > 0:
        return None
    listed, authors = rules.rollout_domains, (facts.author,) if facts.author else facts.author_domains
    if listed and not any(is_within(author, name) for author in authors for name in listed):
        return Code.ROLLOUT_DOMAINS
    draw = facts.rollout_draw
    if rules.rollout_percent < EVERY_MESSAGE and (draw is None or draw >= rules.rollout_percent):
        return Code.ROLLOUT_PERCENT
    return None
