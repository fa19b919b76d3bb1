"""Decide again about a recorded message under another configuration: what would have been done with it.

The decision is policy.decision's own. What a record cannot tell (who the message was for, what DNS would have said to
questions that were not asked) is named as a Gap, never guessed silently.
"""

from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from ipaddress import ip_address
from typing import Literal

from msgspec import UNSET

from dmarcmilter.dmarc.author import Author, AuthorProblem
from dmarcmilter.dmarc.discovery import AuthorPolicy, Discovery, Method
from dmarcmilter.dmarc.evaluation import AuthenticatedIdentifier, DmarcWord, DnsFailure, Evaluation, assessment_policy
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.dmarc.record import AlignmentMode, Disposition, PolicyRecord, Psd
from dmarcmilter.mail.domain import Domain
from dmarcmilter.outcome_record import (
    OutcomeRecord,
    RecordedArc,
    RecordedDraws,
    RecordedLists,
    RecordedOverride,
    RecordedPolicy,
    RecordedSignature,
    RecordedSpf,
)
from dmarcmilter.policy import decision as policy
from dmarcmilter.policy import facts as facts_of
from dmarcmilter.policy.decision import Decision
from dmarcmilter.policy.facts import ArcHop, ClientNames, Facts, Unvouched
from dmarcmilter.policy.rules import EVERY_MESSAGE, Action, Exempt, QuarantineAction, Rules
from dmarcmilter.reasons import Code
from dmarcmilter.reasons.recorded import read, reason_of
from dmarcmilter.value import Value, replace

LONGEST_DEFERRAL = 7 * 86_400
"""Seconds: the age that an older version recorded for a message whose deferral could not be recorded."""
NEEDED = ("draws", "lists", "exempt", "deferred_for", "would_disposition")
"""Fields without which a record is of an older version, which did not record all that a rule may depend on."""


class Gap(StrEnum):
    """What the record does not tell though the decision depends on it."""

    OLDER_VERSION = "older_version"
    """An older version recorded too little: no decision is made."""
    DISCOVERY = "discovery"
    """The policy was discovered in the other way. The recorded one is used."""
    CLIENT_NAME = "client_name"
    """The client's name was not looked up. The client counts as having none."""
    RECIPIENTS = "recipients"
    """An entry depends on the recipients, and they make a difference. They count as not matching."""
    OPT_OUT = "opt_out"
    """Recipient choices were not looked up, because nothing was to be done then. They count as not opted out."""
    DETAILS = "details"
    """There was no policy, so neither List-Id nor the ARC chain was looked at."""


class Effect(StrEnum):
    """What becomes of a message, in one word."""

    DELIVERED = "delivered"
    MARKED = "marked"
    HELD = "held"
    REFUSED = "refused"
    DEFERRED = "deferred"


class Terms(Value):
    """What one configuration means to a record."""

    rules: Rules
    method: Method
    honor_pct: bool
    suffixes: Suffixes
    asks_recipients: bool = False
    """Recipients may have opted out."""


class ReplayedDecision(Value):
    decision: Decision | None
    """None: the record does not hold what is needed."""
    gaps: tuple[Gap, ...] = ()


def decide_again(record: OutcomeRecord, terms: Terms) -> ReplayedDecision:
    """Decide again about a recorded message. ValueError for words that this version does not know."""
    if any(getattr(record, name) is UNSET for name in NEEDED):
        return ReplayedDecision(None, (Gap.OLDER_VERSION,))
    evaluation = _evaluation(record, terms)
    facts = facts_in(record, terms)
    decision = _feasible(_decided(facts, terms.rules, evaluation), record, terms.rules)
    gaps = _gaps(record, terms, evaluation, decision)
    if _depends_on_recipients(facts, terms.rules, evaluation):
        gaps.append(Gap.RECIPIENTS)
    if terms.asks_recipients and record.would_action == Action.ACCEPT and decision.would_action is not Action.ACCEPT:
        gaps.append(Gap.OPT_OUT)
    return ReplayedDecision(decision, tuple(gaps))


def is_settled(record: OutcomeRecord) -> bool:
    """DMARC passes, nothing was cut short or added: delivered under all terms. True of most mail."""
    is_plain = not record.truncated and not record.unsigned_duplicates
    return is_plain and record.dmarc.result == DmarcWord.PASS


