"""Tags and verification that DKIM-Signature and ARC-Message-Signature share (RFC 6376 3.5, 6.1)."""

from collections.abc import Mapping

from dmarcmilter.auth import key_record, tag_list
from dmarcmilter.auth.body_hash import BodyHash, BodyHasher, BodyPlan
from dmarcmilter.auth.header_canonicalization import CanonicalHeader
from dmarcmilter.auth.key_record import KeyRecord
from dmarcmilter.auth.signature_algorithm import Algorithm
from dmarcmilter.auth.signature_fault import SignatureFault
from dmarcmilter.dns.lookup import Lookup
from dmarcmilter.mail import domain as domains
from dmarcmilter.mail.domain import Domain
from dmarcmilter.value import Value

__all__ = [
    "BodyHash",
    "BodyHasher",
    "BodyPlan",
    "Signature",
    "SignatureVerification",
    "Signer",
    "check",
    "read",
    "read_signer",
]

MAX_FIELD = 16384
"""Largest signature field read, in bytes; a larger one has the result policy. An 8192-bit signature over 300 named
fields takes about half."""
MAX_NAMES = 300
"""Most names in h=; with more the result is policy."""
CLOCK_SKEW = 300
"""Seconds that x= may have passed without the signature being expired; RFC 6376 3.5 leaves it to the verifier."""
MAX_FUTURE = 86400
"""Seconds that t= may be in the future: a clock set to the wrong time zone is up to 14 hours off."""

_DIGITS = {b"t": 12, b"x": 12, b"l": 76}
_ALGORITHMS = {algorithm.value.encode(): algorithm for algorithm in Algorithm}
_RELAXED = {b"simple": False, b"relaxed": True}


