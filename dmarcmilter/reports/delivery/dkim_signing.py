"""Sign reports with DKIM (RFC 6376): they must pass DMARC themselves (RFC 9990 3.5.2).

Uses the verifier's canonicalization and a key that is loaded once. dkimpy computes RSA without the key's primes, which
would double the time for a report.
"""

import base64
import hashlib
from functools import lru_cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from dmarcmilter.auth.body_hash import BodyHasher, BodyPlan
from dmarcmilter.auth.header_canonicalization import relaxed_field
from dmarcmilter.mail.message import Header
from dmarcmilter.value import Value, representation_without

SIGNED_FIELDS = (
    b"from", b"to", b"subject", b"date", b"message-id", b"auto-submitted", b"mime-version", b"content-type",
)  # fmt: skip
MIN_RSA_BITS = 1024
"""Smallest RSA key accepted, in bits (RFC 8301 3.2); 2,048 should be used."""
SEED_BYTES = 32
"""Bytes of an Ed25519 private key. Further ones in a key file are ignored."""
WIDTH = 72
"""Characters of b= in a line."""
_WHOLE = BodyPlan(relaxed=True, length=None)

PrivateKey = RSAPrivateKey | Ed25519PrivateKey


class KeyUnusableError(ValueError):
    """The key cannot sign; the text says why."""


class ReportSigner(Value):
    """Signing domain (SDID), selector and private key."""

    domain: str
    selector: str
    key: bytes
    """PEM text of an RSA or Ed25519 key, or the base64 text of an Ed25519 seed as dknewkey writes it."""

    def __repr__(self) -> str:
        return representation_without(self, "key")


@lru_cache(maxsize=4)
def private_key(key: bytes) -> PrivateKey:
    """The private key of this text. KeyUnusableError if it is none that can be used."""
    try:
        if b"-----BEGIN" not in key:
            return Ed25519PrivateKey.from_private_bytes(base64.b64decode(key, validate=False)[:SEED_BYTES])
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusableError(f"not a private key that can be used: {error}") from None
    if isinstance(private, RSAPrivateKey) and private.key_size >= MIN_RSA_BITS:
        return private
    if isinstance(private, Ed25519PrivateKey):
        return private
    raise KeyUnusableError(f"neither Ed25519 nor RSA of at least {MIN_RSA_BITS} bits")


def signed(message: bytes, signer: ReportSigner) -> bytes:
    """The message with a DKIM-Signature in front. From is signed once more, so that none can be added."""
    key = private_key(signer.key)
    head, _, body = message.partition(b"\r\n\r\n")
    fields = {field.key: field for field in _fields(head)}
    names = [name for name in SIGNED_FIELDS if name in fields]
    start = _start(signer, key, names, _body_hash(body))
    data = b"".join(relaxed_field(fields[name]) for name in names)
    # Its own field last, with an empty b= and without the final CRLF (RFC 6376 3.7).
    value = _signature(key, data + relaxed_field(Header(b"DKIM-Signature", start))[: -len(b"\r\n")])
    lines = [value[at : at + WIDTH] for at in range(0, len(value), WIDTH)]
    return b"DKIM-Signature:" + start + b"\r\n ".join(lines) + b"\r\n" + message


def _fields(head: bytes) -> list[Header]:
    """The fields of a header that this program wrote: each name occurs once."""
    unfolded = head.replace(b"\r\n ", b" ").split(b"\r\n")
    return [Header(name, value) for name, _, value in (line.partition(b":") for line in unfolded)]


def _start(signer: ReportSigner, key: PrivateKey, names: list[bytes], digest: bytes) -> bytes:
    algorithm = "rsa-sha256" if isinstance(key, RSAPrivateKey) else "ed25519-sha256"
    listed = b":".join([*names, b"from"]).decode("ascii")
    tags = (
        f" v=1; a={algorithm}; c=relaxed/relaxed; d={signer.domain};\r\n s={signer.selector};\r\n h={listed};\r\n"
        f" bh={base64.b64encode(digest).decode('ascii')};\r\n b="
    )
    return tags.encode("ascii")


def _body_hash(body: bytes) -> bytes:
    hasher = BodyHasher({_WHOLE})
    hasher.feed(body)
    return hasher.finish()[_WHOLE].digest


def _signature(key: PrivateKey, data: bytes) -> bytes:
    if isinstance(key, RSAPrivateKey):
        return base64.b64encode(key.sign(data, PKCS1v15(), SHA256()))
    return base64.b64encode(key.sign(hashlib.sha256(data).digest()))  # RFC 8463 3
