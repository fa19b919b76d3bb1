"""Key records (RFC 6376 3.6.1): a key within the limits or a named fault, and no signature passes by chance."""

import hashlib
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from dmarcmilter.auth import key_record, signature_algorithm
from dmarcmilter.auth.key_record import KeyRecord
from dmarcmilter.auth.results import DkimWord
from dmarcmilter.auth.signature_algorithm import Algorithm
from dmarcmilter.auth.signature_fault import SignatureFault
from fuzz.material import rows, vectors
from tests.support import signing

DIGEST = hashlib.sha256(b"").digest()


def check(data: bytes) -> None:
    found = key_record.parse(data)
    assert found == key_record.parse(data)
    if isinstance(found, SignatureFault):
        assert found.word in (DkimWord.PERMERROR, DkimWord.POLICY)
        return
    assert b"p" in data
    if isinstance(found.key, RSAPublicKey):
        assert signature_algorithm.MIN_RSA_BITS <= found.key.key_size <= signature_algorithm.MAX_RSA_BITS
        assert found.key.public_numbers().e.bit_length() <= signature_algorithm.MAX_EXPONENT_BITS
    # The fuzzer knows no private key.
    for signature in (b"", b"\0", bytes(64), data[:256]):
        assert not found.verifies(signature, DIGEST)
    lookup = signing.zone({"k": [data]})
    for algorithm in Algorithm:
        assert isinstance(key_record.find("k", algorithm, lookup), KeyRecord) == (algorithm is found.algorithm)


def seeds() -> Iterator[bytes]:
    keys = {
        "rsa": signing.public_text(signing.odd_modulus(2048)),
        "ed25519": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    }
    for row in rows("dkim_key"):
        text = row["record"]
        for name, key in keys.items():
            text = text.replace(f"{{{name}}}", key)
        yield text.encode()
    for vector in vectors("dkim"):
        for name, types in vector["zone"].items():
            if "_domainkey" in name:
                yield from ("".join(text).encode("latin-1", "replace") for text in types.get("TXT", ()))
