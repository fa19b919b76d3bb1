"""Programs that read a From field carelessly, and what they would show where we name one Author Domain."""

import email.header
import email.policy
import email.utils
import re
import time
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dmarcmilter.dmarc.author import author_domain
from dmarcmilter.mail import domain, lenient_readings
from dmarcmilter.mail.address_list import MAX_FIELD
from dmarcmilter.mail.message import Header
from tests.support.lenient_readers import ADDRESS, QUOTED, READERS, decoded

PLAIN_QUOTED = re.compile(r'"[^"]*"')


def domains_read(body):
    """Domains that the programs would show. Quoted display names may show any."""
    shown = [QUOTED.sub("x", body), *([PLAIN_QUOTED.sub("x", body)] if '\\"' in body else [])]
    for text in [*shown, decoded(shown[0]), unicodedata.normalize("NFKC", decoded(shown[0]))]:
        for read in READERS:
            for found in read(text):
                yield from ADDRESS.findall(found)
    for _, address in email.utils.getaddresses([shown[0]]):
        if "@" in address:
            yield address.rpartition("@")[2]


def assert_one_reading(body):
    author = author_domain([Header(b"From", b" " + body.encode("utf-8", "surrogatepass"))])
    if author.domain is None or author.misreading:
        return
    # What has no dot is nobody's domain.
    others = {name.strip(".").lower() for name in domains_read(body) if "." in name.strip(".")}
    assert {domain.parse(name) for name in others} <= {author.domain}


LOCAL = ["x", "ceo", '"a b"', '"a,b"', '"ceo@bank.example"', '"a;ceo@bank.example"', '"x\\"y"']
WORDS = ["John", "Doe", "J.", "@", '"Doe, John"', '"ceo@bank.example"', '"<ceo@bank.example>"', '"\\"x\\""', "[ML]"]
INNER = ["ceo@bank.example", "<", ">", ",", ";", ":", " ", "a", "@", "(b)", "\\)", "=?utf-8?q?=3C?=", "u@evil.example"]
ENCODED = [
    "ceo@bank.example",
    "<",
    ">",
    ",",
    ";",
    "\r\nFrom:",
    " ",
    '"',
    "(",
    ")",
    "u@evil.example",
    "\u2028",
    "\uff1c",
]


def encoded(parts):
    text = "".join(parts).encode()
    payload = "".join(chr(o) if o < 0x80 and chr(o).isalnum() else f"={o:02X}" for o in text)
    return f"=?utf-8?q?{payload}?="


comments = st.lists(st.sampled_from(INNER), max_size=4).map(lambda parts: "(" + "".join(parts) + ")")
words = st.one_of(
    st.sampled_from(WORDS),
    st.lists(st.sampled_from(ENCODED), min_size=1, max_size=4).map(encoded),
    comments,
    st.sampled_from(
        ["\uff1cceo\uff20bank.example\uff1e", "ceo\uff20bank.example\uff0c", "ceo\ufe6bbank.example\u2028"]
    ),
)
gaps = st.sampled_from(["", " ", "\r\n "])
local_parts = st.sampled_from(LOCAL)
pieces = st.lists(
    st.one_of(words, gaps, local_parts, comments, st.sampled_from(["<", ">", "@", ",", ";", "evil.example"])),
    max_size=9,
).map("".join)


@st.composite
def fields(draw):
    """Near the grammar: words, then an address with comments at any place in it."""
    name = " ".join(draw(st.lists(words, max_size=3)))
    inside = draw(st.lists(st.sampled_from(["", "", "", " "]) | comments, min_size=5, max_size=5))
    address = "{0}{5}{1}@{2}evil{3}.example{4}".format(*inside, draw(local_parts))
    behind = draw(
        st.just("") | comments | st.sampled_from([", x@evil.example", " , =?utf-8?q?a=2C?= <y@evil.example>"])
    )
    return f"{name} <{address}>{behind}" if draw(st.booleans()) else f"{address}{behind}"


