import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth.authentication_results_reader import (
    MAX_PAYLOAD,
    MAX_PROPERTIES,
    MAX_RESULTS,
    MAX_SEGMENTS,
    ReadAuthenticationResults,
    ReadResult,
    parse,
)


def test_whole_payload():
    value = (
        b" mx.example.net 1 (c);\r\n\tSPF=Pass (a (b) \\) dkim=pass) smtp.MailFrom=a@b.example;"
        b' dkim/1 = fail reason="it; dmarc=pass \\"x\\"" header.d=b.example header.i="a b"@b.example;'
        b" arc=pass (i=1 spf=pass); dmarc=pass header . from = b.example"
    )
    assert parse(value) == ReadAuthenticationResults(
        "mx.example.net",
        (
            ReadResult("spf", "pass", "", (("smtp.mailfrom", "a@b.example"),)),
            ReadResult(
                "dkim", "fail", 'it; dmarc=pass "x"', (("header.d", "b.example"), ("header.i", "a b@b.example"))
            ),
            ReadResult("arc", "pass"),
            ReadResult("dmarc", "pass", "", (("header.from", "b.example"),)),
        ),
    )


@pytest.mark.parametrize(
    ("value", "authserv_id"),
    [
        (b"mx.example; none", "mx.example"),
        (b"mx.example", "mx.example"),
        (b'"mx example";none;', "mx example"),
        (b"(c)mx.example(c)1(c);", "mx.example"),
        ("bücher.example; none".encode(), "bücher.example"),
    ],
)
def test_no_results(value, authserv_id):
    assert parse(value) == ReadAuthenticationResults(authserv_id, ())


@pytest.mark.parametrize("value", [b"", b" ", b";", b"mx.example 2; dmarc=pass", b"mx.example (c) 10 ; dmarc=pass"])
def test_payloads_that_are_not_read_at_all(value):
    assert parse(value) is None


@pytest.mark.parametrize(
    "broken",
    [
        b"dmarc",
        b"dmarc=",
        b"dmarc=pass header.from",
        b"dmarc=pass header.=x",
        b"dmarc=pass .from=x",
        b'dmarc=pass reason="x"dkim=pass',
        b'dmarc="pass" header.from=bank.example',
        b'dmarc=pass header.from=a"b"',
        b"dmarc=pass x)",
        b"dmarc=pass, header.from=bank.example",
        b"dmarc=pass header.from=a,b",
        b"dmarc/2=pass",
        b"dmarc/x=pass",
        b"dmarc=pass\0",
        b"dmarc=pass\n",
        b"dmarc=pass header.from=\xff",
        b"dmarc=\xc3\xbc",
        b"dmarc=pass dmarc=fail",
        b"spf=pass dmarc=fail",
        b"none dmarc=pass",
        b"\xffdmarc=fail",
        b"=dmarc=fail",
        b"(null)= DMARC (x) = fail",
        b'"q"dmarc=fail',
    ],
)
def test_dmarc_result_that_cannot_be_read_is_told_and_no_result(broken):
    read = parse(b"mx.example; spf=pass; " + broken + b" ; dmarc=pass header.from=bank.example; dkim=pass")
    assert [(result.method, result.result) for result in read.results] == [
        *(("spf", "pass"), ("dmarc", "pass"), ("dkim", "pass"))
    ]
    assert read.results[1].properties == (("header.from", "bank.example"),)
    assert (read.unread, read.may_hide_dmarc) == (1, True)


FOREIGN = [
    b"(null)=pass",
    b"=pass",
    b"client-ip=192.0.2.1",
    b"envelope-from=dmarc@b.example",
    b"x-tests=DMARC_PASS,SPF_PASS",
    b"spf=pass policy.dmarc=none,x",
    b"dkim=pass (ok) header.d=a,b",
    b"x\0y=pass",
    b"dkim=pass header.i=\xff",
    b"compauth=pass reason=100,x",
    b"x-odd=pass header.a=b\\c",
    b'x-odd="; dmarc=fail"',
    b"dkim=pass (; dmarc=fail) header.d",
    b"x-dmarc=fail!",
    b"dkim/2=pass",
    b")",
    b"none none",
]


@pytest.mark.parametrize("broken", FOREIGN)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_broken_foreign_result_costs_no_other(broken, place):
    around = [b"spf=pass smtp.mailfrom=b.example", b"dmarc=pass (p=reject) header.from=b.example"]
    around.insert(place, broken)
    read = parse(b"mx.example; " + b"; ".join(around))
    assert read.authserv_id == "mx.example"
    assert read.results == (
        ReadResult("spf", "pass", "", (("smtp.mailfrom", "b.example"),)),
        ReadResult("dmarc", "pass", "", (("header.from", "b.example"),)),
    )
    assert (read.unread, read.may_hide_dmarc) == (1, False)


