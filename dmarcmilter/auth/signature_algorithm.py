"""Signature algorithms and their public keys: which are accepted, how a key is read and a signature verified.

RSA and Ed25519 with SHA-256 (RFC 6376 3.3, RFC 8301, RFC 8463).
"""

from enum import StrEnum

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from dmarcmilter.auth import tag_list
from dmarcmilter.auth.signature_fault import SignatureFault

MIN_RSA_BITS = 1024
"""Shortest RSA key accepted, in bits (RFC 8301 3.2)."""
MAX_RSA_BITS = 8192
"""Longest RSA key accepted, in bits: RFC 8301 3.2 asks for 4096, and the cost of verification grows with the square."""
MAX_EXPONENT_BITS = 64
"""Longest RSA exponent accepted, in bits: the sender chooses it, and one as long as the modulus costs seconds."""

_PADDING = PKCS1v15()
_SHA256 = Prehashed(SHA256())

PublicKey = RSAPublicKey | Ed25519PublicKey


class Algorithm(StrEnum):
    """Signature algorithm, a= (RFC 6376 3.3, RFC 8463 3)."""

    RSA_SHA1 = "rsa-sha1"
    """Recognized only to be reported: no key is accepted for it (RFC 8301 3.1)."""
    RSA_SHA256 = "rsa-sha256"
    ED25519_SHA256 = "ed25519-sha256"


def algorithm_of(key: PublicKey) -> Algorithm:
    return Algorithm.RSA_SHA256 if isinstance(key, RSAPublicKey) else Algorithm.ED25519_SHA256


def verifies(key: PublicKey, signature: bytes, digest: bytes) -> bool:
    """Whether the key made the signature of the SHA-256 digest, which Ed25519 signs too (RFC 8463 3)."""
    try:
        if isinstance(key, RSAPublicKey):
            key.verify(signature, digest, _PADDING, _SHA256)
        else:
            key.verify(signature, digest)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def read_public_key(kind: bytes, value: bytes) -> PublicKey | SignatureFault:
    """Read k= and p= of a key record (RFC 6376 3.6.1), or say what is wrong with them."""
    raw = tag_list.base64(value)
    if raw is None:
        return SignatureFault.KEY_SYNTAX
    try:
        if kind == b"rsa":
            # Both forms are in use: SubjectPublicKeyInfo and the bare RSAPublicKey.
            return _checked(load_der_public_key(raw))
        if kind == b"ed25519":
            return Ed25519PublicKey.from_public_bytes(raw)  # the 32 bytes themselves (RFC 8463 4.2)
    except (UnsupportedAlgorithm, ValueError):
        return SignatureFault.KEY_SYNTAX
    return SignatureFault.KEY_TYPE


def _checked(key: object) -> RSAPublicKey | SignatureFault:
    if not isinstance(key, RSAPublicKey):
        return SignatureFault.KEY_SYNTAX
    if key.key_size < MIN_RSA_BITS:
        return SignatureFault.KEY_WEAK
    if key.key_size > MAX_RSA_BITS:
        return SignatureFault.KEY_LARGE
    numbers = key.public_numbers()
    usual = numbers.e.bit_length() <= MAX_EXPONENT_BITS and numbers.e > 2 and numbers.e % 2 and numbers.n % 2
    return key if usual else SignatureFault.KEY_SYNTAX