@pytest.mark.slow
@given(fields() | pieces)
@settings(max_examples=600, deadline=None)
@example("(<ceo@bank.example>)x@evil.example")
@example("<x@evil(@bank.example).example>")
@example('"ceo@bank.example,x"@evil.example')
@example("=?utf-8?q?=3Cceo=40bank.example=3E?= <x@evil.example>")
@example("x@evil.example (a (b) ceo@bank.example)")
@example("x@evil.example(\\)u@evil.example)")
@example("x@evil.example(a)(b)(c)(\\)a)")
@example("(ceo@bank.example)(a)(b)(c)x@evil.example")
@example("=?utf-8?q?ceo=40bank.example=EF=BC=9C=3B?= <x@evil.example>")
@example("=?utf-8?q?ceo=40bank.example=EF=BC=9Cx=40evil.example=EF=BC=9E=2C?= <x@evil.example>")
@example('"x\\"y""a b","ceo@bank.example"@evil.example')
def test_no_careless_reader_finds_another_domain(body):
    assert_one_reading(body)


@given(st.lists(st.sampled_from(ENCODED), min_size=1, max_size=6), st.sampled_from(["", '"']), gaps)
@settings(max_examples=300, deadline=None)
def test_no_reader_that_decodes_first_finds_another_domain(parts, quote, gap):
    assert_one_reading(f"{quote}{encoded(parts)}{quote}{gap} <x@evil.example>")


def test_careless_readers_find_what_they_are_made_for():
    """The test above can fail: these are read otherwise, and refused."""
    for body in ["(<ceo@bank.example>)x@evil.example", "=?utf-8?q?=3Cceo=40bank.example=3E?= <x@evil.example>"]:
        assert "bank.example" in set(domains_read(body))


FORMS = [
    "j@x.example (John Doe)",
    "John Doe <j@x.example>",
    '"Doe, John" <j@x.example>',
    '"alice@example.com" <j@x.example>',
    '"Foo via a@b.example" <j@x.example>',
    "=?utf-8?q?J=C3=B6rg?= <j@x.example>",
    "=?iso-2022-jp?B?GyRCJUAlQCVAGyhC?= <j@x.example>",
    "=?utf-8?q?Doe=2C_John?= <j@x.example>",
    "=?utf-8?q?alice=40example.com?= <j@x.example>",
    "=?utf-8?q?J=C3=B6rg_=3Cj=40x.example=3E?= <j@x.example>",
    "\u5c71\u7530\uff20\u7dcf\u52d9\u90e8 <j@x.example>",
    "Doe, John <j@x.example>",
    "[JIRA] =?utf-8?q?J=C3=B6rg?= <j@x.example>",
    "J\u00f6rg (Acme, Inc.; Berlin) <j@x.example>",
    "=?unknown-8bit?q?J=F6rg?= <j@x.example>",
    '"=?utf-8?Q?M=C3=BCller, J?=" <j@x.example>',
]


@pytest.mark.parametrize("body", FORMS)
def test_forms_of_real_mail_are_read(body):
    author = author_domain([Header(b"From", b" " + body.encode())])
    assert (author.domain, author.misreading) == ("x.example", None)


LONG = {
    "comments": b"(a@x.example) " * 4900 + b"u@x.example",
    "encoded words": b"=?utf-8?q?a=40x.example?= " * 4500 + b"<u@x.example>",
    "encoded words without end": b"=?utf-8?q?a=40 " * 8000 + b"<u@x.example>",
    "words that begin words": b"=?utf-8?q?=3D=3F?=" * 6800 + b" <u@x.example>",
    "base64": b"=?utf-8?B?" + b"PGFAYi5leGFtcGxlPiA" * 6500 + b"?= <u@x.example>",
    "full-width signs": "\uff20\uff1c\uff0c".encode() * 14000 + b" <u@x.example>",
    "combining marks": "u@x.e\u0301\u0316".encode() + "\u0301\u0316".encode() * 32000 + b" <u@x.example>",
    "combining marks encoded": b"=?utf-8?q?a=40" + b"=CC=81=CC=96" * 10800 + b".b?= <u@x.example>",
    "comments behind a long gap": b"<u@x.example>" + b" " * 120_000 + b"()" * 4900,
    "comments before a long gap": b"()" * 4900 + b" " * 120_000 + b"<u@x.example>",
    "utf-7": b"=?utf-7?q?" + b"+AEA-x.example+ACw-" * 6800 + b"?= <u@x.example>",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_long_fields_are_read_in_linear_time(name):
    body = b" " + LONG[name]
    assert 40_000 < len(body) <= MAX_FIELD
    start = time.process_time()
    author_domain([Header(b"From", body)])
    assert time.process_time() - start < 1.0


def test_what_nothing_can_hide_in_is_not_looked_at(monkeypatch):
    monkeypatch.setattr(lenient_readings, "_parts", None)
    assert author_domain([Header(b"From", b" J. R. Doe <j@x.example>, k@x.example")]).domain == "x.example"
