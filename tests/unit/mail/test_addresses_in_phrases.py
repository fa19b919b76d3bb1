import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.mail.addresses_in_phrases import Phrase, is_ambiguous_name, shows_address, stands_for_address
from dmarcmilter.mail.header_tokens import Token


@pytest.mark.parametrize(
    "text",
    [
        b"a@b",
        b"<a",
        b"a>",
        b"a%40b",
        "a\uff20b".encode(),
        "a\ufe6bb".encode(),
        "\u2039a".encode(),
        "\u27e8a".encode(),
        "\u3008a".encode(),
        b"=?utf-8?q?a=40b?=",
        b"=?UTF-8*en?Q?a=3cb?=",
        b"x=?utf-8?q?=EF=BC=A0?=",
        b"=?utf-8?B?YUBi?=",
        b"=?utf-8?B?YUBi=?=",
        b"=?iso-2022-jp?B?YUBi?=",
        b"=?iso-2022-jp?Q?=1B=24=42?= =?shift_jis?q?=40?=",
        b"=?utf-7?q?a+AEA-b?=",
        b"=?unknown?q?a?=",
        b"=?utf-8?q?a?b=40?=",
    ],
)
def test_address_is_seen(text):
    # FROM-16, FROM-18
    assert shows_address(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"Doe, J. (x)",
        b"a =? b",
        b"=?utf-8?q?J=C3=BCrgen?=",
        b"=?utf-8?B?SsO8cmdlbg==?=",
        b"=?ISO-2022-JP?B?GyRCJUAlQCVAGyhC?=",  # each second octet of it is an @
        b"\xff\xfe",
    ],
)
def test_names_are_names(text):
    assert not shows_address(text)


@pytest.mark.parametrize(
    ("text", "end", "expected"),
    [
        (b"Doe, J", 3, False),
        (b"=?utf-8?Q?Doe,_John?= <", 13, False),
        (b"=?utf-8?Q?Doe?=, <", 15, True),
        (b"=?utf-8?Q?a=40b,?= <", 15, True),
        (b"=?utf-8?Q?a?= =?utf-8?Q?b,?= <", 25, True),
        (b"=?, <", 2, True),
        (b"a@b, <", 3, True),
    ],
)
def test_names_in_the_place_of_an_address(text, end, expected):
    # RFC 2047 6.2
    assert stands_for_address(text, 0, end) is expected


def phrase_of(*parts):
    phrase = Phrase()
    for token, value in parts:
        phrase.add(token, value)
    return phrase


BRACKET = (Token.BRACKET, b"[")
HIDDEN = (Token.QUOTED, b'"a@b"')
BROKEN = (Token.ATOM, b"=?utf-8?q?=2C")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([HIDDEN], False),
        ([BRACKET], False),
        ([BRACKET, (Token.QUOTED, b'"a"')], False),
        ([BRACKET, HIDDEN], True),
        ([HIDDEN, BROKEN], True),
        ([(Token.ENCODED, b"=?utf-8?q?a=40b?="), BRACKET], True),
    ],
)
def test_ambiguous_names(parts, expected):
    assert is_ambiguous_name((phrase_of(*parts), Phrase()), has_address=False) is expected
    assert is_ambiguous_name((Phrase(), phrase_of(*parts)), has_address=False) is expected


def test_an_address_beside_a_hidden_one_is_ambiguous():
    assert is_ambiguous_name((phrase_of(HIDDEN), Phrase()), has_address=True)
    assert not is_ambiguous_name((phrase_of((Token.ATOM, b"a")), Phrase()), has_address=True)


def test_local_parts():
    word, dot = (Token.ATOM, b"a"), (Token.DOT, b".")
    assert phrase_of(word, dot, (Token.QUOTED, b'"b@c"')).is_local_part
    assert not phrase_of(word, word).is_local_part
    assert not phrase_of(word, BRACKET).is_local_part
    assert not phrase_of((Token.ENCODED, b"=?a?q?b?=")).is_local_part
    assert not phrase_of().is_local_part


@pytest.mark.parametrize("word", [b'"<"', b'"a>"', b'"a@b "', b'"a@b\t"', b"a=?b", "a\uff20b".encode()])
def test_unclear_local_parts(word):
    # FROM-12, FROM-17
    assert not phrase_of((Token.QUOTED, word)).clear


@given(st.binary(max_size=60) | st.text("=?utf-8BbQq@<*_40,= ", max_size=40).map(str.encode), st.integers(0, 60))
@settings(max_examples=400, deadline=None)
def test_any_octets_are_judged(text, end):
    assert shows_address(text) in (True, False)
    assert stands_for_address(text, 0, min(end, len(text))) in (True, False)
    assert shows_address(text + b"@")
