"""ARC chain validation (RFC 8617 5.2). With any fault, even a DNS failure, the chain fails for good (5.2.1)."""

import hashlib
import re
from collections.abc import Mapping, Sequence

from dmarcmilter.auth import key_record, tag_list
from dmarcmilter.auth import signature_verification as signatures_of
from dmarcmilter.auth.header_canonicalization import CanonicalHeader, signature_field
from dmarcmilter.auth.results import ArcResult, ArcSet, ArcWord
from dmarcmilter.auth.signature_fault import SignatureFault
from dmarcmilter.auth.signature_verification import BodyHash, BodyPlan, Signature, Signer
from dmarcmilter.dns.lookup import Lookup
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.message import Header
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.value import Value

MAX_SETS = 50
"""Most ARC Sets of a chain (RFC 8617 4.2.1); with more fields the chain fails."""
MAX_OLDER = 10
"""Older ARC-Message-Signatures verified for oldest-pass (RFC 8617 5.2, step 5, which is optional)."""

_RESULTS = b"arc-authentication-results"
_MESSAGE = b"arc-message-signature"
_SEAL = b"arc-seal"
_KINDS = (_RESULTS, _MESSAGE, _SEAL)

# Possessive, so that any value is matched in linear time. Nested comments are not known to occur here.
_CFWS = rb"(?:[ \t\r\n]++|\((?:[^()\\]++|\\.)*+\))*+"
_INSTANCE = re.compile(rb"%bi%b=%b([0-9]{1,2})%b;" % (_CFWS, _CFWS, _CFWS, _CFWS), re.DOTALL)


class ReadSet(Value):
    """One ARC Set (RFC 8617 4.2): the positions and contents of its fields."""

    instance: int
    results: int
    """Position of the ARC-Authentication-Results field."""
    message: int
    """Position of the ARC-Message-Signature field."""
    seal: int
    """Position of the ARC-Seal field."""
    signer: Signer
    """The signer of the seal."""
    signature: Signature | SignatureFault
    """The ARC-Message-Signature or its fault. A fault matters only in the newest set."""
    assessment: bytes
    """The ARC-Authentication-Results after `i=N;`."""


class Chain(Value):
    """The Authenticated Received Chain of a header. Without sets and fault there is none."""

    sets: tuple[ReadSet, ...] = ()
    """Oldest first."""
    fault: Reason | None = None
    """Why the chain cannot pass."""


def read(headers: Sequence[Header]) -> Chain:
    """Collect the sets and check their structure (RFC 8617 5.2, steps 1 to 3)."""
    positions = [position for position, header in enumerate(headers) if header.key in _KINDS]
    if not positions:
        return Chain()
    if len(positions) > MAX_SETS * len(_KINDS):
        return Chain(fault=Reason.of(Code.ARC_TOO_MANY_FIELDS))
    placed: dict[tuple[int, bytes], int] = {}
    for position in positions:
        header = headers[position]
        place = instance_of(header), header.key
        if not 1 <= place[0] <= MAX_SETS:
            return Chain(fault=Reason.of(Code.ARC_INVALID_INSTANCE))
        if place in placed:
            return Chain(fault=Reason.of(Code.ARC_DUPLICATE_FIELD))
        placed[place] = position
    return _read_sets(headers, placed)


def newest(headers: Sequence[Header]) -> tuple[int, bool]:
    """The highest instance (0: none), and whether an ARC-Seal of it says cv=fail (RFC 8617 5.1, steps 2 and 3).

    The chain need not be valid; one with too many fields counts as full.
    """
    fields = [header for header in headers if header.key in _KINDS]
    if len(fields) > MAX_SETS * len(_KINDS):
        return MAX_SETS, False
    instances = [instance_of(header) for header in fields]
    highest = max(instances, default=0)
    numbered = zip(fields, instances, strict=True)
    seals = [field for field, instance in numbered if instance == highest and field.key == _SEAL]
    return highest, any(_tags(seal).get(b"cv", b"").lower() == b"fail" for seal in seals)


