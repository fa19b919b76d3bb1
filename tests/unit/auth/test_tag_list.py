import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth import tag_list


@pytest.mark.parametrize(
    ("raw", "tags"),
    [
        (b"a=b", {b"a": b"b"}),
        (b" a = b ;\r\n\tc= d e ; ", {b"a": b"b", b"c": b"d e"}),
        (b"a=b;", {b"a": b"b"}),
        (b"a=", {b"a": b""}),
        (b"a=b=c", {b"a": b"b=c"}),
        (b"a=1; A=2", {b"a": b"1", b"A": b"2"}),
        (b"d=\xc3\xa4.example", {b"d": b"\xc3\xa4.example"}),
        (b"", {}),
        (b"a=1; a=2", None),
        (b"a=1;; b=2", None),
        (b";a=1", None),
        (b"a", None),
        (b"=b", None),
        (b"1a=b", None),
        (b"a b=c", None),
        (b"a=\x00", None),
        (b"a=b\x7f", None),
    ],
)
def test_parse(raw, tags):
    """RFC 6376 3.2"""
    assert tag_list.parse(raw) == tags


@pytest.mark.parametrize(
    ("raw", "emptied"),
    [
        (b" v=1; b=abc=; bh=xyz", b" v=1; b=; bh=xyz"),
        (b" v=1; b = a\r\n b c ; d=e", b" v=1; b =; d=e"),
        (b"b=abc", b"b="),
        (b" bh=b=; b=\r\n\tabc\r\n\t", b" bh=b=; b="),
        (b" v=1;\r\n\tb=;", b" v=1;\r\n\tb=;"),
        (b" v=1; x=b=abc", b" v=1; x=b=abc"),
        (b" v=1; B=abc", b" v=1; B=abc"),
    ],
)
def test_without_b(raw, emptied):
    """RFC 6376 3.7"""
    assert tag_list.without_b(raw) == emptied


@pytest.mark.parametrize(
    ("value", "octets"),
    [
        (b"", b""),
        (b"AAEC", b"\0\1\2"),
        (b" A\r\n\tAE =\t", b"\0\1"),
        (b"AA = =", b"\0"),
        (b"AAE", None),
        (b"AA=", None),
        (b"A===", None),
        (b"====", None),
        (b"AA==AAAA", None),
        (b"AA-_", None),
        (b"AA*A", None),
        (b"\xff\xff\xff\xff", None),
    ],
)
def test_base64(value, octets):
    assert tag_list.base64(value) == octets


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (b"0", 0),
        (b"007", 7),
        (b"999999999999", 999999999999),
        (b"1000000000000", None),
        (b"", None),
        (b"-1", None),
        (b"1 2", None),
        ("٣".encode(), None),
        (b"9" * 5000, None),
    ],
)
def test_number(value, number):
    assert tag_list.number(value, 12) == number


def test_items():
    assert tag_list.items(b" From :\r\n\tTO:x ") == [b"from", b"to", b"x"]
    assert tag_list.items(b"") == [b""]
    assert tag_list.items(b"a:") == [b"a", b""]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text("ab=; \r\n\t", max_size=80).map(str.encode))
def test_any_octets_parse_or_not(raw):
    tags = tag_list.parse(raw)
    assert tags is None or all(name and value == value.strip(tag_list.FWS) for name, value in tags.items())
    assert tag_list.without_b(tag_list.without_b(raw)) == tag_list.without_b(raw)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100), st.data())
def test_base64_with_folds_anywhere(octets, data):
    text = base64.b64encode(octets)
    at = data.draw(st.integers(0, len(text)))
    assert tag_list.base64(text[:at] + b"\r\n\t " + text[at:]) == octets
