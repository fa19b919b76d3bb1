"""What is known and decided of one message: `Outcome` in memory, `OutcomeRecord` as it is recorded.

One type for all that read records: the journal, the database, statistics, explanations, replay and reports. The names
of its fields are the keys of the JSON object, in this order.
"""

from collections.abc import Mapping
from datetime import UTC
from enum import StrEnum
from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from dmarcmilter.auth.results import AuthResults, DkimResult, SpfResult
from dmarcmilter.dmarc import discovery_comparison
from dmarcmilter.dmarc.discovery import Discovery
from dmarcmilter.dmarc.evaluation import DmarcWord, Evaluation
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.message import Message
from dmarcmilter.policy.decision import Decision
from dmarcmilter.policy.facts import Facts
from dmarcmilter.policy.rules import Mode, Override
from dmarcmilter.reasons import Reason, text_of
from dmarcmilter.reasons.recorded import (
    RecordedParameters,
    RecordedReason,
    recorded,
    recorded_code,
    recorded_parameters,
)
from dmarcmilter.value import Value

JsonObject = dict[str, Any]
"""A record or a part of one as JSON has it, at the edges only: in the output of commands and in the database."""

VERSION = 1
"""Version of the record. New keys keep it, a changed meaning is a new number; records of other numbers are refused."""
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

    def record(self) -> "OutcomeRecord":
        """The recorded form: a line of the journal, and what `check --json` prints."""
        return OutcomeRecord.from_outcome(self)

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
            "client": self.message.envelope.client_ip,
            "size": self.message.size,
            "dns": self.effort.dns_queries,
            "ms": round(self.effort.milliseconds),
        }
        pairs = " ".join(f"{name}={value}" for name, value in fields.items() if value not in (None, ""))
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


class UndecodableError(ValueError):
    """A line that is no outcome record, or of a version that this program does not know."""


class _Renamed(Value, kw_only=True):
    """A part of a record with keys that were renamed.

    A record has each such key under both names, so that programs which read the former name go on working. Records of
    older versions have the former name alone.
    """

    FORMER_KEYS: ClassVar[Mapping[str, str]] = {}
    """The deprecated name of each key that has one."""

    def __post_init__(self) -> None:
        for name, former in self.FORMER_KEYS.items():
            value = getattr(self, name)
            if value is UNSET or value == "":
                msgspec.structs.force_setattr(self, name, getattr(self, former))
            else:
                msgspec.structs.force_setattr(self, former, value)


class RecordedSpf(Value, kw_only=True):
    """The SPF result."""

    result: str
    domain: str | None
    """The SPF-authenticated domain: of MAIL FROM, of HELO for the null reverse-path; None: there was none to check."""
    scope: str
    """mfrom or helo."""
    reason: str
    reason_code: str | UnsetType = UNSET
    reason_parameters: RecordedParameters | UnsetType = UNSET
    cut_off: bool | UnsetType = UNSET
    """True: a limit of this program ended the evaluation; else the key is left out."""


class RecordedSignature(Value, kw_only=True):
    """The result of one DKIM signature."""

    result: str
    domain: str | None
    selector: str | None
    algorithm: str | None
    reason: str
    reason_code: str | UnsetType = UNSET
    reason_parameters: RecordedParameters | UnsetType = UNSET
    testing: bool
    """The key says t=y."""
    cut_off: bool | UnsetType = UNSET
    """True: a limit of this program kept the signature from being verified; else the key is left out."""
    unsigned_duplicates: tuple[str, ...] | UnsetType = UNSET
    """Names of fields that stand unsigned beside a signed one; the key is left out where there are none."""


class RecordedSealer(Value, kw_only=True):
    """One ARC Set of a chain that passes."""

    domain: str
    selector: str
    vouches: bool | UnsetType | None = UNSET
    """Whether the set records a DMARC pass for this author; None: its results were not read."""
    unvouched: str | UnsetType | None = UNSET
    """Why it does not."""


class RecordedArc(_Renamed, frozen=True, kw_only=True):
    """The result of the ARC chain."""

    FORMER_KEYS: ClassVar[Mapping[str, str]] = {"unresolved": "unsettled"}

    result: str
    sealers: tuple[RecordedSealer, ...]
    """Newest first."""
    unvouched: str | UnsetType | None = UNSET
    """Why the results of a trusted sealer do not count."""
    oldest_pass: int | None
    unresolved: str | UnsetType | None = UNSET
    """The newest sealer, if its seal failed only because of a DNS error."""
    unsettled: str | UnsetType | None = UNSET
    reason: str
    reason_code: str | UnsetType = UNSET
    reason_parameters: RecordedParameters | UnsetType = UNSET