def effect(action: str, disposition: str) -> Effect:
    """The two words of a decision or of a record as one."""
    if action == Action.ACCEPT:
        return Effect.MARKED if disposition == Disposition.QUARANTINE else Effect.DELIVERED
    return {Action.QUARANTINE: Effect.HELD, Action.REJECT: Effect.REFUSED, Action.TEMPFAIL: Effect.DEFERRED}[
        Action(action)
    ]


def _decided(facts: Facts, rules: Rules, evaluation: Evaluation) -> Decision:
    return policy.decide(policy.wanted(facts, rules, evaluation), facts, rules)


def facts_in(record: OutcomeRecord, terms: Terms) -> Facts:
    """The facts of the message, as facts.of_message made them when it came."""
    author, spf, signatures = _domain(record.author_domain), record.spf, record.dkim
    results: list[RecordedSignature | RecordedSpf] = [*signatures, spf]
    lists, draws = record.lists or RecordedLists(), record.draws or RecordedDraws()
    deferred_for = record.deferred_for if isinstance(record.deferred_for, int) else None
    unresolved = [result.domain for result in results if result.result == "temperror"]
    return Facts(
        author=author,
        author_problem=_author_problem(record),
        day=date.fromisoformat(record.time[:10]),
        truncated=record.truncated or "",
        null_reverse_path=spf.scope == "helo",
        client_ip=ip_address(record.client_ip) if record.client_ip else None,
        client_names=_client_names(record),
        list_ids=_domains(lists.ids),
        list_traces=lists.traces,
        spf_domain=_domain(spf.domain) if spf.result == "pass" else None,
        dkim_domains=_domains(signature.domain for signature in signatures if signature.result == "pass"),
        unresolved=_domains(unresolved),
        cut_off=_domains(result.domain for result in results if result.cut_off),
        # The following were not written by older versions.
        unresolved_sealer=_domain(record.arc.unresolved or None),
        organization=_organization(record, terms),
        hops=_hops(record.arc),
        exempt=Exempt(record.exempt or Exempt.NOBODY),
        deferred_for=deferred_for,
        # An older version wrote an age of a week instead.
        deferral_unrecorded=(deferred_for or 0) >= LONGEST_DEFERRAL
        if record.deferral_unrecorded is UNSET
        else record.deferral_unrecorded,
        likely_aligned=facts_of.likely_aligned(author, _domains(record.dmarc.possibly_aligned or ()), terms.suffixes),
        rollout_draw=draws.rollout,
        author_domains=_domains(record.author_domains),
        author_unread=record.author_problem == AuthorProblem.MALFORMED
        if record.author_unread is UNSET
        else record.author_unread,
    )


def _domain(name: str | None) -> Domain | None:
    return None if name is None else Domain(name)


def _domains(names: Iterable[str | None]) -> tuple[Domain, ...]:
    """Each domain once; what has none is left out."""
    return tuple(dict.fromkeys(Domain(name) for name in names if name))


def _client_names(record: OutcomeRecord) -> ClientNames | None:
    names = record.client_names
    return ClientNames(tuple(map(Domain, names.confirmed)), failed=names.failed) if names else None


def _hops(arc: RecordedArc) -> tuple[ArcHop, ...]:
    """Newest first, numbered from the oldest."""
    sealers = arc.sealers if arc.result == "pass" else ()
    return tuple(
        ArcHop(
            len(sealers) - place,
            Domain(sealer.domain),
            sealer.selector,
            vouches=None if sealer.vouches is UNSET else sealer.vouches,
            unvouched=Unvouched(sealer.unvouched) if sealer.unvouched else None,
        )
        for place, sealer in enumerate(sealers)
    )


def _organization(record: OutcomeRecord, terms: Terms) -> Domain | None:
    """The Author Domain's organization, needed only by entries that are stricter than the policy."""
    author = _domain(record.author_domain)
    if not terms.rules.forces or author is None:
        return None
    return facts_of.organization(author, _discovery(record), terms.suffixes)


def _evaluation(record: OutcomeRecord, terms: Terms) -> Evaluation:
    dmarc, discovery, draw = record.dmarc, _discovery(record), record.draws.pct if record.draws else None
    assessment = None
    if discovery is not None:
        assessment = assessment_policy(discovery, honor_pct=terms.honor_pct, draw=draw or 0)
    author = Author(_domain(record.author_domain), _author_problem(record), _domains(record.author_domains))
    return Evaluation(
        AuthorPolicy(author, discovery, {}),
        DmarcWord(dmarc.result),
        aligned=tuple(
            AuthenticatedIdentifier(
                _mechanism(identifier.mechanism), Domain(identifier.domain), AlignmentMode(identifier.mode)
            )
            for identifier in dmarc.aligned
        ),
        reason=reason_of(dmarc),
        dns_failures=tuple(map(DnsFailure, dmarc.dns_failures or ())),
        unsigned_duplicates=record.unsigned_duplicates or (),
        assessment=assessment,
        pct_draw=draw,
    )


