import time
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth.authentication_results_reader import parse
from dmarcmilter.auth.forged_authentication_results import MAX_COMMENTS, MAX_MAPPED, forged
from tests.support.paths import CASES

OURS = ("mx.test.example", "bücher.example")
FORGED = tomllib.loads((CASES / "authres_forged.toml").read_text("utf-8"))["case"]


@pytest.mark.parametrize("case", FORGED, ids=lambda case: case["name"])
def test_forged_case(case):
    text, times = case.get("fill", ("~", 1))
    value = case["value"].replace("~", text * times).encode("latin-1" if case.get("latin1") else "utf-8")
    assert forged([value], OURS) == ((1,) if case["forged"] else ())


def test_occurrences_are_numbered_from_the_top_and_come_last_first():
    ours, other = b" mx.test.example; dmarc=pass", b" mx.other.example; dmarc=pass"
    assert forged([ours, other, ours, ours, other], OURS) == (4, 3, 1)
    assert forged([], OURS) == ()


def test_without_identifiers_only_the_unreadable_go():
    assert forged([b" a.example; x=y", b" (", b" spf=pass"], ()) == (3, 2)


@pytest.mark.parametrize(
    "value",
    [
        b" mx.test.example;" + b" dkim=pass header.d=x.example;" * 7000,
        b"(" * 200_000,
        b"(" * 100_000 + b")" * 100_000 + b"mx.test.example; x=y",
        b'"' + b"\\a" * 100_000,
        b"a" * 200_000 + b"/",
        b" (\\" * 70_000,
    ],
    ids=["results", "open", "nested", "quoted", "token", "pairs"],
)
def test_long_fields_take_linear_time(value):
    start = time.process_time()
    assert forged([value], OURS) == (1,)
    assert time.process_time() - start < 5


@given(st.binary(max_size=80) | st.text('mx.test.example ";()\\/1\0é', max_size=40).map(str.encode))
@settings(max_examples=400, deadline=None)
def test_any_octets_get_an_answer(value):
    found = forged([value], OURS)
    read = parse(value)
    if read and read.authserv_id.lower() == OURS[0]:
        assert found == (1,)


@given(st.lists(st.sampled_from([b" ", b"\r\n ", b"(x)", b"(\\))", b"((a)b)", b"\t"]), max_size=6).map(b"".join))
@settings(max_examples=100, deadline=None)
def test_white_space_and_comments_hide_nothing(cfws):
    assert forged([cfws + b"mx.test.example" + cfws + b"; dmarc=pass"], OURS) == (1,)


def test_of_many_fields_that_need_mapping_the_rest_goes_unread():
    foreign = "b\u00fccher.example.net; dmarc=pass".encode()
    assert forged([foreign] * MAX_MAPPED, OURS) == ()
    assert forged([foreign] * (MAX_MAPPED + 2), OURS) == (MAX_MAPPED + 2, MAX_MAPPED + 1)
    assert forged([foreign] * MAX_MAPPED + [b" mx.other.example; none"], OURS) == ()


def test_comments_beyond_the_limit_are_not_read():
    """Such a field is removed, whosever it is; a thousand of them take no time."""
    foreign = b" mx.other.example; spf=pass" + b" (x)" * MAX_COMMENTS
    assert forged([foreign], OURS) == ()
    assert forged([foreign + b" (x)"], OURS) == (1,)
    hostile = [b"(" * 4096] * 1000
    began = time.process_time()
    assert len(forged(hostile, OURS)) == 1000
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    "odd", ["'mx.test.example'", "`mx.test.example", "\u00fcmx.test.example", "mx.test.ex\u00e4ample"]
)
def test_our_name_with_characters_that_some_reader_may_drop(odd):
    assert forged([f" {odd}; dmarc=pass".encode()], OURS) == (1,)
    assert forged([f" {odd}a; dmarc=pass".encode()], OURS) == ()
