import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth import header_canonicalization
from dmarcmilter.auth.header_canonicalization import CanonicalHeader
from dmarcmilter.mail.message import Header
from tests.support import signing
from tests.support.build import counts_calls

VALUES = st.text(" \tab\r\n\x0b\xe9;=", max_size=40).map(lambda text: text.encode("latin-1"))


@pytest.mark.parametrize(
    ("name", "value", "relaxed"),
    [
        # The example of RFC 6376 3.4.5.
        (b"A", b" X", b"a:X\r\n"),
        (b"B", b" Y\t\r\n\tZ  ", b"b:Y Z\r\n"),
        (b"Subject", b"", b"subject:\r\n"),
        (b"Subject", b" \r\n\t", b"subject:\r\n"),
        (b"Subject ", b"x", b"subject:x\r\n"),
        (b"X", b" a\x0b\x0c b", b"x:a\x0b\x0c b\r\n"),
        (b"X", b"a\r b", b"x:a\r b\r\n"),
        (b"X-\xe9", b" \xe9", b"x-\xe9:\xe9\r\n"),
    ],
)
def test_relaxed_field(name, value, relaxed):
    assert header_canonicalization.relaxed_field(Header(name, value)) == relaxed


def test_simple_field_is_the_field():
    assert header_canonicalization.simple_field(Header(b"B", b" Y\t\r\n\tZ  ")) == b"B: Y\t\r\n\tZ  \r\n"


def test_signature_field():
    field = Header(b"DKIM-Signature", b" v=1;  b=abc ;\r\n\tbh=def")
    assert header_canonicalization.signature_field(field, relaxed=False) == b"DKIM-Signature: v=1;  b=;\r\n\tbh=def"
    assert header_canonicalization.signature_field(field, relaxed=True) == b"dkim-signature:v=1; b=; bh=def"


HEADERS = [Header(b"X", b"0"), Header(b"From", b"1"), Header(b"x", b"2"), Header(b"X", b"3"), Header(b"Y", b"4")]


@pytest.mark.parametrize(
    ("names", "own", "positions"),
    [
        ([b"x"], 99, [3]),
        ([b"x", b"x"], 99, [3, 2]),
        ([b"x", b"from", b"x", b"x", b"x", b"x"], 99, [3, 1, 2, 0]),
        ([b"absent", b"from"], 99, [1]),
        ([b"x", b"x", b"x"], 0, [3, 2]),
        ([b"x", b"x", b"x"], 2, [3, 0]),
        ([], 99, []),
    ],
)
def test_chosen_counts_from_the_bottom(names, own, positions):
    """RFC 6376 5.4.2"""
    assert list(CanonicalHeader(HEADERS).chosen(names, own)) == positions


def test_count():
    assert CanonicalHeader(HEADERS).count(b"x") == 3
    assert CanonicalHeader(HEADERS).count(b"z") == 0


def test_digest_is_over_the_chosen_and_the_own_field():
    headers = [Header(b"DKIM-Signature", b" b=abc; h=from"), Header(b"From", b" a  b")]
    expected = hashlib.sha256(b"from:a b\r\ndkim-signature:b=; h=from").digest()
    assert CanonicalHeader(headers).digest([b"from"], 0, relaxed=True) == expected


@counts_calls
def test_work_is_bounded_by_the_header(monkeypatch):
    """Ten signatures that each name 300 of 5,000 fields canonicalize each field once and walk no list twice."""
    done = []
    original = header_canonicalization.relaxed_field
    monkeypatch.setattr(
        header_canonicalization, "relaxed_field", lambda header: done.append(header) or original(header)
    )
    headers = [Header(b"X", b" %d" % number) for number in range(5000)]
    fields = CanonicalHeader(headers)
    for own in range(10):
        fields.digest([b"x"] * 300, own, relaxed=True)
    assert len(done) == 300 + 10  # and each signature's own field


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_relaxed_agrees_with_the_reference(value):
    expected = signing.canonical_header(b"x", value, relaxed=True)
    assert header_canonicalization.relaxed_field(Header(b"X", value)) == expected


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from([b" " * 7, b" " * 9, b"\t", b"x", b"w" * 150, b"\r\n", b"\0", b"\xff"])).map(b"".join),
    st.sampled_from([1, 40, 100]),
)
def test_single_spaces(data, repeated):
    """Repeated, it is large enough for the ways that depend on the number of runs."""
    data *= repeated
    assert header_canonicalization.single_spaces(data) == re.sub(rb"[ \t]+", b" ", data)