def _author_problem(record: OutcomeRecord) -> AuthorProblem | None:
    return AuthorProblem(record.author_problem) if record.author_problem else None


def _mechanism(word: str) -> Literal["spf", "dkim"]:
    if word == "spf":
        return "spf"
    if word == "dkim":
        return "dkim"
    raise ValueError(f"{word!r} is not a mechanism")


def _discovery(record: OutcomeRecord) -> Discovery | None:
    """As much of the discovery as assessment_policy and the rules look at."""
    policy, author = record.policy, _domain(record.author_domain)
    if policy is None or author is None:
        return None
    return Discovery(
        method=Method(policy.discovery),
        author=author,
        record=_policy_record(policy),
        policy_domain=Domain(policy.domain),
        organizational_domain=_domain(policy.organizational_domain),
        # An older version did not write it.
        author_exists=record.dmarc.tag != "np" if policy.author_exists is UNSET else policy.author_exists,
    )


def _policy_record(policy: RecordedPolicy) -> PolicyRecord:
    return PolicyRecord(
        text=policy.record,
        p=Disposition(policy.p),
        sp=Disposition(policy.sp) if policy.sp is not None else None,
        np=Disposition(policy.np) if policy.np is not None else None,
        adkim=AlignmentMode(policy.adkim),
        aspf=AlignmentMode(policy.aspf),
        t=None if policy.t is None else policy.t == "y",
        pct=policy.pct,
        psd=Psd(policy.psd),
        fo=policy.fo,
        rua=policy.rua,
        ruf=policy.ruf,
        usable=policy.usable,
        faults=(),
    )


def _feasible(decision: Decision, record: OutcomeRecord, rules: Rules) -> Decision:
    """As quarantine_method.with_method, of which the record tells only when it held the message."""
    untagged = any(_is_untaggable(override) for override in record.overrides)
    marked = decision.disposition is Disposition.QUARANTINE and decision.action is Action.ACCEPT
    if not (untagged and marked and rules.quarantine_action is QuarantineAction.SUBJECT):
        return decision
    return replace(decision, action=Action.QUARANTINE, would_action=Action.QUARANTINE)


def _gaps(
    record: OutcomeRecord,
    terms: Terms,
    evaluation: Evaluation,
    decision: Decision,
) -> list[Gap]:
    rules, recorded, assessment = terms.rules, record.policy, evaluation.assessment
    gaps = []
    if recorded is not None and recorded.discovery != terms.method:
        gaps.append(Gap.DISCOVERY)
    asked_for = assessment is not None and assessment.requested is not Disposition.NONE
    failed = evaluation.result is DmarcWord.FAIL and asked_for
    stopped = evaluation.result is DmarcWord.TEMPERROR and decision.would_disposition is not Disposition.NONE
    asked = (failed or stopped) and rules.forwarder_names and record.client_ip
    if asked and not record.client_names:
        gaps.append(Gap.CLIENT_NAME)
    needs_details = rules.rollout_percent < EVERY_MESSAGE or any(
        entry.list_id or entry.arc_sealer for entry in rules.overrides
    )
    has_details = record.draws is not UNSET and record.draws.rollout is not None
    if evaluation.result is DmarcWord.NONE and rules.forces and needs_details and not has_details:
        gaps.append(Gap.DETAILS)
    return gaps


def _depends_on_recipients(facts: Facts, rules: Rules, evaluation: Evaluation) -> bool:
    """Whether it would come out otherwise if each entry's recipients were those of the message."""
    if not rules.needs_recipients:
        return False
    for_all = replace(rules, overrides=tuple(replace(entry, recipient=()) for entry in rules.overrides))
    decisions = [_decided(facts, some, evaluation) for some in (rules, for_all)]
    first, second = ((one.action, one.disposition) for one in decisions)
    return first != second


def _is_untaggable(override: RecordedOverride) -> bool:
    """Whether the Subject could not be tagged: no configuration could tag it today."""
    reason = read(override.comment, override.comment_code, override.comment_parameters)
    return reason is not None and reason.code is Code.SUBJECT_NOT_TAGGABLE
