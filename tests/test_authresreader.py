import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.authresreader import MAX_OCTETS, MAX_PROPERTIES, MAX_RESULTS, Parsed, ReadResult, parse


def test_whole_payload():
    value = (
        b" mx.example.net 1 (c);\r\n\tSPF=Pass (a (b) \\) dkim=pass) smtp.MailFrom=a@b.example;"
        b' dkim/1 = fail reason="it; dmarc=pass \\"x\\"" header.d=b.example header.i="a b"@b.example;'
        b" arc=pass (i=1 spf=pass); dmarc=pass header . from = b.example"
    )
    assert parse(value) == Parsed(
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
    assert parse(value) == Parsed(authserv_id, ())


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"; dmarc=pass",
        b"spf=pass; dmarc=pass",
        b"mx.example 2; dmarc=pass",
        b"mx.example x; dmarc=pass",
        b"mx.example; dmarc",
        b"mx.example; dmarc=",
        b"mx.example; =pass",
        b"mx.example; dmarc=pass header.from",
        b"mx.example; dmarc=pass header.from=",
        b"mx.example; dmarc=pass header.=x",
        b"mx.example; dmarc=pass .from=x",
        b'mx.example; dmarc=pass reason="x',
        b'mx.example; dmarc=pass reason="x"dkim=pass',
        b'mx.example; dmarc=pass header.from=a"b"',
        b"mx.example; dmarc=pass (x",
        b"mx.example; dmarc=pass x)",
        b"mx.example; dmarc=pass, dkim=pass",
        b"mx.example; dmarc=pass;; dkim=pass",
        b"mx.example; dmarc=pass header.from=a,b",
        b"mx.example; dkim/x=pass",
        b"mx.example\0; dmarc=pass",
        b"mx.example; dmarc=pass\n",
        b"mx.example; dmarc=pass header.from=\xff",
        b"mx.example; dmarc=\xc3\xbc",
        b"mx.example; none dmarc=pass",
    ],
)
def test_broken_payload_is_not_read_at_all(value):
    assert parse(value) is None


@pytest.mark.parametrize(
    ("text", "properties"),
    [
        (b"header.from=bank.example action=none", (("header.from", "bank.example"), ("action", "none"))),
        (b"smtp.mailfrom=<>", (("smtp.mailfrom", "<>"),)),
        (b"smtp.remote-ip=2001:db8::1 header.b=a/b=", (("smtp.remote-ip", "2001:db8::1"), ("header.b", "a/b="))),
        (b"header.i=@b.example", (("header.i", "@b.example"),)),
        (b'header.b="; dmarc=pass"', (("header.b", "; dmarc=pass"),)),
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
        assert read is None or [result.result for result in read.results] in (["fail"], [])


def test_limits():
    assert len(parse(b"m" + b"; a=b" * MAX_RESULTS).results) == MAX_RESULTS
    assert parse(b"m" + b"; a=b" * (MAX_RESULTS + 1)) is None
    assert len(parse(b"m; a=b" + b" c.d=e" * MAX_PROPERTIES).results[0].properties) == MAX_PROPERTIES
    assert parse(b"m; a=b" + b" c.d=e" * (MAX_PROPERTIES + 1)) is None
    assert parse(b"m" * (MAX_OCTETS + 1)) is None


@pytest.mark.parametrize("text", [b"(", b"()", b'"', b"a", b"a-", b"\\", b" ", b"; a=b", b"=", b"/1", b'"\\"'])
def test_long_payloads_take_linear_time(text):
    start = time.perf_counter()
    parse(b"m; a=b " + text * (65000 // len(text)))
    assert time.perf_counter() - start < 3


@given(st.binary(max_size=80) | st.text('m; a=b.c"()\\/1\r\né', max_size=60).map(str.encode))
@settings(max_examples=400, deadline=None)
def test_any_octets_are_read_or_not(value):
    read = parse(value)
    assert read is None or len(read.results) <= MAX_RESULTS
