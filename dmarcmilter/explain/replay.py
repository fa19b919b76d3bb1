"""An outcome record judged again, by other rules than those of its time: what would have been done with the message.

The decision is policy.decision's own. What a record cannot tell (who the message was for, what DNS would have said to
questions that nobody asked) is named as a Gap, never guessed in silence.
"""

from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from dmarcmilter.dmarc.author import Author, AuthorProblem
from dmarcmilter.dmarc.discovery import AuthorPolicy, Discovery, Method
from dmarcmilter.dmarc.evaluation import (
    AuthenticatedIdentifier,
    DmarcWord,
    DnsFailure,
    Evaluation,
    assessment_policy,
)
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.dmarc.record import AlignmentMode, PolicyRecord, Psd
from dmarcmilter.dmarc.record import Policy as Disposition
from dmarcmilter.mail.domain import Domain
from dmarcmilter.policy import decision as policy
from dmarcmilter.policy import facts as facts_of
from dmarcmilter.policy.decision import Decision
from dmarcmilter.policy.facts import ClientNames, Facts, Hop, Unvouched
from dmarcmilter.policy.types import EVERY_MESSAGE, Action, Exempt, QuarantineAction, Rules

Record = dict[str, Any]

UNTAGGED = "the Subject cannot be tagged: held"
"""What quarantine_method.with_feasible_action records: the same message could not be tagged today."""
LONGEST_DEFERRAL = 7 * 86_400
"""Seconds: the age that an older version recorded for a message whose deferral could not be recorded."""
NEEDED = ("draws", "lists", "exempt", "deferred_for", "would_disposition")
"""Keys without which a record is of an older version, that did not write down what a rule may ask."""


class Gap(StrEnum):
    """Why a judgement rests on something that the record does not tell."""

    OLDER_VERSION = "older_version"
    """Not judged at all."""
    DISCOVERY = "discovery"
    """The policy was found by the other way of discovery; judged by what was found then."""
    CLIENT_NAME = "client_name"
    """Nobody asked for the client's name; judged as though it had none."""
    RECIPIENTS = "recipients"
    """An entry asks who it is for, and that would make a difference; judged as though it were for somebody else."""
    OPT_OUT = "opt_out"
    """Nothing was to be done then, so nobody asked what the recipients want; judged as though they want everything."""
    DETAILS = "details"
    """There was no policy, so neither List-Id nor the ARC chain was looked at."""


class Effect(StrEnum):
    """What becomes of a message, in one word."""

    DELIVERED = "delivered"
    MARKED = "marked"
    HELD = "held"
    REFUSED = "refused"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True)
class Terms:
    """What one configuration means to a record."""

    rules: Rules
    method: Method
    honour_pct: bool
    suffixes: Suffixes
    asks_recipients: bool = False
    """Recipients may have opted out."""


@dataclass(frozen=True, slots=True)
class Judgement:
    decision: Decision | None
    """None: the record does not hold what is needed."""
    gaps: tuple[Gap, ...] = ()


def judged(record: Record, terms: Terms) -> Judgement:
    """KeyError, TypeError or ValueError for what is no outcome object."""
    if any(name not in record for name in NEEDED):
        return Judgement(None, (Gap.OLDER_VERSION,))
    evaluation = _evaluation(record, terms)
    facts = facts_in(record, terms)
    decision = _feasible(_decided(facts, terms.rules, evaluation), record, terms.rules)
    gaps = _gaps(record, terms, evaluation, decision)
    if _depends_on_recipients(facts, terms.rules, evaluation):
        gaps.append(Gap.RECIPIENTS)
    if terms.asks_recipients and record["would"] == Action.ACCEPT and decision.would_action is not Action.ACCEPT:
        gaps.append(Gap.OPT_OUT)
    return Judgement(decision, tuple(gaps))


def is_settled(record: Record) -> bool:
    """DMARC passes, nothing was cut short or added: delivered under all terms. True of most mail."""
    is_plain = not record["truncated"] and not record.get("unsigned_duplicates")
    return is_plain and record["dmarc"]["result"] == DmarcWord.PASS