def _read_sets(headers: Sequence[Header], placed: Mapping[tuple[int, bytes], int]) -> Chain:
    newest = max(instance for instance, _ in placed)
    if len(placed) != newest * len(_KINDS):
        return Chain(fault=Reason.of(Code.ARC_INCOMPLETE_SET))
    sets: list[ReadSet] = []
    for instance in range(newest, 0, -1):
        arc_set = _read_set(headers, instance, [placed[instance, kind] for kind in _KINDS])
        if isinstance(arc_set, Reason):
            return Chain(fault=Reason.of(Code.ARC_SEAL, number=instance, reason=arc_set))
        sets.append(arc_set)
    signature = sets[0].signature
    if isinstance(signature, SignatureFault):
        return Chain(fault=Reason.of(Code.ARC_MESSAGE, number=newest, reason=signature.reason))
    return Chain(tuple(reversed(sets)))


def instance_of(header: Header) -> int:
    """i= of an ARC field (RFC 8617 4.2.1); 0: none."""
    if header.key == _RESULTS:
        match = _INSTANCE.match(header.value)
        return int(match[1]) if match else 0
    return tag_list.number(_tags(header).get(b"i", b""), 2) or 0


def _tags(header: Header) -> dict[bytes, bytes]:
    """The tags of an ARC-Message-Signature or ARC-Seal; none when they are too long or invalid."""
    return tag_list.parse(header.value) or {} if len(header.value) <= signatures_of.MAX_FIELD else {}


def _read_set(headers: Sequence[Header], instance: int, positions: Sequence[int]) -> ReadSet | Reason:
    results, message, seal = positions
    tags = _tags(headers[seal])
    status = tags.get(b"cv", b"").lower()
    if status == b"fail":
        return Reason.of(Code.ARC_SEALED_AS_FAILED)
    if status != (b"none" if instance == 1 else b"pass"):
        return Reason.of(Code.ARC_WRONG_CV)
    if b"h" in tags:
        return Reason.of(Code.ARC_H_TAG)  # RFC 8617 4.1.3
    if b"t" in tags and tag_list.number(tags[b"t"], 12) is None:
        return SignatureFault.SYNTAX.reason
    signer = signatures_of.read_signer(tags)
    if isinstance(signer, SignatureFault):
        return signer.reason
    match = _INSTANCE.match(headers[results].value)
    assessment = headers[results].value[match.end() :] if match else b""
    signature = signatures_of.read(message, _tags(headers[message]))
    if isinstance(signature, Signature) and _SEAL in signature.names:
        signature = SignatureFault.SEAL_SIGNED
    return ReadSet(instance, results, message, seal, signer, signature, assessment)


def _older(chain: Chain) -> list[ReadSet]:
    """Older sets whose ARC-Message-Signature is verified, newest first, up to one that cannot be verified."""
    older: list[ReadSet] = []
    for arc_set in reversed(chain.sets[:-1][-MAX_OLDER:]):
        if isinstance(arc_set.signature, SignatureFault):
            break
        older.append(arc_set)
    return older


def plans(chain: Chain) -> set[BodyPlan]:
    """How the body is to be hashed for the newest ARC-Message-Signature; older ones need not verify."""
    return {newest.signature.plan for newest in chain.sets[-1:] if isinstance(newest.signature, Signature)}


def key_names(chain: Chain) -> list[str]:
    """Names of the key records, each once: at most one for each seal, and MAX_OLDER + 1 for the message signatures."""
    messages = [arc_set.signature for arc_set in [*chain.sets[-1:], *_older(chain)]]
    signers = [signature.signer for signature in messages if isinstance(signature, Signature)]
    signers += [arc_set.signer for arc_set in reversed(chain.sets)]
    return list(dict.fromkeys(signer.key_name for signer in signers))


