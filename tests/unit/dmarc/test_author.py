import time
import unicodedata
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dmarc import author as module
from dmarcmilter.dmarc.author import MAX_DOMAINS, AuthorProblem, author_domain
from dmarcmilter.mail.message import Header
from dmarcmilter.mail.overlong_lines import MAX_LINE, SPLIT_WIDTHS
from dmarcmilter.reasons import Code
from tests.support.build import counts_calls
from tests.support.cases import case_table

CASES = case_table("author")["case"]
SNIPPETS = [b'"', b"\\", b"<", b">", b"@", b"(", b")", b",", b":", b";", b"[", b"]", b".", b" ", b"\r\n ", b"\0"]
SNIPPETS += [
    b"a",
    b"bank.example",
    b"evil.example",
    b"=?utf-8?q?",
    b"?=",
    b"\xc3\xbc",
    b"\xff",
    b"\n",
    b"\r",
    b"192.0.2.1",
]
hostile = st.lists(st.sampled_from(SNIPPETS), max_size=25).map(b"".join) | st.binary(max_size=60)


def author_of(*bodies, name=b"From", rewrites=False):
    return author_domain([Header(name, body) for body in bodies], rewrites=rewrites)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_case(case):
    bodies = [case["from"]] if isinstance(case["from"], str) else case["from"]
    text, times = case.get("fill", ("~", 1))
    bodies = [body.replace("~", text * times) for body in bodies]
    encoding = "latin-1" if case.get("latin1") else "utf-8"
    fields = (b" " + body.encode(encoding) for body in bodies)
    author = author_of(*fields, rewrites=case.get("rewrites", False))
    assert (author.domain, author.problem) == (case.get("domain"), case.get("problem"))
    assert author.lax is case.get("lax", False)
    assert bool(author.misreading) is case.get("misread", False)
    assert author.domains == ((case["domain"],) if "domain" in case else tuple(case.get("domains", ())))
    assert bool(author.reason) is (author.problem is not None)


@pytest.mark.parametrize("name", [b"FROM", b"from", b"From ", b" From", b"From\t"])
def test_spellings_of_the_field_name_count(name):
    assert author_of(b" u@example.com", name=name).domain == "example.com"
    headers = [Header(name, b" x@evil.example"), Header(b"From", b" ceo@bank.example")]
    assert author_domain(headers).problem is AuthorProblem.SEVERAL_FIELDS


OTHER_NAMES = [b"Resent-From", b"X-From", b"From_", b"Sender", b"", b"\xef\xbb\xbfFrom", b"Fr\0om", b">From"]
OTHER_NAMES += [b"X-Mailbox-Line", b"Apparently-From", b"From-", b"Return-Path"]


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_other_fields_do_not_count(name):
    # FROM-08
    assert author_of(b" u@example.com", name=name).problem is AuthorProblem.MISSING


@counts_calls
def test_several_fields_are_read_for_the_record_only(monkeypatch):
    read_field, seen = module._read_field, []
    monkeypatch.setattr(module, "_read_field", lambda body: seen.append(body) or read_field(body))
    long = b" a@x.example," * 1000 + b" a@long.example"
    author = author_of(long, b" a@a.example", *[b" b@b.example"] * 9)
    assert (author.problem, author.domains) == (AuthorProblem.SEVERAL_FIELDS, ("a.example", "b.example"))
    assert author.unread
    assert len(seen) == module.MAX_FIELDS - 1
    full = b", ".join(b"a@d%d.example" % number for number in range(9))
    assert len(author_of(full, b" a@a.example").domains) == MAX_DOMAINS
    assert seen[-1] == full


@counts_calls
def test_a_large_field_with_an_overlong_line_is_not_read_again(monkeypatch):
    read_field, seen = module._read_field, []
    monkeypatch.setattr(module, "_read_field", lambda body: seen.append(body) or read_field(body))
    body = b" <u@example.com> (%b)"
    room = module.MAX_SPLIT_FIELD - len(body % b"")
    author = author_of(body % (b"x" * room))
    assert (author.domain, author.misreading) == ("example.com", None)
    assert len(seen) == 1 + len(SPLIT_WIDTHS)
    author = author_of(body % (b"x" * (room + 1)))
    assert author.domain == "example.com"
    assert author.misreading.code is Code.FROM_OVERLONG_LINE
    assert len(seen) == 2 + len(SPLIT_WIDTHS)