def effect(action: str, disposition: str) -> Effect:
    """The two words of a decision or of a record as one."""
    if action == Action.ACCEPT:
        return Effect.MARKED if disposition == Disposition.QUARANTINE else Effect.DELIVERED
    return {Action.QUARANTINE: Effect.HELD, Action.REJECT: Effect.REFUSED, Action.TEMPFAIL: Effect.DEFERRED}[
        Action(action)
    ]


def _decided(facts: Facts, rules: Rules, evaluation: Evaluation) -> Decision:
    return policy.decide(policy.wanted(facts, rules, evaluation), facts, rules)


def facts_in(record: Record, terms: Terms) -> Facts:
    """The facts of the message, as facts.of_message made them when it came."""
    author = record["author_domain"]
    spf, lists = record["spf"], record["lists"]
    signed = [found["domain"] for found in record["dkim"] if found["result"] == "pass"]
    waiting = [found["domain"] for found in record["dkim"] if found["result"] == "temperror"]
    waiting += [spf["domain"]] if spf["result"] == "temperror" else []
    return Facts(
        author=author,
        author_problem=_author_problem(record),
        day=date.fromisoformat(record["time"][:10]),
        truncated=record["truncated"] or "",
        null_reverse_path=spf["scope"] == "helo",
        client_ip=_address(record["client_ip"]),
        client_names=_client_names(record),
        list_ids=tuple(lists["ids"]),
        list_traces=tuple(lists["traces"]),
        spf_domain=spf["domain"] if spf["result"] == "pass" else None,
        dkim_domains=tuple(dict.fromkeys(name for name in signed if name)),
        unsettled=tuple(dict.fromkeys(name for name in waiting if name)),
        cut_off=tuple(
            dict.fromkeys(
                found["domain"] for found in (*record["dkim"], spf) if found.get("cut_off") and found["domain"]
            )
        ),
        # A version before this one did not write it.
        unsettled_sealer=record["arc"].get("unsettled"),
        organization=_organization(record, terms),
        hops=_hops(record),
        exempt=Exempt(record["exempt"]),
        deferred_for=record["deferred_for"],
        # A version before this one wrote an age of a week instead.
        deferral_unrecorded=record.get("deferral_unrecorded", (record["deferred_for"] or 0) >= LONGEST_DEFERRAL),
        likely_aligned=facts_of.likely_aligned(author, record["dmarc"].get("possibly_aligned", ()), terms.suffixes),
        rollout_draw=record["draws"]["rollout"],
        author_domains=tuple(record["author_domains"]),
        # An older version did not write it.
        author_unread=record.get("author_unread", record["author_problem"] == AuthorProblem.MALFORMED),
    )


def _address(text: str | None) -> IPv4Address | IPv6Address | None:
    return ip_address(text) if text else None


def _client_names(record: Record) -> ClientNames | None:
    found = record["client_names"]
    return None if found is None else ClientNames(tuple(found["confirmed"]), failed=found["failed"])


def _hops(record: Record) -> tuple[Hop, ...]:
    """Newest first, numbered from the oldest."""
    sealers = record["arc"]["sealers"] if record["arc"]["result"] == "pass" else []
    return tuple(
        Hop(
            len(sealers) - place,
            found["domain"],
            found["selector"],
            vouches=found["vouches"],
            # A version before this one did not write it.
            unvouched=Unvouched(found["unvouched"]) if found.get("unvouched") else None,
        )
        for place, found in enumerate(sealers)
    )


def _organization(record: Record, terms: Terms) -> Domain | None:
    """Asked only by entries that are stricter than the policy."""
    author = record["author_domain"]
    if not terms.rules.forces or author is None:
        return None
    return facts_of.organization(author, _discovery(record), terms.suffixes)


