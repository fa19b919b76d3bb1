"""Signed messages for tests, made with plain reference code that shares nothing with the verifier."""

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.mail.message import Header
from dmarcmilter.reasons.recorded import recognized

NOW = 1_800_000_000
CRLF = b"\r\n"


@cache
def rsa_key(bits=2048):
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ed25519_key():
    return Ed25519PrivateKey.generate()


def key_for(algorithm):
    return ed25519_key() if algorithm.lower().startswith("ed25519") else rsa_key()


@cache
def odd_modulus(bits, exponent=65537):
    """A public key of that size which nobody has the other half of."""
    return rsa.RSAPublicNumbers(exponent, (1 << bits) - 159).public_key()


def public_text(key, encoding=PublicFormat.SubjectPublicKeyInfo):
    """p= of a private or public key."""
    public = key.public_key() if hasattr(key, "public_key") else key
    if isinstance(public, rsa.RSAPublicKey):
        return base64.b64encode(public.public_bytes(Encoding.DER, encoding)).decode()
    return base64.b64encode(public.public_bytes_raw()).decode()


def key_record(key, **tags):
    kind = "rsa" if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey) else "ed25519"
    values = {"v": "DKIM1", "k": kind, "p": public_text(key)} | tags
    return "; ".join(f"{name}={value}" for name, value in values.items() if value is not None).encode()


def zone(records, failing=(), asked=None):
    """A Lookup over a dict of name to list of TXT records."""

    def lookup(name, rdtype):
        if asked is not None:
            asked.append(name)
        if name in failing:
            return Answer(Status.FAILED, reason=recognized("test"))
        if rdtype == "TXT" and name in records:
            return Answer(Status.FOUND, tuple(records[name]))
        return Answer(Status.NXDOMAIN)

    return lookup


def canonical_body(body, relaxed):
    """RFC 6376 3.4.3 and 3.4.4, line by line."""
    lines = body.split(CRLF)
    if relaxed:
        lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in lines]
    while lines and lines[-1] == b"":
        lines.pop()
    if not lines:
        return b"" if relaxed else CRLF
    return CRLF.join(lines) + CRLF


def canonical_header(name, value, relaxed):
    """RFC 6376 3.4.1 and 3.4.2."""
    if not relaxed:
        return name + b":" + value + CRLF
    value = re.sub(rb"[ \t]+", b" ", value.replace(CRLF, b"")).strip(b" ")
    return name.lower() + b":" + value + CRLF


def signed_fields(headers, names):
    left = list(reversed(headers))
    for name in names:
        for field in left:
            if field.name.lower() == name.strip().lower():
                left.remove(field)
                yield field
                break


def _sign(key, data):
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), SHA256())
    return key.sign(hashlib.sha256(data).digest())


def _field(name, tags, key, before, relaxed):
    """The field with b= last; `before` is what is hashed ahead of it."""
    text = "; ".join(f"{tag}={value}" for tag, value in tags.items() if value is not None and tag != "b")
    if tags.get("b", "") is None:
        return Header(name, b" " + text.encode())
    value = b" " + text.encode() + b"; b="
    data = before + canonical_header(name, value, relaxed)[:-2]
    signature = tags.get("b") or base64.b64encode(_sign(key, data)).decode()
    return Header(name, value + signature.encode())


def message_signature(name, headers, body, tags, key=None):
    """A DKIM-Signature or ARC-Message-Signature; a tag given as None is left out."""
    key = key or key_for(tags.get("a") or "")
    header_way, _, body_way = (tags.get("c") or "simple/simple").lower().partition("/")
    hashed = canonical_body(body, body_way == "relaxed")
    length = tags.get("l") or ""
    hashed = hashed[: int(length)] if length.isascii() and length.isdigit() and len(length) < 10 else hashed
    tags = {"bh": base64.b64encode(hashlib.sha256(hashed).digest()).decode()} | tags
    relaxed = header_way == "relaxed"
    names = [item.encode() for item in (tags.get("h") or "").split(":")]
    before = b"".join(canonical_header(f.name, f.value, relaxed) for f in signed_fields(headers, names))
    return _field(name, tags, key, before, relaxed)


def dkim(headers, body, key=None, **tags):
    defaults = {
        "v": "1",
        "a": "rsa-sha256",
        "c": "relaxed/relaxed",
        "d": "example.org",
        "s": "sel",
        "t": str(NOW - 60),
        "h": "from:to:subject",
    }
    return message_signature(b"DKIM-Signature", headers, body, defaults | tags, key)


@dataclass(frozen=True)
class Sealed:
    """One ARC Set."""

    results: Header
    message: Header
    seal: Header

    @property
    def fields(self):
        return [self.seal, self.message, self.results]


def seal(headers, body, sets=(), *, message=None, seal_tags=None, results=None, key=None):
    """The next set over the message and the sets before it."""
    instance = str(len(sets) + 1)
    results = Header(b"ARC-Authentication-Results", (results or f" i={instance}; mx.example; spf=pass").encode())
    common = {"i": instance, "a": "rsa-sha256", "d": f"hop{instance}.example", "s": "arc", "t": str(NOW - 60)}
    tags = common | {"c": "relaxed/relaxed", "h": "from:to:subject"} | (message or {})
    ams = message_signature(b"ARC-Message-Signature", headers, body, tags, key)
    before = [field for one in sets for field in (one.results, one.message, one.seal)] + [results, ams]
    data = b"".join(canonical_header(field.name, field.value, relaxed=True) for field in before)
    tags = common | {"cv": "pass" if sets else "none"} | (seal_tags or {})
    own = _field(b"ARC-Seal", tags, key or key_for(tags["a"] or ""), data, relaxed=True)
    return Sealed(results, ams, own)