class RecordedPolicy(Value, kw_only=True):
    """The DMARC policy record that applies, and how it was discovered."""

    domain: str
    p: str
    sp: str | None
    np: str | None
    adkim: str
    aspf: str
    pct: int | None
    t: str | None
    """y or n; None: the record has no t tag."""
    psd: str
    fo: str
    rua: tuple[str, ...]
    ruf: tuple[str, ...]
    record: str
    """The text of the record as published."""
    usable: bool
    """It has a valid policy or addresses for reports."""
    discovery: str
    """treewalk or psl."""
    organizational_domain: str | None
    author_exists: bool | UnsetType | None = UNSET
    """None: not asked."""
    notes: tuple[str, ...]
    notes_codes: tuple[RecordedReason, ...] | UnsetType = UNSET


class RecordedOtherDiscovery(Value, kw_only=True):
    """What the other way of discovery gives. Values are recorded only where it differs."""

    differs: tuple[str, ...]
    """Names of the fields below that differ."""
    method: str
    policy_domain: str | UnsetType | None = UNSET
    organizational_domain: str | UnsetType | None = UNSET
    result: str | UnsetType | None = UNSET


class RecordedIdentifier(Value, kw_only=True):
    """An Authenticated Identifier that is aligned."""

    mechanism: str
    """spf or dkim."""
    domain: str
    mode: str
    """r or s: relaxed or strict alignment."""


class RecordedDmarc(_Renamed, frozen=True, kw_only=True):
    """The DMARC result, and what the policy asks for."""

    FORMER_KEYS: ClassVar[Mapping[str, str]] = {"dns_failures": "troubles"}

    result: str
    aligned: tuple[RecordedIdentifier, ...]
    requested: str | None
    """The disposition asked for, after t and pct."""
    published: str | None
    tag: str | None
    """p, sp or np: the tag that applies."""
    reason: str
    reason_code: str | UnsetType = UNSET
    reason_parameters: RecordedParameters | UnsetType = UNSET
    dns_failures: tuple[str, ...] | UnsetType = UNSET
    """Which lookups failed."""
    troubles: tuple[str, ...] | UnsetType = UNSET
    possibly_aligned: tuple[str, ...] | UnsetType = UNSET
    """Domains that may be aligned: DNS did not say."""


class RecordedOverride(Value, kw_only=True):
    """A policy override and its reason."""

    type: str
    comment: str
    comment_code: str | UnsetType = UNSET
    comment_parameters: RecordedParameters | UnsetType = UNSET
    rfc7489: str
    """The type in the words of RFC 7489."""
    entry: str | UnsetType | None = UNSET
    """The [[override]] entry that it comes from."""


class RecordedDraws(Value, kw_only=True):
    """Numbers from 0 to 99 drawn for sampling; None: not drawn."""

    pct: int | None = None
    rollout: int | None = None


class RecordedClientNames(Value, kw_only=True):
    """Names of the client that forward and reverse DNS agree on."""

    confirmed: tuple[str, ...]
    failed: bool
    """A DNS error left names out."""


class RecordedLists(Value, kw_only=True):
    """Header fields of mailing lists."""

    ids: tuple[str, ...] = ()
    """Domains of List-Id."""
    traces: tuple[str, ...] = ()
    """Names of the fields that a mailing list adds."""


class RecordedDns(Value, kw_only=True):
    """What the message cost in DNS queries and waiting."""

    queries: int
    cache_hits: int
    milliseconds: float


class RecordedImport(Value, kw_only=True):
    """Where a record comes from that this program did not write."""

    source: str = msgspec.field(name="from")
    reporter: str | None
    rua: tuple[str, ...]