@pytest.mark.parametrize("opening", [b"(", b'"', b"((x)", b'"x\\"', b"smtp.mailfrom=(", b'reason="'])
def test_what_never_closes_hides_the_rest(opening):
    read = parse(b"mx.example; dmarc=pass header.from=b.example; spf=pass " + opening + b"; dkim=pass")
    assert [result.method for result in read.results] == ["dmarc"]
    assert not read.may_hide_dmarc
    read = parse(b"mx.example; dmarc=pass header.from=b.example; spf=pass " + opening + b"; Dmarc=fail")
    assert [result.method for result in read.results] == ["dmarc"]
    assert read.may_hide_dmarc
    read = parse(b"mx.example; spf=pass " + opening + b"; dmarc=pass header.from=b.example")
    assert read.results == ()
    assert read.may_hide_dmarc


@pytest.mark.parametrize(
    "head", [b"mx.example x", b"mx.example 1 x", b"a b c", b"mx,example", b"", b"mx.example\0", b"@"]
)
def test_authserv_id_that_cannot_be_read_costs_no_result(head):
    read = parse(head + b"; dmarc=pass header.from=b.example")
    assert read.authserv_id == ""
    assert [result.method for result in read.results] == ["dmarc"]
    assert not read.may_hide_dmarc


def test_no_authserv_id():
    read = parse(b"spf=pass smtp.mailfrom=x; dmarc=pass action=none header.from=b.example;compauth=pass reason=100")
    assert [result.method for result in read.results] == ["spf", "dmarc", "compauth"]


def test_empty_segments_and_none_beside_results():
    read = parse(b"mx.example;; none ; dmarc=pass;;; dkim=pass; ")
    assert [result.method for result in read.results] == ["dmarc", "dkim"]
    assert read.unread == 0


@pytest.mark.parametrize(
    ("text", "properties"),
    [
        (b"header.from=bank.example action=none", (("header.from", "bank.example"), ("action", "none"))),
        (b"smtp.mailfrom=<>", (("smtp.mailfrom", "<>"),)),
        (b"smtp.remote-ip=2001:db8::1 header.b=a/b=", (("smtp.remote-ip", "2001:db8::1"), ("header.b", "a/b="))),
        (b"header.i=@b.example", (("header.i", "@b.example"),)),
        (b'header.b="; dmarc=pass"', (("header.b", "; dmarc=pass"),)),
        (b"smtp.mailfrom=", (("smtp.mailfrom", ""),)),
        (b"smtp.mailfrom=(none)", (("smtp.mailfrom", ""),)),
        (b"smtp.mailfrom= smtp.helo=h.example", (("smtp.mailfrom", ""), ("smtp.helo", "h.example"))),
        (b"smtp.mailfrom=(c)smtp.helo=h.example", (("smtp.mailfrom", ""), ("smtp.helo", "h.example"))),
        (b"policy.is_org=yes x-bits=2048", (("policy.is_org", "yes"), ("x-bits", "2048"))),
        (b"header.from=<a@b.example>", (("header.from", "<a@b.example>"),)),
    ],
)
def test_values_that_large_sites_write(text, properties):
    assert parse(b"mx.example; dmarc=fail " + text).results == (ReadResult("dmarc", "fail", "", properties),)


def test_result_of_an_unknown_method_version_is_left_out():
    assert parse(b"mx.example; dkim/2=pass header.d=a; spf=fail").results == (ReadResult("spf", "fail"),)


@pytest.mark.parametrize("hiding", [b'"%b"', b"(%b)", b'("%b)', b'"(%b"', b"(\\)%b)", b'"\\"%b"', b"((a)%b)"])
def test_hidden_results_are_none(hiding):
    hidden = hiding % b"; dmarc=pass header.from=bank.example; "
    for place in (
        b"mx.example; dmarc=fail header.from=%b",
        b"mx.example; dmarc=fail reason=x %b",
        b"%b mx.example;dmarc=fail",
    ):
        read = parse(place % hidden)
        assert [result.result for result in read.results] in (["fail"], [])


