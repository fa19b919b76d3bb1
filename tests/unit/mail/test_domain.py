import itertools
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.mail import domain as module
from dmarcmilter.mail.domain import (
    LABEL_COST,
    MAX_INPUT,
    MAX_MAPPED,
    MAX_NAME,
    LabelBudget,
    is_budget_spent,
    is_within,
    labels,
    parse,
)
from tests.support.build import counts_calls
from tests.support.cases import case_table

CASES = case_table("domain")["case"]


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


def spellings(count):
    """One label, each time another one for IDNA."""
    return ["".join("\u00e9\u00c9"[number >> bit & 1] for bit in range(10)) for number in range(count)]


def test_a_budget_is_spent_on_different_labels_only():
    budget = LabelBudget()
    labels = spellings(1000)
    with budget:
        assert parse("b\u00fccher.example") == "xn--bcher-kva.example"
        assert all(parse(f"b\u00fccher.{number}.example") for number in range(100))
        assert all(parse("\u00bd\u2488.example") is None for _ in range(100))
        assert not is_budget_spent()
        mapped = [label for label in labels if parse(f"{label}.example")]
        assert is_budget_spent()
        assert len(mapped) == (MAX_MAPPED - 2 * LABEL_COST - 8 - 199) // (10 + LABEL_COST)
        assert parse("example.com") == "example.com"
        assert parse("b\u00fccher.example") is None
        assert parse("\u00f6l.example") is None
    assert not is_budget_spent()
    assert parse("\u00f6l.example") == "xn--l-0ga.example"


def test_budgets_stand_within_each_other():
    outer, inner = LabelBudget(1), LabelBudget()
    with outer:
        assert parse("\u00f6l.example") is None
        with inner:
            assert parse("\u00f6l.example") == "xn--l-0ga.example"
            assert not is_budget_spent()
        assert is_budget_spent()


def test_a_budget_bounds_the_time():
    labels = ["".join(pair) for pair in itertools.product(spellings(40), repeat=2)]
    start = time.process_time()
    with LabelBudget():
        assert sum(parse(".".join([*labels[place : place + 10], "x"])) is None for place in range(1000)) > 900
    assert time.process_time() - start < 1.0


@counts_calls
def test_a_name_that_is_too_long_is_not_mapped_to_its_end(monkeypatch):
    seen = []
    monkeypatch.setattr(module, "_a_label", lambda label: seen.append(label) or "xn--9ca")
    assert parse(".".join(spellings(20))[:253]) is not None
    assert parse("\u00e9." * 120 + "x") is None
    assert len(seen) < 60