class Signer(Value):
    """The tags a=, b=, d= and s= of a signature, which an ARC-Seal has too (RFC 8617 4.1.3)."""

    domain: Domain
    selector: str
    algorithm: Algorithm
    signature: bytes
    """b=, decoded"""

    @property
    def key_name(self) -> str:
        """Name of the key record (RFC 6376 3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"


class Signature(Value):
    """A DKIM-Signature or ARC-Message-Signature that can be verified."""

    position: int
    """Index of its field in the header."""
    signer: Signer
    names: tuple[bytes, ...]
    """h=, in lower case"""
    relaxed: bool
    """The header's canonicalization; the body's is in the plan."""
    plan: BodyPlan
    body_hash: bytes
    """bh="""
    signed_at: int | None
    """t="""
    expires: int | None
    """x="""


class SignatureVerification(Value):
    """The result of verifying one signature."""

    fault: SignatureFault | None
    """None: the signature verifies."""
    key: KeyRecord | None = None
    """None: it was not looked up, or there is none."""


def read_signer(tags: Mapping[bytes, bytes]) -> Signer | SignatureFault:
    """Read a=, b=, d= and s= (RFC 6376 3.5); domains may have U-labels (RFC 8616 5)."""
    algorithm = tags.get(b"a", b"").lower()
    if algorithm not in _ALGORITHMS:
        return SignatureFault.ALGORITHM if algorithm else SignatureFault.SYNTAX
    signature = tag_list.base64(tags.get(b"b", b""))
    domain = domains.parse(tags.get(b"d", b""))
    selector = domains.parse(tags.get(b"s", b""))
    if not signature or domain is None or selector is None:
        return SignatureFault.SYNTAX
    if "." not in domain:
        return SignatureFault.SINGLE_LABEL  # a top-level domain is not responsible for mail
    return Signer(domain, selector, _ALGORITHMS[algorithm], signature)


def read(position: int, tags: Mapping[bytes, bytes]) -> Signature | SignatureFault:
    """Read the tags of RFC 6376 3.5 except v= and i=, which differ between DKIM and ARC."""
    signer = read_signer(tags)
    if isinstance(signer, SignatureFault):
        return signer
    numbers = {name: tag_list.number(tags[name], digits) for name, digits in _DIGITS.items() if name in tags}
    canonicalizations = _canonicalizations(tags.get(b"c", b"simple/simple"))
    body_hash = tag_list.base64(tags.get(b"bh", b""))
    if None in numbers.values() or canonicalizations is None or not body_hash:
        return SignatureFault.SYNTAX
    names = tuple(tag_list.items(tags.get(b"h", b"")))
    signature = Signature(
        position=position,
        signer=signer,
        names=names,
        relaxed=canonicalizations[0],
        plan=BodyPlan(canonicalizations[1], numbers.get(b"l")),
        body_hash=body_hash,
        signed_at=numbers.get(b"t"),
        expires=numbers.get(b"x"),
    )
    if b"dns/txt" not in tag_list.items(tags.get(b"q", b"dns/txt")):
        return SignatureFault.QUERY
    return _names_fault(names) or _expiry_fault(signature) or signature


def _canonicalizations(value: bytes) -> tuple[bool, bool] | None:
    """Whether c= is relaxed for the header and for the body, which is simple by default (RFC 6376 3.5)."""
    header, slash, body = value.lower().partition(b"/")
    body = body if slash else b"simple"
    return (_RELAXED[header], _RELAXED[body]) if header in _RELAXED and body in _RELAXED else None


def _names_fault(names: tuple[bytes, ...]) -> SignatureFault | None:
    if len(names) > MAX_NAMES:
        return SignatureFault.TOO_MANY_NAMES
    if b"" in names:
        return SignatureFault.SYNTAX
    return None if b"from" in names else SignatureFault.NO_FROM  # RFC 6376 6.1.1


def _expiry_fault(signature: Signature) -> SignatureFault | None:
    if signature.expires is None or signature.signed_at is None or signature.expires > signature.signed_at:
        return None
    return SignatureFault.EXPIRY  # RFC 6376 3.5


def check(
    signature: Signature, fields: CanonicalHeader, bodies: Mapping[BodyPlan, BodyHash], lookup: Lookup, now: int
) -> SignatureVerification:
    """Verify one signature (RFC 6376 6.1). Checks without the key come first: a bad signature costs no lookup."""
    fault = _time_fault(signature, now) or _body_fault(signature, bodies) or _from_fault(signature, fields)
    if fault is not None:
        return SignatureVerification(fault)
    key = key_record.find(signature.signer.key_name, signature.signer.algorithm, lookup)
    if isinstance(key, SignatureFault):
        return SignatureVerification(key)
    digest = fields.digest(signature.names, signature.position, relaxed=signature.relaxed)
    if not key.verifies(signature.signer.signature, digest):
        return SignatureVerification(SignatureFault.MISMATCH, key)
    length = signature.plan.length
    if length is not None and length < bodies[signature.plan].length:
        return SignatureVerification(
            SignatureFault.UNSIGNED_BODY, key
        )  # any hop could have added the rest (RFC 6376 8.2)
    return SignatureVerification(None, key)


def _time_fault(signature: Signature, now: int) -> SignatureFault | None:
    if signature.expires is not None and signature.expires + CLOCK_SKEW < now:
        return SignatureFault.EXPIRED
    if signature.signed_at is not None and signature.signed_at > now + MAX_FUTURE:
        return SignatureFault.FUTURE
    return None


def _body_fault(signature: Signature, bodies: Mapping[BodyPlan, BodyHash]) -> SignatureFault | None:
    if signature.signer.algorithm is Algorithm.RSA_SHA1:
        return None  # the body is never hashed with SHA-1: the key lookup refuses the algorithm
    body = bodies.get(signature.plan)
    if body is None:
        return SignatureFault.NO_BODY
    if signature.plan.length is not None and signature.plan.length > body.length:
        return SignatureFault.BODY_SHORT  # RFC 6376 3.5, l=
    return None if body.digest == signature.body_hash else SignatureFault.BODY_MISMATCH


def _from_fault(signature: Signature, fields: CanonicalHeader) -> SignatureFault | None:
    """The fault of an added From field: mail readers show the one above the signed one (RFC 6376 8.15)."""
    return SignatureFault.FROM_ADDED if fields.count(b"from") > signature.names.count(b"from") else None
