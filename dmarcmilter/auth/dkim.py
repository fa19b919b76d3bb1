"""DKIM verification (RFC 6376, 8301, 8463, 8616): read() the fields, hash the body by plans(), then verify()."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from dmarcmilter.auth import signature_verification as signatures_of
from dmarcmilter.auth import tag_list, unsigned_duplicates
from dmarcmilter.auth.header_canonicalization import CanonicalHeader
from dmarcmilter.auth.results import DkimResult, DkimWord
from dmarcmilter.auth.signature_algorithm import Algorithm
from dmarcmilter.auth.signature_fault import SignatureFault
from dmarcmilter.auth.signature_verification import BodyHash, BodyPlan, Signature
from dmarcmilter.dns.lookup import Lookup
from dmarcmilter.mail import domain as domains
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.message import Header
from dmarcmilter.value import Value, replace

MAX_READ = 1000
"""DKIM-Signature fields read, from the top. With more, a message without an aligned pass is temperror."""
MAX_MAPPED = 100
"""Fields with U-labels among these, which are slow to map. Further ones count as beyond MAX_READ."""
MAX_SIGNATURES = 10
"""Signatures verified (RFC 6376 6.1 allows a limit). An aligned one beyond it leaves the result temperror."""
MAX_UNVERIFIED = 10
"""Results kept besides those: of faulty fields, and of signatures beyond MAX_SIGNATURES."""

LIMITS = frozenset({SignatureFault.TOO_MANY, SignatureFault.TOO_LONG, SignatureFault.TOO_MANY_NAMES})
"""Faults that are limits of this program; another verifier might accept the signature."""

_FIELD = b"dkim-signature"
_DOMAIN_TAG = re.compile(rb"(?:^|;)[ \t\r\n]*d[ \t\r\n]*=[ \t\r\n]*([A-Za-z0-9._-]+)")
_ALGORITHM_NAME = re.compile(rb"[a-z0-9]{1,16}(?:-[a-z0-9]{1,16})?")


class ReadSignature(Value):
    """One DKIM-Signature field."""

    facts: DkimResult
    """The facts to report. Without a signature to verify, the result is final."""
    signature: Signature | None = None
    identity_domain: Domain | None = None
    """The domain of i=, or of d= without i=."""


def read(headers: Sequence[Header], author: Domain | None) -> tuple[ReadSignature, ...]:
    """The signatures of a message in header order (RFC 6376 6.1.1).

    At most MAX_SIGNATURES are to be verified: first those whose d= is the author's or nearest to it, then the upper
    ones, rsa-sha1 last. At most MAX_UNVERIFIED others are kept: first one for each domain near the author's that is
    not verified, so that the DMARC result is temperror and not fail.
    """
    positions, is_all = _positions(headers)
    signatures = [_read_field(position, headers[position].value) for position in positions]
    if is_all and len(signatures) <= min(MAX_SIGNATURES, MAX_UNVERIFIED):
        return tuple(signatures)
    usable = [index for index, signature in enumerate(signatures) if signature.signature is not None]
    usable.sort(key=lambda index: _rank(signatures[index].facts, author))
    chosen = set(usable[:MAX_SIGNATURES])
    near: dict[Domain | None, int] = {}
    for index in usable[MAX_SIGNATURES:]:
        if _may_align(signatures[index].facts, author):
            near.setdefault(signatures[index].facts.domain, index)
    rest = [index for index in range(len(signatures)) if index not in chosen and index not in near.values()]
    others = [*near.values(), *rest]
    is_open = author is not None and (not is_all or len(near) > MAX_UNVERIFIED)
    kept = sorted(chosen.union(others[: MAX_UNVERIFIED - is_open]))
    unread = (ReadSignature(_faulted(DkimResult(DkimWord.POLICY), SignatureFault.TOO_MANY)),) if is_open else ()
    return (*(signatures[index] if index in chosen else _dropped(signatures[index]) for index in kept), *unread)


def _may_align(facts: DkimResult, author: Domain | None) -> bool:
    """Whether a domain could be of the author's organization, and its signature could pass."""
    if author is None or facts.algorithm == Algorithm.RSA_SHA1:
        return False
    return domains.common_labels(facts.domain, author) >= min(2, len(domains.labels(author)))


def _positions(headers: Sequence[Header]) -> tuple[list[int], bool]:
    """Positions of the fields to read, and whether these are all DKIM-Signature fields."""
    every = [position for position, header in enumerate(headers) if header.key == _FIELD]
    first = every[:MAX_READ]
    mapped = [position for position in first if not headers[position].value.isascii()]
    unread = set(mapped[MAX_MAPPED:])
    return [position for position in first if position not in unread], len(first) == len(every) and not unread


def plans(signatures: Iterable[ReadSignature]) -> set[BodyPlan]:
    """The ways to hash the body for these signatures."""
    return {field.signature.plan for field in signatures if field.signature is not None}


def key_names(signatures: Iterable[ReadSignature], author: Domain | None = None) -> list[str]:
    """Names of the key records, each once; those nearest to the Author Domain first."""
    readable = [(field.facts, field.signature.signer) for field in signatures if field.signature is not None]
    if len(readable) > 1:
        readable.sort(key=lambda pair: _rank(pair[0], author))
    return list(dict.fromkeys([signer.key_name for _, signer in readable]))


