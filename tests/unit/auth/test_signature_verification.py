import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth import signature_verification, tag_list
from dmarcmilter.auth.header_canonicalization import CanonicalHeader
from dmarcmilter.auth.signature_algorithm import Algorithm
from dmarcmilter.auth.signature_fault import SignatureFault
from dmarcmilter.auth.signature_verification import (
    BodyHash,
    BodyHasher,
    BodyPlan,
    Signature,
    SignatureVerification,
    Signer,
)
from dmarcmilter.mail.message import Header
from tests.support import signing
from tests.support.signing import NOW

HEADERS = [Header(b"From", b" joe@example.org"), Header(b"Subject", b" Hi")]
BODY = b"Hello.\r\n"
TAGS = {
    b"a": b"rsa-sha256",
    b"d": b"Example.org",
    b"s": b"SEL",
    b"h": b"From:subject",
    b"bh": b"AAAA",
    b"b": b"AA\r\n\tAA",
}


def test_read():
    """RFC 6376 3.5: defaults and spellings."""
    read = signature_verification.read(3, TAGS | {b"l": b"5", b"t": b"1", b"x": b"2"})
    assert read == Signature(
        position=3,
        signer=Signer("example.org", "sel", Algorithm.RSA_SHA256, b"\0\0\0"),
        names=(b"from", b"subject"),
        relaxed=False,
        plan=BodyPlan(relaxed=False, length=5),
        body_hash=b"\0\0\0",
        signed_at=1,
        expires=2,
    )
    assert read.signer.key_name == "sel._domainkey.example.org"


def test_read_without_the_optional_tags():
    read = signature_verification.read(0, TAGS)
    assert (read.signed_at, read.expires, read.plan) == (None, None, BodyPlan(relaxed=False, length=None))


@pytest.mark.parametrize("tag", list(TAGS))
def test_every_tag_of_the_signature_is_needed(tag):
    assert (
        signature_verification.read(0, {name: value for name, value in TAGS.items() if name != tag})
        is SignatureFault.SYNTAX
    )


def signed(**tags):
    field = signing.dkim(HEADERS, BODY, **tags)
    headers = [field, *HEADERS]
    read = signature_verification.read(0, tag_list.parse(field.value))
    hasher = BodyHasher([read.plan])
    hasher.feed(BODY)
    return read, headers, hasher.finish()


def test_check():
    read, headers, bodies = signed()
    lookup = signing.zone({"sel._domainkey.example.org": [signing.key_record(signing.rsa_key())]})
    checked = signature_verification.check(read, CanonicalHeader(headers), bodies, lookup, NOW)
    assert checked.fault is None
    assert checked.key is not None


@pytest.mark.parametrize(
    ("now", "digest", "fault"),
    [
        (NOW + 10**6, None, SignatureFault.EXPIRED),
        (NOW - 10**6, None, SignatureFault.FUTURE),
        (NOW, b"other", SignatureFault.BODY_MISMATCH),
    ],
)
def test_what_needs_no_key_asks_for_none(now, digest, fault):
    read, headers, bodies = signed(x=str(NOW + 60))
    if digest:
        bodies = {read.plan: BodyHash(digest, len(BODY))}
    asked = []
    assert signature_verification.check(
        read, CanonicalHeader(headers), bodies, signing.zone({}, asked=asked), now
    ) == SignatureVerification(fault)
    assert asked == []


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([*TAGS, b"c", b"q", b"t", b"x", b"l"]), st.binary(max_size=20)))
def test_any_tags_are_a_signature_or_a_fault(tags):
    assert isinstance(signature_verification.read(0, TAGS | tags), Signature | SignatureFault)
