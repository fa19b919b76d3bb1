"""Outcome: what is known and decided of one message, and how it becomes a record and a line of the log."""

from datetime import UTC
from enum import StrEnum

from msgspec import UNSET

from dmarcmilter.auth.results import AuthResults, DkimResult, SpfResult
from dmarcmilter.dmarc import discovery_comparison
from dmarcmilter.dmarc.discovery import Discovery
from dmarcmilter.dmarc.evaluation import DmarcWord, Evaluation
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.message import Message
from dmarcmilter.outcome_record import (
    VERSION,
    OutcomeRecord,
    RecordedArc,
    RecordedClientNames,
    RecordedDmarc,
    RecordedDns,
    RecordedDraws,
    RecordedIdentifier,
    RecordedLists,
    RecordedOtherDiscovery,
    RecordedOverride,
    RecordedPolicy,
    RecordedSealer,
    RecordedSignature,
    RecordedSpf,
)
from dmarcmilter.policy.decision import Decision
from dmarcmilter.policy.facts import Facts
from dmarcmilter.policy.rules import Mode, Override
from dmarcmilter.reasons import Reason, text_of
from dmarcmilter.reasons.recorded import (
    recorded,
    recorded_code,
    recorded_parameters,
)
from dmarcmilter.value import Value

MAX_SHOWN = 255
"""Characters of the HELO name that are recorded. A longer one is cut."""


class ApplyError(StrEnum):
    """What the MTA did not take, or did not get because of an internal error."""

    HEADER = "header"
    """A header field added, changed or deleted."""
    QUARANTINE = "quarantine"
    """The hold."""
    REDIRECT = "redirect"
    """A change of recipients. The message is held instead; where that failed too, it is answered like the others."""
    REPLY = "reply"
    """The text of a rejection or deferral: the MTA uses its own."""
    INTERNAL = "internal"
    """An internal error between the changes."""


class Effort(Value):
    """What the evaluation cost."""

    dns_queries: int = 0
    dns_cache_hits: int = 0
    dns_milliseconds: float = 0.0
    """Spent waiting for DNS."""
    milliseconds: float = 0.0
    """From end of message to the decision."""
    header_milliseconds: float = 0.0
    """Reading the header at its end, and asking ahead for what it names. Like what follows, not in the record."""
    body_milliseconds: float = 0.0
    """Hashing the body as it came."""
    dns_spent: bool = False
    """Whether the DNS budget was used up before all queries were sent."""


class Outcome(Value):
    message: Message
    mail_from_domain: Domain | None
    auth: AuthResults
    evaluation: Evaluation
    decision: Decision
    mode: Mode
    facts: Facts
    effort: Effort = Effort()
    sealed: bool | None = None
    """Whether an ARC Set was added; None: none was wanted."""
    seal_reason: Reason | None = None
    """Why not."""
    message_id_hash: str | None = None
    """Keyed (messageid.of_message); None: the message has no Message-ID."""
    apply_error: ApplyError | None = None
    """What the MTA did not take; then the decision says what was done instead (plan.as_taken)."""

    def record(self) -> OutcomeRecord:
        """The recorded form: a line of the journal, and what `check --json` prints."""
        return _record(self)

    @property
    def sampled_out(self) -> bool:
        """The policy was lowered because pct did not select the message."""
        assessment = self.evaluation.assessment
        if assessment is None or not assessment.sampled_out:
            return False
        return self.evaluation.result is DmarcWord.FAIL or any(
            override.type_rfc7489 == "sampled_out" for override in self.decision.overrides
        )

    def log_line(self) -> str:
        """`QUEUE_ID: key=value ...`, one line, no value with a space in it."""
        auth, assessment = self.auth, self.evaluation.assessment
        fields: dict[str, object] = {
            "from": self.evaluation.author.domain or self.evaluation.author.problem,
            "dmarc": self.evaluation.result,
            "policy": f"{assessment.tag}={assessment.policy}" if assessment else None,
            "disposition": self.decision.disposition,
            "action": self.decision.action,
            "would": self.decision.would_action if self.decision.would_action is not self.decision.action else None,
            "spf": f"{auth.spf.result}:{auth.spf.domain or '-'}",
            "dkim": ",".join(f"{result.result}:{result.domain or '-'}" for result in auth.dkim[:10]),
            "unsigned": ",".join(self.evaluation.unsigned_duplicates),
            "arc": auth.arc.result,
            "apply_error": self.apply_error,
            "sealed": None if self.sealed is None else "yes" if self.sealed else "no",
            "override": ",".join(_reason(override) for override in self.decision.overrides),
            "client": str(self.message.envelope.client_ip or ""),
            "size": self.message.size,
            "dns": self.effort.dns_queries,
            "ms": round(self.effort.milliseconds),
        }
        pairs = " ".join([f"{name}={value}" for name, value in fields.items() if value is not None and value != ""])
        return f"{self.message.envelope.queue_id or '-'}: {pairs}"


