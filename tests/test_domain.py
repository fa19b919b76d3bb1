import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dmarc.domain import MAX_INPUT, MAX_NAME, is_within, labels, parse

CASES = tomllib.loads((Path(__file__).parent / "cases" / "domain.toml").read_text("utf-8"))["case"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_case(case):
    raw = case["raw"].encode("latin-1" if case.get("latin1") else "utf-8")
    assert parse(raw) == case.get("expected")
    if not case.get("latin1"):
        assert parse(case["raw"]) == case.get("expected")


def test_length_of_a_name():
    name = ".".join(["a" * 61] * 4)
    assert parse(name + ".bbbbb") == name + ".bbbbb"
    assert len(name + ".bbbbb") == MAX_NAME
    assert parse(name + ".bbbbbb") is None
    assert parse("ü" * (MAX_INPUT + 1)) is None
    assert parse(".".join(["ü"] * (MAX_NAME // 2 + 1))) is None
    assert parse(".".join(["ü"] * 25) + ".example") == ".".join(["xn--tda"] * 25) + ".example"


@given(st.binary(max_size=80) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=300, deadline=None)
def test_any_octets_give_a_normal_form_or_none(raw):
    domain = parse(raw)
    if domain is not None:
        assert re.fullmatch(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", domain)
        assert len(domain) <= MAX_NAME
        assert parse(domain) == domain


@given(st.text(max_size=30))
@settings(max_examples=200, deadline=None)
def test_text_never_raises(text):
    parse(text)


def test_labels_and_within():
    domain, below, other = parse("example.com"), parse("a.b.example.com"), parse("notexample.com")
    assert labels(below) == ["a", "b", "example", "com"]
    assert is_within(below, domain)
    assert is_within(domain, domain)
    assert not is_within(domain, below)
    assert not is_within(other, domain)