@counts_calls
@pytest.mark.parametrize("lines", [[MAX_LINE], [MAX_LINE] * 9])
def test_a_field_without_an_overlong_line_is_read_once(monkeypatch, lines):
    read_field, seen = module._read_field, []
    monkeypatch.setattr(module, "_read_field", lambda body: seen.append(body) or read_field(body))
    first, *others = [b" " + b"x" * (size - len(b"From: ")) for size in lines]
    body = b"\r\n".join([first, *others, b" <u@example.com>"])
    assert author_of(body).domain == "example.com"
    assert len(seen) == 1


def test_white_space_before_the_colon_moves_no_split():
    # Postfix leaves it out.
    name = b"x" * (MAX_LINE - len(b'From: "" <u@x.exam'))
    body = b' "%b" <u@x.example.com>' % name
    assert author_of(body).misreading
    assert author_of(body, name=b"From   ").misreading


LINE_ENDS = ["\r", "\n", "\0", "\v", "\f", "\x1c", "\x1d", "\x1e", "\r\n", "\n\r", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("end", LINE_ENDS, ids=ascii)
@pytest.mark.parametrize("name", ["From", "FROM", "from ", "From\t"])
def test_a_from_field_behind_a_stray_line_end_in_another_field(end, name):
    # RFC 5322 2.2, RFC 9989 11.5
    hidden = Header(b"Subject", f" a{end}{name}: ceo@bank.example{end}X: y".encode())
    real = Header(b"From", b" x@evil.example")
    for headers in ([hidden, real], [real, hidden]):
        author = author_domain(headers)
        assert (author.problem, author.domains) == (AuthorProblem.MALFORMED, ("evil.example",))
    assert author_domain([hidden]).problem is AuthorProblem.MALFORMED


STRAY = [
    " a stray\rcarriage return",
    " two\r\rof them\r",
    " in a fold\r\r\n From: a forwarded message",
    "\r\n From: a folded subject",
    "\r\n\tFrom: a folded subject",
    " Re:\r From: something",
    " caf\u00e9from: somewhere",
    "from: me",
    " From: me",
    " a\rResent-From: x",
    " a\rFrom the start",
]


@pytest.mark.parametrize("value", STRAY, ids=ascii)
def test_stray_line_ends_of_real_mail_do_no_harm(value):
    headers = [Header(b"Subject", value.encode()), Header(b"From", b" u@example.com")]
    assert author_domain(headers).domain == "example.com"


LONG = {
    "display text of 126 kB": (b"abcdefgh " * 14000 + b"<u@example.com>", "example.com"),
    "display text of 225 kB": (b"abcdefgh " * 25000 + b"<u@example.com>", AuthorProblem.MALFORMED),
    "folded encoded words of 126 kB": (b"=?utf-8?q?=41?=\r\n " * 7000 + b"<u@example.com>", "example.com"),
    "quoted text of 120 kB": (b'"' + b"\\a" * 60000 + b'" <u@example.com>', "example.com"),
    "comments nested 4,000 deep": (b"(" * 4000 + b")" * 4000 + b"u@example.com", "example.com"),
    "comments nested 100,000 deep": (b"(" * 100000 + b")" * 100000 + b"u@example.com", AuthorProblem.MALFORMED),
    "10,000 commas": (b"," * 10000 + b"u@example.com", "example.com"),
    "100,000 commas": (b"," * 100000 + b"u@example.com", AuthorProblem.MALFORMED),
    "6,000 comments one after the other": (b"(x)" * 6000 + b"u@example.com", AuthorProblem.MALFORMED),
    "100,000 unclosed comments": (b"(" * 100000 + b"u@example.com", AuthorProblem.MALFORMED),
    "100,000 angle brackets": (b"<" * 100000 + b"u@example.com", AuthorProblem.MALFORMED),
    "100,000 dots": (b"u@" + b"." * 100000, AuthorProblem.MALFORMED),
    "unterminated quote of 200 kB": (b'"' + b"\\a" * 100000, AuthorProblem.MALFORMED),
    "beginnings of encoded words": (b"=?a?q?" * 20000 + b"<u@example.com>", "example.com"),
    "10,000 domains": (b",".join(b"u@d%d.example" % i for i in range(10000)), AuthorProblem.MALFORMED),
    "300 domains": (b",".join(b"u@d%d.example" % i for i in range(300)), AuthorProblem.SEVERAL_DOMAINS),
    "1,000 companies with u-labels": (
        b" ".join(b"Foo@B\xc3\xbc%d" % i for i in range(999)) + b" <u@example.com>",
        AuthorProblem.MALFORMED,
    ),
    "10,000 names with encoded words": (b"=?a?q?b,?= " * 10000 + b"<u@example.com>", AuthorProblem.MALFORMED),
    "words that stick to encoded words": (b"x=?utf-8?q?a?= [ " * 6000 + b"<u@example.com>", "example.com"),
    "encoded words over one comma": (b"=?utf-8?q?" + b"a" * 120000 + b",b?= <u@example.com>", "example.com"),
    "encoded words over 10,000 commas": (b"=?utf-8?q?" + b"," * 10000 + b"b?= <u@example.com>", "example.com"),
    "beginnings of encoded words beside a bracket": (b"[ " + b"=?a?q?" * 20000 + b"<u@example.com>", "example.com"),
    "beyond the limit": (b"a" * 128 * 1024 + b"<u@example.com>", AuthorProblem.MALFORMED),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_long_fields_are_read_in_linear_time(name):
    body, expected = LONG[name]
    start = time.process_time()
    author = author_of(body)
    assert time.process_time() - start < 5
    assert (author.domain or author.problem) == expected
    assert len(author.domains) <= MAX_DOMAINS


@given(st.lists(hostile, max_size=3))
@settings(max_examples=400, deadline=None)
def test_any_octets_give_a_domain_or_a_problem(bodies):
    author = author_of(*bodies)
    assert (author.domain is None) is (author.problem is not None)
    assert len(author.domains) <= MAX_DOMAINS
    if author.domain is not None:
        assert author.domains == (author.domain,)


@given(hostile)
@settings(max_examples=300, deadline=None)
def test_nothing_before_the_bank_makes_it_pass_for_another(text):
    """Either the bank's address is hidden by quotes or comments, or it is the only domain, or there is a problem."""
    author = author_of(text + b" <ceo@bank.example>")
    is_hidden = b'"' in text or b"(" in text or b"<" in text
    assert author.problem or author.domain == "bank.example" or is_hidden


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=40))
@settings(max_examples=200, deadline=None)
def test_quoted_display_name_never_matters(text):
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').encode()
    assert author_of(b' "%b" <x@evil.example>' % quoted).domain == "evil.example"