def _reason(override: Override) -> str:
    """Its type, and the [[override]] entry that it comes from."""
    return f"{override.type}:{override.entry.replace(' ', '_')}" if override.entry else str(override.type)


def shown(raw: bytes) -> str:
    """Bytes of the peer for a record: printable ASCII, the rest in hexadecimal, bounded."""
    text = raw[:MAX_SHOWN].decode("ascii", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _record(outcome: Outcome) -> OutcomeRecord:
    message, auth, evaluation = outcome.message, outcome.auth, outcome.evaluation
    decision, facts, effort = outcome.decision, outcome.facts, outcome.effort
    envelope, author, discovery = message.envelope, evaluation.author, evaluation.discovery
    without_record = discovery if discovery is not None and discovery.record is None else None
    notes = without_record.notes if without_record else ()
    names = facts.client_names
    return OutcomeRecord(
        v=VERSION,
        time=envelope.received_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        queue_id=envelope.queue_id,
        message_id_hash=outcome.message_id_hash,
        client_ip=str(envelope.client_ip) if envelope.client_ip else None,
        helo=shown(envelope.helo),
        mail_from_domain=outcome.mail_from_domain,
        author_domain=author.domain,
        author_problem=author.problem,
        author_domains=author.domains,
        author_unread=author.unread,
        size=message.size,
        truncated=message.truncated or None,
        spf=_spf(auth.spf),
        dkim=tuple([_signature(signature) for signature in auth.dkim]),
        unsigned_duplicates=evaluation.unsigned_duplicates,
        arc=_arc(outcome),
        policy=_policy(discovery),
        discovery_notes=tuple(map(str, notes)),
        discovery_notes_codes=tuple(map(recorded, notes)) or UNSET,
        faulty_records=without_record.faulty if without_record else (),
        record_faults=without_record.fault_kinds if without_record else (),
        other_discovery=_other_discovery(outcome),
        dmarc=_dmarc(outcome),
        disposition=decision.disposition,
        overrides=tuple([_override(override) for override in decision.overrides]),
        sampled_out=outcome.sampled_out,
        mode=outcome.mode,
        action=decision.action,
        quarantine_method=decision.quarantine_method,
        apply_error=outcome.apply_error,
        quarantine_method_reason=text_of(decision.why_held) or None,
        quarantine_method_reason_code=recorded_code(decision.why_held),
        quarantine_method_reason_parameters=recorded_parameters(decision.why_held),
        would_action=decision.would_action,
        would_disposition=decision.would_disposition,
        exempt=facts.exempt,
        deferred_for=None if facts.deferred_for is None else int(facts.deferred_for),
        deferral_unrecorded=facts.deferral_unrecorded,
        draws=RecordedDraws(pct=evaluation.pct_draw, rollout=facts.rollout_draw),
        client_names=RecordedClientNames(confirmed=names.names, failed=names.failed) if names else None,
        lists=RecordedLists(ids=facts.list_ids, traces=facts.list_traces),
        sealed=outcome.sealed,
        seal_reason=text_of(outcome.seal_reason) or None,
        seal_reason_code=recorded_code(outcome.seal_reason),
        seal_reason_parameters=recorded_parameters(outcome.seal_reason),
        dns=RecordedDns(
            queries=effort.dns_queries,
            cache_hits=effort.dns_cache_hits,
            milliseconds=round(effort.dns_milliseconds, 2),
        ),
        milliseconds=round(effort.milliseconds, 2),
    )


def _spf(spf: SpfResult) -> RecordedSpf:
    return RecordedSpf(
        result=spf.result,
        domain=spf.domain,
        scope=spf.scope,
        reason=text_of(spf.reason),
        reason_code=recorded_code(spf.reason),
        reason_parameters=recorded_parameters(spf.reason),
        cut_off=spf.cut_off or UNSET,
    )


def _signature(signature: DkimResult) -> RecordedSignature:
    return RecordedSignature(
        result=signature.result,
        domain=signature.domain,
        selector=signature.selector,
        algorithm=signature.algorithm,
        reason=text_of(signature.reason),
        reason_code=recorded_code(signature.reason),
        reason_parameters=recorded_parameters(signature.reason),
        testing=signature.testing,
        cut_off=signature.cut_off or UNSET,
        unsigned_duplicates=signature.unsigned_duplicates or UNSET,
    )


def _arc(outcome: Outcome) -> RecordedArc:
    arc = outcome.auth.arc
    return RecordedArc(
        result=arc.result,
        sealers=tuple(
            RecordedSealer(domain=hop.sealer, selector=hop.selector, vouches=hop.vouches, unvouched=hop.unvouched)
            for hop in outcome.facts.hops
        ),
        unvouched=outcome.decision.unvouched,
        oldest_pass=arc.oldest_pass,
        unresolved=arc.unresolved,
        reason=text_of(arc.reason),
        reason_code=recorded_code(arc.reason),
        reason_parameters=recorded_parameters(arc.reason),
    )


def _policy(discovery: Discovery | None) -> RecordedPolicy | None:
    record = discovery.record if discovery else None
    if discovery is None or record is None or discovery.policy_domain is None:
        return None
    return RecordedPolicy(
        domain=discovery.policy_domain,
        p=record.p,
        sp=record.sp,
        np=record.np,
        adkim=record.adkim,
        aspf=record.aspf,
        pct=record.pct,
        t=None if record.t is None else "y" if record.t else "n",
        psd=record.psd,
        fo=record.fo,
        rua=record.rua,
        ruf=record.ruf,
        record=record.text,
        usable=record.usable,
        discovery=discovery.method,
        organizational_domain=discovery.organizational_domain,
        author_exists=discovery.author_exists,
        notes=tuple(map(str, discovery.notes)),
        notes_codes=tuple(map(recorded, discovery.notes)) or UNSET,
    )


def _other_discovery(outcome: Outcome) -> RecordedOtherDiscovery | None:
    compared = discovery_comparison.compare(outcome.auth, outcome.evaluation)
    if compared is None:
        return None
    if not compared.differs:
        return RecordedOtherDiscovery(differs=(), method=compared.method)
    return RecordedOtherDiscovery(
        differs=compared.differs,
        method=compared.method,
        policy_domain=compared.policy_domain,
        organizational_domain=compared.organizational_domain,
        result=compared.result,
    )


def _dmarc(outcome: Outcome) -> RecordedDmarc:
    evaluation, assessment = outcome.evaluation, outcome.evaluation.assessment
    return RecordedDmarc(
        result=evaluation.result,
        aligned=tuple(
            RecordedIdentifier(mechanism=identifier.mechanism, domain=identifier.domain, mode=identifier.mode)
            for identifier in evaluation.aligned
        ),
        requested=assessment.requested if assessment else None,
        published=assessment.policy if assessment else None,
        tag=assessment.tag if assessment else None,
        reason=text_of(evaluation.reason),
        reason_code=recorded_code(evaluation.reason),
        reason_parameters=recorded_parameters(evaluation.reason),
        dns_failures=evaluation.dns_failures,
        possibly_aligned=evaluation.possibly_aligned,
    )


def _override(override: Override) -> RecordedOverride:
    return RecordedOverride(
        type=override.type,
        comment=str(override.reason),
        comment_code=recorded_code(override.reason),
        comment_parameters=recorded_parameters(override.reason),
        rfc7489=override.type_rfc7489 or override.type,
        entry=override.entry or None,
    )
