import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.mail.header_tokens import (
    MAX_COMMENT_PARTS,
    MAX_TOKENS,
    QUOTED_STRING,
    Scanner,
    Token,
    skip_cfws,
    unfold,
    unquote,
)
from dmarcmilter.reasons import text_of


def tokens_of(text):
    scanner = Scanner(text)
    found = []
    while scanner.token not in (Token.END, Token.BAD):
        found.append((scanner.token, scanner.value))
        scanner.advance()
    return found, text_of(scanner.fault)


def test_every_token():
    found, fault = tokens_of(b'a\xff-b "q\\" r" =?u?q?a@b?= @<>,:;.[] (c)')
    kinds = [Token.ATOM, Token.QUOTED, Token.ENCODED, Token.AT, Token.LESS, Token.GREATER, Token.COMMA, Token.COLON]
    assert [kind for kind, _ in found] == [*kinds, Token.SEMICOLON, Token.DOT, Token.BRACKET, Token.BRACKET]
    assert [value for _, value in found[:3]] == [b"a\xff-b", b'"q\\" r"', b"=?u?q?a@b?="]
    assert not fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b'a "b', "unterminated quote"),
        (b"a (b", "unterminated comment"),
        (b"a ) b", "misplaced character"),
        (b"a \\b", "misplaced character"),
        (b'=?u?q?"?= "', "a word over the end of an encoded word"),
        (b"=?u?q?(?= )", "a comment over the end of an encoded word"),
    ],
)
def test_what_cannot_be_read_names_its_fault_and_stays(text, fault):
    scanner = Scanner(text)
    for _ in range(5):
        scanner.advance()
    assert (scanner.token, text_of(scanner.fault)) == (Token.BAD, fault)


def test_gap():
    scanner = Scanner(b"a.(c)b")
    gaps = []
    while scanner.token is not Token.END:
        gaps.append(scanner.gap)
        scanner.advance()
    assert gaps == [False, False, True]


@pytest.mark.parametrize(
    ("text", "end"),
    [(b"", 0), (b" \ta", 2), (b"(a)b", 3), (b" (a(b)\\)) (c) d", 14), (b"(a", None), (b"(\\)", None), (b"(\\", None)],
)
def test_white_space_and_comments(text, end):
    assert skip_cfws(text, 0) == end


def test_unfold_keeps_what_is_no_fold():
    assert unfold(b" a\r\n b\r\n\tc\r\nd\re\nf\r\n") == b" a b\tc\r\nd\re\nf\r\n"


def test_unquote():
    assert unquote(b'"a\\"b\\\\c d"') == b'a"b\\c d'


@pytest.mark.parametrize(
    ("text", "domain", "then"),
    [
        (b"a.b c", b"a.b", Token.ATOM),
        (b"a (x) . b", b"a.b", Token.END),
        (b"a.b .c", None, Token.DOT),
        (b"a.b. c", None, Token.ATOM),
        (b"<", None, Token.LESS),
        (b"..", b"..", Token.END),
    ],
)
def test_domain(text, domain, then):
    scanner = Scanner(text)
    assert (scanner.take_domain(), scanner.token) == (domain, then)


@pytest.mark.parametrize(
    ("text", "is_one"), [(b"[192.0.2.1]", True), (b"[ a ]", True), (b"[a\\]]", False), (b"[a", False)]
)
def test_literal(text, is_one):
    assert Scanner(text).take_literal() is is_one


@given(st.binary(max_size=60) | st.text('"\\() =?uq@<>,a.', max_size=40).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_tokens_are_the_text_in_its_order(text):
    found, _ = tokens_of(text)
    position = 0
    for kind, value in found:
        position = text.index(value, position) + len(value)
        assert kind is not Token.QUOTED or QUOTED_STRING.fullmatch(value)


def test_comments_are_bounded():
    inside = b"(" + b"(x)" * (MAX_COMMENT_PARTS // 3 - 2) + b")"
    assert skip_cfws(inside, 0) == len(inside)
    assert skip_cfws(b"(x)" * MAX_COMMENT_PARTS, 0) is None
    pairs = b"(" + b"\\)" * MAX_COMMENT_PARTS + b")"
    assert skip_cfws(pairs, 0) == len(pairs)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"a " * (MAX_TOKENS + 1), "too many words"),
        (b"," * (MAX_TOKENS + 1), "too many words"),
        (b"a(x)" * (MAX_COMMENT_PARTS + 1), "too many comments"),
        (b"a " * (MAX_TOKENS - 1), ""),
    ],
    ids=["words", "commas", "comments", "as many as may be"],
)
def test_tokens_are_bounded(text, fault):
    assert tokens_of(text)[1] == fault
