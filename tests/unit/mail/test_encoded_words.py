import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.mail.encoded_words import View, decoded

TEXT = "<ceo@bank.example>, x"


def word(octets, charset, encoding="B"):
    if encoding == "B":
        return f"=?{charset}?B?{base64.b64encode(octets).decode()}?="
    return f"=?{charset}?q?{''.join(f'={octet:02X}' for octet in octets)}?="


CHARSETS = ["utf-8", "utf-7", "utf-16", "utf-16le", "UTF-16BE", "utf-32", "iso-2022-jp", "hz-gb-2312", "gb18030"]
CHARSETS += [
    " utf-7",
    "UTF_7",
    "utf-7\t",
    "iso 2022 jp",
    "shift_jis",
    "euc-jp",
    "ibm037",
    "cp500",
    "us-ascii",
    "windows-1252",
]


@pytest.mark.parametrize("encoding", ["B", "Q"])
@pytest.mark.parametrize("charset", CHARSETS)
def test_charsets(charset, encoding):
    octets = TEXT.encode("hz" if charset == "hz-gb-2312" else charset.strip().replace("ibm", "cp").replace(" ", "-"))
    assert decoded(word(octets, charset, encoding), View.CHARSET).lstrip("\ufeff\ufffd") == TEXT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=?utf-8?q?a_b?=", "a b"),
        ("=?utf-8?q?==3Ca=?=", "=<a="),
        ("=?utf-8?B?PGFA=Yi5j?=", "<a@b.c<a@b.c"),
        ("=?utf-8?q?=3G=3c=?=", "=3G<="),
        ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        ("=?utf-8?q?a?=\t  =?utf-8?b?Yg==?= c", "ab c"),
        ("=?utf-8?q?a?= b", "a b"),
        ("=?utf-8*en?q?a?=", "a"),
        ("=?x-nobody-knows?q?=3Ca?=", "<a"),
        ("=?utf-8?q?=3ca b=40c?=", "<a b@c"),
        ("=?utf-8?q?=C0=BCa=E0=80=BE?=", "<a>"),
        ("=?utf-8?q?=3C?b?=", "<?b"),
        ("=?utf-8?q?no_end=40", "no end@"),
        ("=?utf-8?B?PGE?=", "<a"),
        ("=?utf-8?B?P*G!E?=", "<a"),
        ("=?utf-8?B?PGE=PGE=?=", "<a<a"),
        ("=?utf-8?B?PGE-?=", "<a>"),
        ("=?utf-8?B?P?=", ""),
        ("=?utf-8?q?=3D=3Futf-8=3Fq=3F=3D3C=3F=3D?=", "<"),
        ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
        ("a?=b=?", "a?=b=?"),
    ],
)
def test_lenient(text, expected):
    assert decoded(text, View.ASCII) == expected
    assert decoded(text, View.RAW) == text


@given(st.text("=?utf-8BQbq_ <>@,\u00e9\ud800", max_size=60), st.sampled_from(View))
@settings(max_examples=300, deadline=None)
def test_any_text_is_decoded(text, view):
    decoded(text, view)


@given(st.text(max_size=40), st.sampled_from(["utf-8", "utf-7", "iso-2022-jp"]), st.sampled_from("BQ"))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_back(text, charset, encoding):
    try:
        octets = text.encode(charset)
    except UnicodeEncodeError:
        return
    if "=?" not in text and "\x1b" not in text:
        assert decoded(word(octets, charset, encoding), View.CHARSET) == octets.decode(charset)