def verify(
    signatures: Sequence[ReadSignature],
    headers: Sequence[Header],
    bodies: Mapping[BodyPlan, BodyHash],
    lookup: Lookup,
    now: int,
    *,
    first: Callable[[Domain | None], bool] = lambda _: True,
    unaligned: Lookup | None = None,
) -> tuple[DkimResult, ...]:
    """Verify the signatures that read() returned for this header: one result for each, in order (RFC 6376 6.1).

    Keys of the signing domains for which `first` is true are looked up before the others, which may be slow on purpose
    and are looked up with `unaligned`.
    """
    fields = CanonicalHeader(headers)
    comes_first = [first(field.facts.domain) for field in signatures]
    results: dict[int, DkimResult] = {}
    for turn, keys in ((True, lookup), (False, unaligned or lookup)):
        for index, field in enumerate(signatures):
            if comes_first[index] is turn:
                results[index] = _verified(field, fields, bodies, keys, now)
    return tuple([results[index] for index in range(len(signatures))])


def _verified(
    read_signature: ReadSignature,
    fields: CanonicalHeader,
    bodies: Mapping[BodyPlan, BodyHash],
    lookup: Lookup,
    now: int,
) -> DkimResult:
    facts, signature = read_signature.facts, read_signature.signature
    if signature is None:
        return facts
    checked = signatures_of.check(signature, fields, bodies, lookup, now)
    fault, key = checked.fault, checked.key
    if fault is None and key is not None and key.strict and read_signature.identity_domain != signature.signer.domain:
        fault = SignatureFault.KEY_STRICT  # RFC 6376 3.6.1, t=s
    return DkimResult(
        result=DkimWord.PASS if fault is None else fault.word,
        domain=facts.domain,
        selector=facts.selector,
        algorithm=facts.algorithm,
        identity=facts.identity,
        signature=facts.signature,
        reason=None if fault is None else fault.reason,
        testing=key is not None and key.testing,
        unsigned_duplicates=unsigned_duplicates.unsigned(signature.names, fields) if fault is None else (),
    )


def _read_field(position: int, value: bytes) -> ReadSignature:
    if len(value) > signatures_of.MAX_FIELD:
        domain_tag = _DOMAIN_TAG.search(value[: signatures_of.MAX_FIELD])
        return ReadSignature(
            _faulted(
                DkimResult(DkimWord.NEUTRAL, domains.parse(domain_tag[1]) if domain_tag else None),
                SignatureFault.TOO_LONG,
            )
        )
    tags = tag_list.parse(value)
    if tags is None:
        return ReadSignature(_faulted(DkimResult(DkimWord.NEUTRAL), SignatureFault.SYNTAX))
    if tags.get(b"v") != b"1":
        return ReadSignature(
            _faulted(_facts(tags), SignatureFault.VERSION if tags.get(b"v") else SignatureFault.SYNTAX)
        )
    signature = signatures_of.read(position, tags)
    if isinstance(signature, SignatureFault):
        return ReadSignature(_faulted(_facts(tags), signature))
    identity = _identity_domain(tags, signature.signer.domain)
    if isinstance(identity, SignatureFault):
        return ReadSignature(_faulted(_facts(tags), identity))
    return ReadSignature(_facts_of(signature, tags), signature, identity)


def _identity_domain(tags: Mapping[bytes, bytes], signing_domain: Domain) -> Domain | SignatureFault:
    """The domain of i=, which must be d= or below it (RFC 6376 6.1.1)."""
    if b"i" not in tags:
        return signing_domain
    _, at, name = tags[b"i"].rpartition(b"@")
    identity = domains.parse(name) if at else None
    if identity is None:
        return SignatureFault.SYNTAX
    return identity if domains.is_within(identity, signing_domain) else SignatureFault.IDENTITY


def _facts_of(signature: Signature, tags: Mapping[bytes, bytes]) -> DkimResult:
    """The facts to report about a signature that can be verified."""
    signer = signature.signer
    return DkimResult(
        result=DkimWord.NEUTRAL,
        domain=signer.domain,
        selector=signer.selector,
        algorithm=signer.algorithm.value,
        identity=_shown_identity(tags[b"i"]) if b"i" in tags else None,
        signature=tag_list.compact(tags[b"b"]).decode("ascii"),
    )


def _facts(tags: Mapping[bytes, bytes]) -> DkimResult:
    """The facts to report about a field that is no usable signature."""
    algorithm = tags.get(b"a", b"").lower()
    value = tags.get(b"b", b"")
    return DkimResult(
        result=DkimWord.NEUTRAL,
        domain=domains.parse(tags.get(b"d", b"")),
        selector=domains.parse(tags.get(b"s", b"")),
        algorithm=algorithm.decode("ascii") if _ALGORITHM_NAME.fullmatch(algorithm) else None,
        identity=_shown_identity(tags.get(b"i", b"")),
        signature="" if tag_list.base64(value) is None else tag_list.compact(value).decode("ascii"),
    )


def _shown_identity(value: bytes) -> str | None:
    """The domain of i= alone: its local-part is the sender's text, and may name a person (RFC 8601 2.7.2)."""
    _, at, name = value.rpartition(b"@")
    domain = domains.parse(name) if at else None
    return f"@{domain}" if domain else None


def _rank(facts: DkimResult, author: Domain | None) -> tuple[bool, bool, int]:
    """Sort key: signatures more likely to align with the Author Domain come first (RFC 9989 4.4.1)."""
    return facts.algorithm == Algorithm.RSA_SHA1, facts.domain != author, -domains.common_labels(facts.domain, author)


def _dropped(field: ReadSignature) -> ReadSignature:
    return field if field.signature is None else ReadSignature(_faulted(field.facts, SignatureFault.TOO_MANY))


def _faulted(facts: DkimResult, fault: SignatureFault) -> DkimResult:
    is_unread = fault is SignatureFault.TOO_MANY and facts.domain is None
    cut_off = fault in LIMITS and facts.algorithm != Algorithm.RSA_SHA1 and (facts.domain is not None or is_unread)
    return replace(facts, result=fault.word, reason=fault.reason, cut_off=cut_off)
