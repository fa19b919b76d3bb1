import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.mail.message import Header
from dmarcmilter.mail.message_file import parse

CASES = {
    "plain": (b"From: a\r\nTo:b\r\n\r\nbody\r\n", [(b"From", b" a"), (b"To", b"b")], b"body\r\n"),
    "LF line ends become CRLF": (b"From: a\n\tb\n\nx\ny\n", [(b"From", b" a\r\n\tb")], b"x\r\ny\r\n"),
    "mixed line ends: the body stays": (b"From: a\nTo: b\r\n\r\nx\n", [(b"From", b" a"), (b"To", b" b")], b"x\n"),
    "folds": (b"A: 1\r\n 2\r\n\t3\r\n\r\n", [(b"A", b" 1\r\n 2\r\n\t3")], b""),
    "a fold of white space only": (b"A: 1\r\n \r\nB: 2\r\n\r\nx", [(b"A", b" 1\r\n "), (b"B", b" 2")], b"x"),
    "mbox separator": (b"From a@b Thu Jan  1\r\nA: 1\r\n\r\nx", [(b"A", b" 1")], b"x"),
    "mbox separator only at the start": (
        b"A: 1\r\nFrom a@b\r\nB: 2\r\n\r\n",
        [(b"A", b" 1")],
        b"From a@b\r\nB: 2\r\n\r\n",
    ),
    "white space before the colon": (b"Subject \t: x\r\n\r\n", [(b"Subject", b" x")], b""),
    "no empty line": (b"A: 1\r\nB: 2", [(b"A", b" 1"), (b"B", b" 2")], b""),
    "no field: the header ends": (
        b"A: 1\r\nno field\r\nB: 2\r\n",
        [(b"A", b" 1")],
        b"no field\r\nB: 2\r\n",
    ),
    "a name with a space": (b"A: 1\r\nmy name: 2\r\n", [(b"A", b" 1")], b"my name: 2\r\n"),
    "a fold without a field": (b" x\r\nA: 1\r\n", [], b" x\r\nA: 1\r\n"),
    "empty name": (b": x\r\n", [], b": x\r\n"),
    "empty value": (b"A:\r\n\r\n", [(b"A", b"")], b""),
    "no header": (b"\r\nbody", [], b"body"),
    "octets": (b"A\xff: \x00\xfe\r\n\r\n\x80", [(b"A\xff", b" \x00\xfe")], b"\x80"),
    "several fields of one name": (b"A: 1\r\na: 2\r\n\r\n", [(b"A", b" 1"), (b"a", b" 2")], b""),
    "a lone CR is no line end": (b"A: 1\r2\r\n\r\n", [(b"A", b" 1\r2")], b""),
    "nothing": (b"", [], b""),
}


@pytest.mark.parametrize(("raw", "fields", "body"), CASES.values(), ids=CASES)
def test_parse(raw, fields, body):
    found = parse(raw)
    assert found.headers == tuple(Header(name, value) for name, value in fields)
    assert found.body == body


NAME = st.text("AbC-1", min_size=1, max_size=8).map(str.encode)
LINE = st.binary(max_size=20).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b""))
FOLD = LINE.map(lambda line: b" " + line)
FIELD = st.tuples(NAME, st.tuples(LINE, st.lists(FOLD, max_size=2)).map(lambda v: b"\r\n".join([v[0], *v[1]])))


@given(st.lists(FIELD, max_size=6), st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_what_was_put_together_comes_apart(fields, body):
    raw = b"".join(name + b":" + value + b"\r\n" for name, value in fields) + b"\r\n" + body
    found = parse(raw)
    assert found.headers == tuple(Header(name, value) for name, value in fields)
    assert found.body == body


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes(raw):
    found = parse(raw)
    assert all(header.name and b":" not in header.name for header in found.headers)
    assert len(found.body) <= len(raw) * 2
