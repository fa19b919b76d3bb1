import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth import key_record
from dmarcmilter.auth.key_record import KeyRecord
from dmarcmilter.auth.signature_algorithm import Algorithm
from dmarcmilter.auth.signature_fault import SignatureFault
from tests.support import signing
from tests.support.cases import case_table

CASES = case_table("dkim_key")["case"]


def keys():
    der = signing.ed25519_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    sizes = {f"rsa{bits}": signing.public_text(signing.odd_modulus(bits)) for bits in (512, 1023, 1024, 8192, 8200)}
    return sizes | {
        "rsa": signing.public_text(signing.rsa_key()),
        "pkcs1": signing.public_text(signing.rsa_key(), PublicFormat.PKCS1),
        "ed25519": signing.public_text(signing.ed25519_key()),
        "ed25519_der": base64.b64encode(der).decode(),
        "exponent": signing.public_text(signing.odd_modulus(2048, (1 << 2047) + 1)),
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_parse(case):
    record = key_record.parse(case["record"].format(**keys()).encode())
    if "fault" in case:
        assert record is SignatureFault[case["fault"]]
        return
    assert isinstance(record, KeyRecord)
    assert record.strict is case.get("strict", False)
    assert record.testing is case.get("testing", False)


def test_a_record_over_the_limit_is_not_parsed():
    record = signing.key_record(signing.rsa_key(), n="x" * key_record.MAX_RECORD)
    assert key_record.parse(record) is SignatureFault.KEY_SYNTAX


def test_a_record_is_parsed_once():
    record = signing.key_record(signing.rsa_key(), n="parsed once")
    assert key_record.parse(record) is key_record.parse(bytes(bytearray(record)))


GOOD = signing.key_record(signing.rsa_key())
REVOKED = b"v=DKIM1; p="


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([GOOD], None),
        ([REVOKED, GOOD], None),
        ([b"v=spf1 -all", signing.key_record(signing.ed25519_key()), GOOD], None),
        ([REVOKED, b"v=spf1 -all"], SignatureFault.KEY_REVOKED),
        ([signing.key_record(signing.ed25519_key())], SignatureFault.KEY_ALGORITHM),
        ([b""] * key_record.MAX_RECORDS + [GOOD], SignatureFault.KEY_SYNTAX),
        ([], SignatureFault.NO_KEY),
    ],
)
def test_find_takes_the_first_usable_of_several(records, found):
    record = key_record.find("k.example", Algorithm.RSA_SHA256, signing.zone({"k.example": records}))
    assert record is found if found else isinstance(record, KeyRecord)


def test_find_keeps_no_and_no_answer_apart():
    lookup = signing.zone({}, failing={"down.example"})
    assert key_record.find("down.example", Algorithm.RSA_SHA256, lookup) is SignatureFault.KEY_UNREACHABLE
    assert key_record.find("gone.example", Algorithm.RSA_SHA256, lookup) is SignatureFault.NO_KEY


def test_no_key_serves_rsa_sha1():
    lookup = signing.zone({"k.example": [GOOD]}, failing={"down.example"})
    assert key_record.find("k.example", Algorithm.RSA_SHA1, lookup) is SignatureFault.SHA1
    assert key_record.find("down.example", Algorithm.RSA_SHA1, lookup) is SignatureFault.KEY_UNREACHABLE


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, b"\xff" * 256, b"x" * 5000])
def test_a_wrong_signature_of_any_length_is_no_signature(signature):
    for record in (GOOD, signing.key_record(signing.ed25519_key())):
        assert not key_record.parse(record).verifies(signature, b"\0" * 32)


def test_a_signature_plus_the_modulus_is_no_signature():
    key = signing.rsa_key()
    signature = key.sign(b"text", PKCS1v15(), SHA256())
    digest = hashlib.sha256(b"text").digest()
    record = key_record.parse(GOOD)
    assert record.verifies(signature, digest)
    larger = int.from_bytes(signature, "big") + key.public_key().public_numbers().n
    assert not record.verifies(larger.to_bytes(257, "big"), digest)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400) | st.from_regex(rb"(?:[a-z]=[ -~]{0,20};? ?){0,6}", fullmatch=True))
def test_any_octets_are_a_record_or_a_fault(text):
    assert isinstance(key_record.parse(text), KeyRecord | SignatureFault)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 293), st.binary(min_size=1, max_size=4))
def test_a_damaged_key_never_raises(at, octets):
    der = bytearray(base64.b64decode(signing.public_text(signing.rsa_key())))
    der[at : at + len(octets)] = octets
    record = key_record.parse(b"p=" + base64.b64encode(der))
    if isinstance(record, KeyRecord):
        assert load_der_public_key(bytes(der))
        assert not record.verifies(b"\1" * 256, b"\0" * 32)