def verify(
    chain: Chain, headers: Sequence[Header], bodies: Mapping[BodyPlan, BodyHash], lookup: Lookup, now: int
) -> ArcResult:
    """Validate the chain that read() returned for this header (RFC 8617 5.2, steps 4 to 7)."""
    if chain.fault:
        return ArcResult(ArcWord.FAIL, reason=chain.fault)
    if not chain.sets:
        return ArcResult(ArcWord.NONE)
    fields = CanonicalHeader(headers)
    fault = _message_fault(chain.sets[-1], fields, bodies, lookup, now)
    if fault is not None:
        reason = Reason.of(Code.ARC_MESSAGE, number=len(chain.sets), reason=fault.reason)
        return ArcResult(ArcWord.FAIL, reason=reason, unresolved=_unresolved(chain, fault, by_message=True))
    digests = _seal_digests(chain, headers, fields)
    for arc_set, digest in zip(reversed(chain.sets), reversed(digests), strict=True):
        fault = _seal_fault(arc_set.signer, digest, lookup)
        if fault is not None:
            reason = Reason.of(Code.ARC_SEAL, number=arc_set.instance, reason=fault.reason)
            return ArcResult(ArcWord.FAIL, reason=reason, unresolved=_unresolved(chain, fault))
    oldest = len(chain.sets)
    for arc_set in _older(chain):
        if _message_fault(arc_set, fields, bodies, lookup, now) is not None:
            break
        oldest = arc_set.instance
    sets = tuple(
        ArcSet(arc_set.instance, arc_set.signer.domain, arc_set.signer.selector, arc_set.assessment)
        for arc_set in chain.sets
    )
    return ArcResult(ArcWord.PASS, sets[::-1], oldest_pass=0 if oldest == 1 else oldest)


def _unresolved(chain: Chain, fault: SignatureFault, *, by_message: bool = False) -> Domain | None:
    """The newest sealer, if the chain fails only because the lookup of a key failed; else None.

    Seals are verified from the newest on, so the key is the newest sealer's or of a seal that the newest sealer has
    validated. For its ARC-Message-Signature this holds only with the same domain: the owner of another domain could
    make its DNS fail.
    """
    newest = chain.sets[-1]
    if fault is not SignatureFault.KEY_UNREACHABLE:
        return None
    if by_message and not (
        isinstance(newest.signature, Signature) and newest.signature.signer.domain == newest.signer.domain
    ):
        return None
    return newest.signer.domain


def is_unreachable(result: ArcResult) -> bool:
    """Whether the chain fails because of a DNS failure. That is final here (RFC 8617 5.2.1), not at the next hop."""
    return result.reason is not None and result.reason.cause.code is Code.KEY_LOOKUP_FAILED


def newest_fault(
    chain: Chain, headers: Sequence[Header], bodies: Mapping[BodyPlan, BodyHash], lookup: Lookup, now: int
) -> Reason | None:
    """Why the newest set, which this program is about to add, would not verify; None: it would."""
    newest_set, fields = chain.sets[-1], CanonicalHeader(headers)
    fault = _message_fault(newest_set, fields, bodies, lookup, now)
    fault = fault or _seal_fault(newest_set.signer, _seal_digests(chain, headers, fields)[-1], lookup)
    return fault.reason if fault else None


def _message_fault(
    arc_set: ReadSet, fields: CanonicalHeader, bodies: Mapping[BodyPlan, BodyHash], lookup: Lookup, now: int
) -> SignatureFault | None:
    if isinstance(arc_set.signature, SignatureFault):
        return arc_set.signature
    return signatures_of.check(arc_set.signature, fields, bodies, lookup, now).fault


def _seal_fault(signer: Signer, digest: bytes, lookup: Lookup) -> SignatureFault | None:
    key = key_record.find(signer.key_name, signer.algorithm, lookup)
    if isinstance(key, SignatureFault):
        return key
    return None if key.verifies(signer.signature, digest) else SignatureFault.MISMATCH


def _seal_digests(chain: Chain, headers: Sequence[Header], fields: CanonicalHeader) -> list[bytes]:
    """The hash that each seal signs: over all sets up to its own, its own field last (RFC 8617 5.1.1).

    Each seal signs the fields of the seal before it and more, so one running hash takes each field once.
    """
    running = hashlib.sha256()
    digests: list[bytes] = []
    for arc_set in chain.sets:
        for position in (arc_set.results, arc_set.message):
            running.update(fields.canonical(position, relaxed=True))
        own = running.copy()
        own.update(signature_field(headers[arc_set.seal], relaxed=True))
        digests.append(own.digest())
        running.update(fields.canonical(arc_set.seal, relaxed=True))
    return digests
