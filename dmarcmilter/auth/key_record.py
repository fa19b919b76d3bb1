"""Key records and the check of a signature with them (RFC 6376 3.6.1, 6.1.2; RFC 8301; RFC 8463)."""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from dmarcmilter.auth import tag_list
from dmarcmilter.auth.signature_fault import Fault
from dmarcmilter.dns.lookup import Lookup, Status

MAX_RECORD = 4096
"""Largest key record accepted, in bytes; a larger one is a syntax error. An 8192-bit key takes 1,400."""
MAX_RECORDS = 5
"""TXT records of one key name that are tried; more are ignored (RFC 6376 6.1.2 allows either)."""
MIN_RSA_BITS = 1024
"""Shortest RSA key accepted, in bits (RFC 8301 3.2)."""
MAX_RSA_BITS = 8192
"""Longest RSA key accepted, in bits: RFC 8301 3.2 asks for 4096, and the cost of verification grows with the square."""
MAX_EXPONENT_BITS = 64
"""Longest RSA exponent accepted, in bits: the sender chooses it, and one as long as the modulus costs seconds."""
KEYS_KEPT = 1024
"""Parsed records kept in memory, by their text."""


class Algorithm(StrEnum):
    """a= (RFC 6376 3.3, RFC 8463 3)."""

    RSA_SHA1 = "rsa-sha1"
    """Recognized only to be reported: no key is accepted for it (RFC 8301 3.1)."""
    RSA_SHA256 = "rsa-sha256"
    ED25519_SHA256 = "ed25519-sha256"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    key: RSAPublicKey | Ed25519PublicKey
    strict: bool
    """t=s: the identity must not be in a subdomain of the signing domain."""
    testing: bool
    """t=y: the domain is testing DKIM."""

    @property
    def algorithm(self) -> Algorithm:
        return Algorithm.RSA_SHA256 if isinstance(self.key, RSAPublicKey) else Algorithm.ED25519_SHA256

    def verifies(self, signature: bytes, digest: bytes) -> bool:
        """Whether this key made the signature of the SHA-256 digest, which Ed25519 signs too (RFC 8463 3)."""
        try:
            if isinstance(self.key, RSAPublicKey):
                self.key.verify(signature, digest, PKCS1v15(), Prehashed(SHA256()))
            else:
                self.key.verify(signature, digest)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError):
            return False
        return True


def find(name: str, algorithm: Algorithm, lookup: Lookup) -> KeyRecord | Fault:
    """The first key record of that name for this algorithm, or the first record's fault (RFC 6376 6.1.2)."""
    answer = lookup(name, "TXT")
    if answer.status is Status.FAILED:
        return Fault.KEY_UNREACHABLE
    records = [_for_algorithm(text, algorithm) for text in answer.texts[:MAX_RECORDS]]
    usable = (record for record in records if isinstance(record, KeyRecord))
    return next(usable, records[0] if records else Fault.NO_KEY)


def _for_algorithm(text: bytes, algorithm: Algorithm) -> KeyRecord | Fault:
    if algorithm is Algorithm.RSA_SHA1:
        return Fault.SHA1
    record = parse(text)
    if isinstance(record, KeyRecord) and record.algorithm is not algorithm:
        return Fault.KEY_ALGORITHM
    return record


def parse(text: bytes) -> KeyRecord | Fault:
    """A key record (RFC 6376 3.6.1) that can be used for mail and SHA-256, or its fault."""
    return _parse(text) if len(text) <= MAX_RECORD else Fault.KEY_SYNTAX


@lru_cache(KEYS_KEPT)
def _parse(text: bytes) -> KeyRecord | Fault:
    tags = tag_list.parse(text)
    if tags is None or b"p" not in tags:
        return Fault.KEY_SYNTAX
    if b"v" in tags and (tags[b"v"] != b"DKIM1" or next(iter(tags)) != b"v"):
        return Fault.KEY_SYNTAX
    if not tags[b"p"]:
        return Fault.KEY_REVOKED
    if b"sha256" not in tag_list.items(tags.get(b"h", b"sha256")):
        return Fault.KEY_HASH
    if not {b"*", b"email"} & set(tag_list.items(tags.get(b"s", b"*"))):
        return Fault.KEY_SERVICE
    key = _key(tags.get(b"k", b"rsa").lower(), tags[b"p"])
    if isinstance(key, Fault):
        return key
    flags = tag_list.items(tags.get(b"t", b""))
    return KeyRecord(key, strict=b"s" in flags, testing=b"y" in flags)


def _key(kind: bytes, value: bytes) -> RSAPublicKey | Ed25519PublicKey | Fault:
    raw = tag_list.base64(value)
    if raw is None:
        return Fault.KEY_SYNTAX
    try:
        if kind == b"rsa":
            # Both forms are in use: SubjectPublicKeyInfo and the bare RSAPublicKey.
            return _checked(load_der_public_key(raw))
        if kind == b"ed25519":
            return Ed25519PublicKey.from_public_bytes(raw)  # the 32 bytes themselves (RFC 8463 4.2)
    except (UnsupportedAlgorithm, ValueError):
        return Fault.KEY_SYNTAX
    return Fault.KEY_TYPE


def _checked(key: object) -> RSAPublicKey | Fault:
    if not isinstance(key, RSAPublicKey):
        return Fault.KEY_SYNTAX
    if key.key_size < MIN_RSA_BITS:
        return Fault.KEY_WEAK
    if key.key_size > MAX_RSA_BITS:
        return Fault.KEY_LARGE
    numbers = key.public_numbers()
    usual = numbers.e.bit_length() <= MAX_EXPONENT_BITS and numbers.e > 2 and numbers.e % 2 and numbers.n % 2
    return key if usual else Fault.KEY_SYNTAX