@pytest.mark.slow
@given(st.from_regex(module._PLAIN, fullmatch=True))
@settings(max_examples=400, deadline=None)
def test_what_is_read_at_once_is_what_the_grammar_says(body):
    at_once = author_of(body)
    with mock.patch.object(module, "MAX_PLAIN", -1):
        assert author_of(body) == at_once


def test_full_stops_are_all_that_nfkc_makes_one():
    # The characters that later versions of Unicode add are not among them.
    characters = (chr(number) for number in range(0x110000) if not 0xD800 <= number < 0xE000)
    assert {c for c in characters if {".", "\u3002"} & set(unicodedata.normalize("NFKC", c))} == module._FULL_STOPS


@given(
    st.text("aé.-_'", max_size=8),
    st.sampled_from(["bank.example", "BANK.example.", "bank\u2024example", "bank\uff0eexample"]),
    st.text(".'\u2019!", max_size=3),
    st.sampled_from(["", " Ltd", " (c)", " .", "\t[x]", ' "x"', " =?utf-8?q?x?="]),
)
@settings(max_examples=300, deadline=None)
def test_no_display_name_of_the_bank_vouches_for_another(before, domain, after, behind):
    body = f" {before}ceo@{domain}{after}{behind} <x@evil.example>".encode()
    assert author_of(body).domain is None