def test_limits():
    assert len(parse(b"m" + b"; a=b" * MAX_RESULTS).results) == MAX_RESULTS
    more = parse(b"m" + b"; a=b" * (MAX_RESULTS + 1))
    assert (len(more.results), more.unread, more.may_hide_dmarc) == (MAX_RESULTS, 1, False)
    assert parse(b"m" + b"; a=b" * MAX_RESULTS + b"; dmarc=fail").may_hide_dmarc
    assert len(parse(b"m; a=b" + b" c.d=e" * MAX_PROPERTIES).results[0].properties) == MAX_PROPERTIES
    assert parse(b"m; a=b" + b" c.d=e" * (MAX_PROPERTIES + 1)).results == ()
    assert parse(b"m" * (MAX_PAYLOAD + 1)) is None
    odd = b"m" + b"; ?" * (MAX_SEGMENTS + 50)
    assert (parse(odd).unread, parse(odd).may_hide_dmarc) == (MAX_SEGMENTS, False)
    assert parse(odd + b"; dmarc=fail").may_hide_dmarc


def test_many_results_are_not_all_read():
    start = time.process_time()
    parse(b"m" + b"; a=b (x)" * 7000)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    "text",
    [b"(", b"()", b'"', b"a", b"a-", b"\\", b" ", b"; a=b", b"=", b"/1", b'"\\"', b";", b"; ,", b"dmarc;", b'"";'],
)
def test_long_payloads_take_linear_time(text):
    start = time.process_time()
    parse(b"m; a=b " + text * (65000 // len(text)))
    assert time.process_time() - start < 3


@given(st.binary(max_size=80) | st.text('m; a=b.c"()\\/1\r\né', max_size=60).map(str.encode))
@settings(max_examples=400, deadline=None)
def test_any_octets_are_read_or_not(value):
    read = parse(value)
    assert read is None or len(read.results) <= MAX_RESULTS


def top_level(value):
    """Another reading of RFC 8601 2.2, character by character: segments without comments and quoted-strings."""
    segments, depth, quoted, skip = [""], 0, False, False
    for char in value:
        if skip:
            skip = False
        elif char == "\\" and (depth or quoted):
            skip = True
        elif quoted:
            quoted = char != '"'
        elif char == "(" or (char == ")" and depth):
            depth += 1 if char == "(" else -1
            segments[-1] += " "
        elif depth:
            pass
        elif char == '"':
            quoted = True
            segments[-1] += " "
        elif char == ";":
            segments.append("")
        else:
            segments[-1] += char
    # What does not close holds all to the end.
    return [segment.strip() for segment in (segments[:-1] if depth or quoted else segments)]


DMARC = re.compile(r"dmarc(?![\w.-])", re.IGNORECASE | re.ASCII)
PIECES = st.sampled_from(
    [
        "; ",
        ";",
        "(",
        ")",
        '"',
        "\\",
        " ",
        "=",
        "dmarc=pass header.from=bank.example",
        "dmarc=fail",
        "DMARC = pass",
        "dkim=pass header.d=a.example",
        'reason="x"',
        "(c)",
        "x-y=z",
        "dmarc",
        "pass",
        ",",
        "/",
        "1",
        "\0",
        "é",
        "mx",
    ]
)


@pytest.mark.slow
@given(st.lists(PIECES, max_size=25).map("".join))
@settings(max_examples=1500, deadline=None)
def test_results_stand_at_top_level_and_no_dmarc_result_is_overlooked(value):
    read = parse(b"mx.example; " + value.encode())
    segments = top_level(value)
    words = [segment.lower().replace(" ", "").replace("/1=", "=") for segment in segments if DMARC.match(segment)]
    found = [f"dmarc={result.result}" for result in read.results if result.method == "dmarc"]
    assert len(found) <= len(words)
    assert all(any(word.startswith(one) for word in words) for one in found)
    assert read.may_hide_dmarc or len(found) == len(words)


GOOD = [b"spf=pass smtp.mailfrom=b.example", b"dmarc=pass (p=none) header.from=b.example", b"arc=none", b"iprev=pass"]
# Neither a semicolon nor a quote or comment that may stay open.
MANGLED = (
    st.binary(max_size=40)
    .map(lambda raw: raw.translate(None, b';"()\\'))
    .filter(lambda raw: b"dmarc" not in raw.lower())
)


@pytest.mark.slow
@given(MANGLED, st.sampled_from(GOOD), st.integers(0, 60))
@settings(max_examples=800, deadline=None)
def test_mangling_one_result_does_not_change_the_others(junk, victim, place):
    whole = parse(b"mx.example; " + b"; ".join(GOOD)).results
    mangled = victim[:place] + junk + victim[place:]
    read = parse(b"mx.example; " + b"; ".join(mangled if result == victim else result for result in GOOD))
    others = tuple(result for result in whole if result.method != victim.split(b"=")[0].decode())
    assert [result for result in read.results if result in others] == list(others)
    assert len(read.results) + read.unread <= len(whole)
    if not victim.startswith(b"dmarc"):
        assert not read.may_hide_dmarc