def _evaluation(record: Record, terms: Terms) -> Evaluation:
    found, discovery, draw = record["dmarc"], _discovery(record), record["draws"]["pct"]
    assessment = None
    if discovery is not None:
        assessment = assessment_policy(discovery, honour_pct=terms.honour_pct, draw=draw or 0)
    author = Author(record["author_domain"], _author_problem(record), tuple(record["author_domains"]))
    dns_failures = tuple(DnsFailure(word) for word in found.get("troubles", ()))
    return Evaluation(
        AuthorPolicy(author, discovery, {}),
        DmarcWord(found["result"]),
        aligned=tuple(_aligned(one) for one in found["aligned"]),
        reason=found["reason"],
        dns_failures=dns_failures,
        # Absent from records of versions that did not look for them.
        unsigned_duplicates=tuple(record.get("unsigned_duplicates", ())),
        assessment=assessment,
        pct_draw=draw,
    )


def _author_problem(record: Record) -> AuthorProblem | None:
    return AuthorProblem(record["author_problem"]) if record["author_problem"] else None


def _aligned(found: Record) -> AuthenticatedIdentifier:
    return AuthenticatedIdentifier(found["mechanism"], found["domain"], AlignmentMode(found["mode"]))


def _discovery(record: Record) -> Discovery | None:
    """As much of it as assessment_policy and the rules look at."""
    found, author = record["policy"], record["author_domain"]
    if found is None or author is None:
        return None
    return Discovery(
        method=Method(found["discovery"]),
        author=author,
        record=_policy_record(found),
        policy_domain=found["domain"],
        organizational_domain=found["organizational_domain"],
        # A version before this one did not write it.
        author_exists=found.get("author_exists", record["dmarc"]["tag"] != "np"),
    )


def _policy_record(found: Record) -> PolicyRecord:
    return PolicyRecord(
        text=found["record"],
        p=Disposition(found["p"]),
        sp=Disposition(found["sp"]) if found["sp"] is not None else None,
        np=Disposition(found["np"]) if found["np"] is not None else None,
        adkim=AlignmentMode(found["adkim"]),
        aspf=AlignmentMode(found["aspf"]),
        t=None if found["t"] is None else found["t"] == "y",
        pct=found["pct"],
        psd=Psd(found["psd"]),
        fo=found["fo"],
        rua=tuple(found["rua"]),
        ruf=tuple(found["ruf"]),
        usable=found["usable"],
        faults=(),
    )


def _feasible(decision: Decision, record: Record, rules: Rules) -> Decision:
    """As quarantine_method.with_feasible_action, of which the record tells only when it held the message."""
    untagged = any(found["comment"] == UNTAGGED for found in record["overrides"])
    marked = decision.disposition is Disposition.QUARANTINE and decision.action is Action.ACCEPT
    if not (untagged and marked and rules.quarantine_action is QuarantineAction.SUBJECT):
        return decision
    return replace(decision, action=Action.QUARANTINE, would_action=Action.QUARANTINE)


def _gaps(
    record: Record,
    terms: Terms,
    evaluation: Evaluation,
    decision: Decision,
) -> list[Gap]:
    rules, found, assessment = terms.rules, record["policy"], evaluation.assessment
    gaps = []
    if found is not None and found["discovery"] != terms.method:
        gaps.append(Gap.DISCOVERY)
    asked_for = assessment is not None and assessment.requested is not Disposition.NONE
    failed = evaluation.result is DmarcWord.FAIL and asked_for
    stopped = evaluation.result is DmarcWord.TEMPERROR and decision.would_disposition is not Disposition.NONE
    asked = (failed or stopped) and rules.forwarder_names and record["client_ip"]
    if asked and record["client_names"] is None:
        gaps.append(Gap.CLIENT_NAME)
    needs_details = rules.rollout_percent < EVERY_MESSAGE or any(
        one.list_id or one.arc_sealer for one in rules.overrides
    )
    if evaluation.result is DmarcWord.NONE and rules.forces and needs_details and record["draws"]["rollout"] is None:
        gaps.append(Gap.DETAILS)
    return gaps


def _depends_on_recipients(facts: Facts, rules: Rules, evaluation: Evaluation) -> bool:
    """Whether it would come out otherwise if each entry's recipients were those of the message."""
    if not rules.needs_recipients:
        return False
    for_all = replace(rules, overrides=tuple(replace(entry, recipient=()) for entry in rules.overrides))
    judgements = [_decided(facts, some, evaluation) for some in (rules, for_all)]
    first, second = ((one.action, one.disposition) for one in judgements)
    return first != second
