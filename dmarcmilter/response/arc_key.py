"""The private key that ARC Sets are signed with (RFC 8617 4.1.2, 4.1.3): read once, when the daemon starts."""

import base64
import logging
from dataclasses import dataclass, field
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
from dmarcmilter.auth.signature_fault import Fault
from dmarcmilter.config.load import ConfigError

log = logging.getLogger(__name__)

MAX_FILE: Final = 65_536
"""Octets of a key file; an 8192-bit key takes 6,400."""
OTHERS: Final = 0o007
"""Permissions that nobody but owner and group should have."""


@dataclass(frozen=True, slots=True)
class SealKey:
    domain: str
    """d=, as A-labels"""
    selector: str
    """s="""
    private: RSAPrivateKey
    pem: bytes = field(repr=False)
    """The same in the form that dkimpy reads."""
    record: bytes
    """The key record that DNS should have."""

    def sign(self, digest: bytes) -> bytes:
        """rsa-sha256 (RFC 6376 3.3.2) of a SHA-256 digest."""
        return self.private.sign(digest, PKCS1v15(), Prehashed(SHA256()))


def load(path: str, *, domain: str, selector: str) -> SealKey:
    """ConfigError when it is not a usable RSA key: RFC 8617 knows no other algorithm than rsa-sha256."""
    private = _private(path)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    found = key_record.parse(record)
    if isinstance(found, Fault):
        raise ConfigError(f"[arc.seal] key_file: {path}: {found.reason}: nobody would accept it")
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return SealKey(domain, selector, private, pem, record)


def _private(path: str) -> RSAPrivateKey:
    where = f"[arc.seal] key_file: {path}"
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_FILE)
            if Path(path).stat().st_mode & OTHERS:
                log.warning("%s: anyone on this machine can read it", where)
        key = load_pem_private_key(text, password=None)
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}") from error
    except TypeError:
        raise ConfigError(f"{where}: the key is encrypted; it must not be") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{where}: not a private key in PEM form") from None
    if not isinstance(key, RSAPrivateKey):
        raise ConfigError(f"{where}: not an RSA key; ARC has no other algorithm (RFC 8617 4.1.3)")
    return key
