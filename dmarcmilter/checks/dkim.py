"""DKIM verification (RFC 6376, 8301, 8463, 8616): read the fields, hash the body elsewhere, then verify."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dmarcmilter.checks import duplicates, taglist
from dmarcmilter.checks import signature as signatures_of
from dmarcmilter.checks.canonical import Fields
from dmarcmilter.checks.fault import Fault
from dmarcmilter.checks.keyrecord import Algorithm
from dmarcmilter.checks.signature import BodyHash, BodyPlan, Signature
from dmarcmilter.dmarc import domain as domains
from dmarcmilter.dmarc.domain import Domain
from dmarcmilter.evidence import DkimResult, DkimWord
from dmarcmilter.lookup import Lookup
from dmarcmilter.message import Header

MAX_READ = 1000
"""DKIM-Signature fields that are read, from the top; what is below is not looked at."""
MAX_MAPPED = 100
"""Of these, fields with U-labels, whose mapping is slow."""
MAX_SIGNATURES = 10
"""Signatures that are verified (RFC 6376 6.1 lets us limit them)."""
MAX_UNVERIFIED = 10
"""Results reported besides those: fields at fault, and signatures that were too many."""

_FIELD = b"dkim-signature"
_ALGORITHM_NAME = re.compile(rb"[a-z0-9]{1,16}(?:-[a-z0-9]{1,16})?")


@dataclass(frozen=True, slots=True)
class ReadSignature:
    """One DKIM-Signature field."""

    facts: DkimResult
    """What is reported of it; the result itself is final when there is no signature to verify."""
    signature: Signature | None = None
    identity_domain: Domain | None = None
    """The domain of i=, d= if there is none."""


def read(headers: Sequence[Header], author: Domain | None) -> tuple[ReadSignature, ...]:
    """The signatures of a message in header order (RFC 6376 6.1.1).

    At most MAX_SIGNATURES of them have something to verify; those whose d= is the author's or nearest to it come
    first in the choice, then the upper ones; rsa-sha1 comes last. At most MAX_UNVERIFIED others are kept.
    """
    positions = _positions(headers)
    found = [_read_field(position, headers[position].value) for position in positions]
    usable = [index for index, one in enumerate(found) if one.signature is not None]
    usable.sort(key=lambda index: _rank(found[index].facts, author))
    chosen = set(usable[:MAX_SIGNATURES])
    others = [index for index in range(len(found)) if index not in chosen][:MAX_UNVERIFIED]
    return tuple(found[index] if index in chosen else _dropped(found[index]) for index in sorted(chosen.union(others)))


def _positions(headers: Sequence[Header]) -> list[int]:
    found = [position for position, header in enumerate(headers) if header.key == _FIELD][:MAX_READ]
    mapped = [position for position in found if not headers[position].value.isascii()]
    unread = set(mapped[MAX_MAPPED:])
    return [position for position in found if position not in unread]


def plans(signatures: Iterable[ReadSignature]) -> set[BodyPlan]:
    """How the body has to be hashed."""
    return {one.signature.plan for one in signatures if one.signature is not None}


def key_names(signatures: Iterable[ReadSignature], author: Domain | None = None) -> list[str]:
    """The names of the key records, each once; those that matter most to the author first."""
    ranked = sorted(signatures, key=lambda one: _rank(one.facts, author))
    return list(dict.fromkeys(one.signature.signer.key_name for one in ranked if one.signature is not None))


def verify(
    signatures: Sequence[ReadSignature],
    headers: Sequence[Header],
    bodies: Mapping[BodyPlan, BodyHash],
    lookup: Lookup,
    now: int,
    *,
    first: Callable[[Domain | None], bool] = lambda _: True,
    strangers: Lookup | None = None,
) -> tuple[DkimResult, ...]:
    """One result for each of what read() returned for the same header, in that order (RFC 6376 6.1).

    Keys of the signing domains that `first` picks are asked for before the others', which may be slow on purpose, and
    which `strangers` then looks up.
    """
    fields = Fields(headers)
    lookups = [lookup if first(one.facts.domain) else strangers or lookup for one in signatures]
    order = sorted(range(len(signatures)), key=lambda index: not first(signatures[index].facts.domain))
    results = {index: _verified(signatures[index], fields, bodies, lookups[index], now) for index in order}
    return tuple(results[index] for index in range(len(signatures)))


def _verified(
    read_signature: ReadSignature, fields: Fields, bodies: Mapping[BodyPlan, BodyHash], lookup: Lookup, now: int
) -> DkimResult:
    facts, signature = read_signature.facts, read_signature.signature
    if signature is None:
        return facts
    checked = signatures_of.check(signature, fields, bodies, lookup, now)
    fault, key = checked.fault, checked.key
    if fault is None and key is not None and key.strict and read_signature.identity_domain != signature.signer.domain:
        fault = Fault.KEY_STRICT  # RFC 6376 3.6.1, t=s
    testing = key is not None and key.testing
    if fault is not None:
        return replace(facts, result=fault.word, reason=fault.reason, testing=testing)
    unsigned = duplicates.unsigned(signature.names, fields)
    return replace(facts, result=DkimWord.PASS, reason="", testing=testing, unsigned_duplicates=unsigned)


def _read_field(position: int, value: bytes) -> ReadSignature:
    if len(value) > signatures_of.MAX_FIELD:
        return ReadSignature(_faulted(DkimResult(DkimWord.NEUTRAL), Fault.TOO_LONG))
    tags = taglist.parse(value)
    if tags is None:
        return ReadSignature(_faulted(DkimResult(DkimWord.NEUTRAL), Fault.SYNTAX))
    if tags.get(b"v") != b"1":
        return ReadSignature(_faulted(_facts(tags), Fault.VERSION if tags.get(b"v") else Fault.SYNTAX))
    signature = signatures_of.read(position, tags)
    if isinstance(signature, Fault):
        return ReadSignature(_faulted(_facts(tags), signature))
    identity = _identity_domain(tags, signature.signer.domain)
    if isinstance(identity, Fault):
        return ReadSignature(_faulted(_facts(tags), identity))
    return ReadSignature(_facts_of(signature, tags), signature, identity)


def _identity_domain(tags: Mapping[bytes, bytes], signing_domain: Domain) -> Domain | Fault:
    """The domain of i=: d= or below it (RFC 6376 6.1.1)."""
    if b"i" not in tags:
        return signing_domain
    _, at, name = tags[b"i"].rpartition(b"@")
    identity = domains.parse(name) if at else None
    if identity is None:
        return Fault.SYNTAX
    return identity if domains.is_within(identity, signing_domain) else Fault.IDENTITY


def _facts_of(signature: Signature, tags: Mapping[bytes, bytes]) -> DkimResult:
    """What is reported of a signature that can be verified."""
    signer = signature.signer
    return DkimResult(
        result=DkimWord.NEUTRAL,
        domain=signer.domain,
        selector=signer.selector,
        algorithm=signer.algorithm.value,
        identity=_shown_identity(tags[b"i"]) if b"i" in tags else None,
        signature=taglist.compact(tags[b"b"]).decode("ascii"),
    )


def _facts(tags: Mapping[bytes, bytes]) -> DkimResult:
    """What can be told of a field that is no usable signature."""
    algorithm = tags.get(b"a", b"").lower()
    octets = tags.get(b"b", b"")
    return DkimResult(
        result=DkimWord.NEUTRAL,
        domain=domains.parse(tags.get(b"d", b"")),
        selector=domains.parse(tags.get(b"s", b"")),
        algorithm=algorithm.decode("ascii") if _ALGORITHM_NAME.fullmatch(algorithm) else None,
        identity=_shown_identity(tags.get(b"i", b"")),
        signature="" if taglist.base64(octets) is None else taglist.compact(octets).decode("ascii"),
    )


def _shown_identity(value: bytes) -> str | None:
    """The domain of i= alone: its local-part is the sender's text, and may name a person (RFC 8601 2.7.2)."""
    _, at, name = value.rpartition(b"@")
    domain = domains.parse(name) if at else None
    return f"@{domain}" if domain else None


def _rank(facts: DkimResult, author: Domain | None) -> tuple[bool, bool, int]:
    """Sorts before others what is more likely to align with the Author Domain (RFC 9989 4.4.1)."""
    return facts.algorithm == Algorithm.RSA_SHA1, facts.domain != author, -_common_labels(facts.domain, author)


def _common_labels(domain: Domain | None, author: Domain | None) -> int:
    """How many labels two names share, counted from the right: 2 or more may be one organization."""
    if domain is None or author is None:
        return 0
    pairs = zip(reversed(domains.labels(domain)), reversed(domains.labels(author)), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _dropped(one: ReadSignature) -> ReadSignature:
    return one if one.signature is None else ReadSignature(_faulted(one.facts, Fault.TOO_MANY))


def _faulted(facts: DkimResult, fault: Fault) -> DkimResult:
    return replace(facts, result=fault.word, reason=fault.reason)
