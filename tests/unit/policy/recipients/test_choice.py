"""dmarcmilter.policy.recipients.choice: addresses in the form that choices are kept under."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.policy.recipients import choice


@pytest.mark.parametrize(
    ("raw", "forms"),
    [
        (b"Joe@Example.NET", ("joe@example.net", "@example.net")),
        (b"joe+a+b@example.net", ("joe+a+b@example.net", "joe@example.net", "@example.net")),
        (b"+a@example.net", ("+a@example.net", "@example.net")),
        (b"joe+@example.net", ("joe+@example.net", "joe@example.net", "@example.net")),
        (b'"J\\oe"@example.net', ("joe@example.net", "@example.net")),
        ("jörg@bücher.example".encode(), ("jörg@xn--bcher-kva.example", "@xn--bcher-kva.example")),
    ],
)
def test_forms(raw, forms):
    assert choice.read(raw).forms == forms


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"joe", b"@example.net", b"joe@", b"joe@[192.0.2.1]", b"joe@a..b", b"\xff@example.net", b"a" * 5000),
        *(b'"Joe Doe"@example.net', b'"a@b"@example.net', b"a%b@example.net", b"b.example!a@example.net"),
    ],
)
def test_no_address(raw):
    assert choice.read(raw) is None


def test_a_detail_longer_than_any_entry_hides_nobody():
    # MAX_ADDRESS
    raw = b"joe+" + b"x" * 240 + b"@" + b"a" * 60 + b"." + b"b" * 60 + b".example.net"
    assert choice.read(raw).forms[0].startswith("joe@")
    assert len(choice.read(raw).forms) == 2


@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=300, deadline=None)
def test_anything(raw):
    found = choice.read(raw)
    if found is not None:
        assert found.forms[-1] == f"@{found.domain}"
        assert all(len(form) <= choice.MAX_ADDRESS for form in found.forms)


@given(st.from_regex(r"[a-z0-9.#$&'*/=?^_`{|}~-]{1,30}", fullmatch=True), st.text("abAB01", max_size=9))
@settings(max_examples=200, deadline=None)
def test_case_quotes_and_detail_make_no_other_person(local, detail):
    plain = choice.read(f"{local}@example.net".encode()).forms[0]
    for other in (local.upper(), f'"{local}"', f"{local}+{detail}", f'"{local}+{detail}"'):
        assert plain in choice.read(f"{other}@EXAMPLE.net".encode()).forms