class OutcomeRecord(_Renamed, frozen=True, kw_only=True):
    """The recorded outcome of one message. Holds domains, never local-parts.

    A field with the default UNSET is newer than the first version: UNSET means that the version that wrote the record
    did not know it. Keys of newer versions are ignored. A reason is recorded as its English text, and beside it as its
    code and parameters.
    """

    FORMER_KEYS: ClassVar[Mapping[str, str]] = {
        "quarantine_method": "set_apart",
        "quarantine_method_reason": "set_apart_reason",
        "would_action": "would",
    }

    v: int
    time: str
    """When the message came (UTC), always in the same form, so that texts sort by time."""
    queue_id: str | None
    message_id_hash: str | UnsetType | None = UNSET
    """Keyed hash; None: the message has no Message-ID."""
    client_ip: str | None
    helo: str | None
    mail_from_domain: str | None
    author_domain: str | None
    author_problem: str | None
    """Why there is no single Author Domain."""
    author_domains: tuple[str, ...]
    author_unread: bool | UnsetType = UNSET
    size: int
    """Bytes."""
    truncated: str | None
    """The limit at which the header was cut off."""
    spf: RecordedSpf
    dkim: tuple[RecordedSignature, ...]
    unsigned_duplicates: tuple[str, ...] | UnsetType = UNSET
    arc: RecordedArc
    policy: RecordedPolicy | None
    discovery_notes: tuple[str, ...] | UnsetType = UNSET
    """Notes of a discovery that found no record; with one they are in `policy`."""
    discovery_notes_codes: tuple[RecordedReason, ...] | UnsetType = UNSET
    faulty_records: tuple[str, ...] | UnsetType = UNSET
    """Names whose DMARC records do not count."""
    record_faults: tuple[str, ...] | UnsetType = UNSET
    """Why they do not."""
    other_discovery: RecordedOtherDiscovery | UnsetType | None = UNSET
    """None: not known without more DNS queries."""
    dmarc: RecordedDmarc
    disposition: str
    overrides: tuple[RecordedOverride, ...]
    sampled_out: bool
    mode: str
    action: str
    """What the MTA was told."""
    quarantine_method: str | UnsetType | None = UNSET
    """hold, header, subject, redirect or none; None: it was not quarantined."""
    set_apart: str | UnsetType | None = UNSET
    apply_error: str | UnsetType | None = UNSET
    """The change that the MTA did not take."""
    quarantine_method_reason: str | UnsetType | None = UNSET
    """Why it was held instead of redirected."""
    quarantine_method_reason_code: str | UnsetType = UNSET
    quarantine_method_reason_parameters: RecordedParameters | UnsetType = UNSET
    set_apart_reason: str | UnsetType | None = UNSET
    would_action: str = ""
    """The action without monitor mode, rollout and recipients who have opted out."""
    would: str = ""
    would_disposition: str | UnsetType = UNSET
    exempt: str | UnsetType = UNSET
    """Which recipients have opted out: none, some or all."""
    deferred_for: int | UnsetType | None = UNSET
    """Seconds since the first deferral of the message; None: it was not deferred."""
    deferral_unrecorded: bool | UnsetType = UNSET
    draws: RecordedDraws | UnsetType = UNSET
    client_names: RecordedClientNames | UnsetType | None = UNSET
    """None: not looked up."""
    lists: RecordedLists | UnsetType = UNSET
    sealed: bool | UnsetType | None = UNSET
    """Whether an ARC Set was added; None: none was wanted."""
    seal_reason: str | UnsetType | None = UNSET
    seal_reason_code: str | UnsetType = UNSET
    seal_reason_parameters: RecordedParameters | UnsetType = UNSET
    dns: RecordedDns
    milliseconds: float
    """From the end of the message to the decision."""
    imported: RecordedImport | UnsetType = UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.would_action:
            raise ValueError("no would_action")

    @classmethod
    def from_outcome(cls, outcome: Outcome) -> "OutcomeRecord":
        """The record of an outcome."""
        message, auth, evaluation = outcome.message, outcome.auth, outcome.evaluation
        decision, facts, effort = outcome.decision, outcome.facts, outcome.effort
        envelope, author, discovery = message.envelope, evaluation.author, evaluation.discovery
        without_record = discovery if discovery is not None and discovery.record is None else None
        notes = without_record.notes if without_record else ()
        names = facts.client_names
        return cls(
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
            dkim=tuple(_signature(signature) for signature in auth.dkim),
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
            overrides=tuple(_override(override) for override in decision.overrides),
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


class _Version(msgspec.Struct):
    v: int


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(OutcomeRecord)


def encoded(record: OutcomeRecord) -> bytes:
    """The record as one line of JSON, without a line feed."""
    return _ENCODER.encode(record)


def decoded(line: bytes) -> OutcomeRecord:
    """The record that a line of JSON holds; UndecodableError for what is none."""
    try:
        record = _DECODER.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UndecodableError(_version_problem(line) or f"{type(error).__name__}: {error}") from error
    return _of_this_version(record)


def _version_problem(line: bytes) -> str:
    """A record of another version may have other fields: say so, instead of which one is missing."""
    try:
        version = msgspec.json.decode(line, type=_Version).v
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""
    return "" if version == VERSION else f"version {version} of the outcome object"


def from_values(values: JsonObject) -> OutcomeRecord:
    """The record that plain JSON values hold; UndecodableError for what is none."""
    try:
        record = msgspec.convert(values, OutcomeRecord)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UndecodableError(f"{type(error).__name__}: {error}") from error
    return _of_this_version(record)


def as_values(record: OutcomeRecord) -> JsonObject:
    """The record as plain JSON values, to be printed or stored in parts."""
    values: JsonObject = msgspec.to_builtins(record)
    return values


def _of_this_version(record: OutcomeRecord) -> OutcomeRecord:
    if record.v != VERSION:
        raise UndecodableError(f"version {record.v} of the outcome object")
    return record
