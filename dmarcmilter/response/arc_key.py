"""The private key that signs ARC Sets (RFC 8617 4.1.2, 4.1.3). It is read once, when the daemon starts."""

import base64
import logging
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from dmarcmilter.auth import key_record
from dmarcmilter.auth.signature_fault import SignatureFault
from dmarcmilter.value import Value, representation_without

log = logging.getLogger(__name__)

MAX_FILE: Final = 65_536
"""Bytes read of a key file; an 8192-bit key has 6,400. A longer file is not a key."""
OTHERS: Final = 0o007
"""Permission bits that only owner and group should have."""


class SealKeyError(Exception):
    """A key file that cannot be used; the text begins with its path and is for the administrator."""


class SealKey(Value):
    """The sealer's domain, selector and RSA key."""

    domain: str
    """d=, as A-labels."""
    selector: str
    """s=."""
    private: RSAPrivateKey
    pem: bytes
    """The private key in the form that dkimpy reads."""
    record: bytes
    """The key record that belongs into DNS."""

    def __repr__(self) -> str:
        return representation_without(self, "pem")

    def sign(self, digest: bytes) -> bytes:
        """The rsa-sha256 signature (RFC 6376 3.3.2) of a SHA-256 digest."""
        return self.private.sign(digest, PKCS1v15(), Prehashed(SHA256()))


def load(path: str, *, domain: str, selector: str) -> SealKey:
    """Read the key; SealKeyError unless it is a usable RSA key (RFC 8617 defines rsa-sha256 only)."""
    private = _private_key(path)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    parsed = key_record.parse(record)
    if isinstance(parsed, SignatureFault):
        raise SealKeyError(f"{path}: {parsed.reason}: no verifier would accept it")
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return SealKey(domain, selector, private, pem, record)


def _private_key(path: str) -> RSAPrivateKey:
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_FILE)
            if Path(path).stat().st_mode & OTHERS:
                log.warning("%s: anyone on this machine can read this private key", path)
        key = load_pem_private_key(text, password=None)
    except OSError as error:
        raise SealKeyError(f"{path}: {error.strerror}") from error
    except TypeError:
        raise SealKeyError(f"{path}: the key is encrypted; it must not be") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SealKeyError(f"{path}: not a private key in PEM form") from None
    if not isinstance(key, RSAPrivateKey):
        raise SealKeyError(f"{path}: not an RSA key; ARC has no other algorithm (RFC 8617 4.1.3)")
    return key
