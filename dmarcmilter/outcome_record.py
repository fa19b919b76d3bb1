"""OutcomeRecord: the outcome of one message as it is recorded.

One type for all that read records: the journal, the database, statistics, explanations, replay and reports. The names
of its fields are the keys of the JSON object, in this order.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from dmarcmilter.reasons.recorded import RecordedParameters, RecordedReason
from dmarcmilter.value import Value

JsonObject = dict[str, Any]
"""A record or a part of one as JSON has it, at the edges only: in the output of commands and in the database."""

VERSION = 1
"""Version of the record. New keys keep it, a changed meaning is a new number; records of other numbers are refused."""


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
