"""Encoded words (RFC 2047) as lenient programs decode them: any charset, broken base64, no end, words in words.

Used only to find out what such programs may show; no address is taken from the result.
"""

import binascii
import re
from enum import Enum, auto
from typing import Final

MAX_ROUNDS: Final = 3
"""Times that a text is decoded, because some programs decode their own result again; further words stay encoded."""

# Some programs accept white space in the name of a charset.
_WORD: Final = re.compile(r"=\?([^?]*)\?([BbQq])\?(.*?)(?:\?=|\Z)", re.DOTALL)
_BETWEEN: Final = re.compile(r"(\?=)\s+(?==\?[^?]*\?[BbQq]\?)")
_Q_BYTE: Final = re.compile(rb"=([0-9A-Fa-f]{2})")
_PADDING: Final = re.compile(rb"=+")
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/=]+")
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
# Two and three bytes where UTF-8 has one; old decoders accepted them (RFC 3629 3).
_OVERLONG: Final = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80\x81][\x80-\xbf]")

_WIDE: Final = re.compile(r"utf-?_?(?:16|32)|ucs|unicode-1-1\Z|iso-10646")
_ODD: Final = re.compile(r"[^a-z0-9.:]+")
"""Characters that Python treats as the hyphen in the name of a charset."""
_EBCDIC: Final = re.compile(r"(?:x-)?(?:cs)?(?:cp|ibm|ebcdic)")
# Charsets in which bytes other than those of ASCII can encode ASCII characters, or those of ASCII other ones.
_CODECS: Final = {
    **dict.fromkeys(("utf-7", "utf7", "unicode-1-1-utf-7", "x-unicode-2-0-utf-7", "csutf7"), "utf-7"),
    **dict.fromkeys(("iso-2022-jp", "csiso2022jp", "iso2022jp", "iso-2022-jp-1", "iso-2022-jp-2"), "iso2022_jp_2"),
    **dict.fromkeys(("iso-2022-jp-3", "iso-2022-jp-2004"), "iso2022_jp_2004"),
    **dict.fromkeys(("iso-2022-kr", "csiso2022kr"), "iso2022_kr"),
    **dict.fromkeys(("hz", "hz-gb-2312"), "hz"),
    **dict.fromkeys(("gb2312", "gbk", "gb18030", "cp936", "x-gbk"), "gb18030"),
    **dict.fromkeys(("big5", "big5-hkscs", "csbig5", "cp950"), "big5hkscs"),
    **dict.fromkeys(("shift-jis", "shift_jis", "sjis", "x-sjis", "cp932", "windows-31j", "ms_kanji"), "cp932"),
    **dict.fromkeys(("euc-jp", "x-euc-jp", "cseucpkdfmtjapanese"), "euc_jp"),
    **dict.fromkeys(("euc-kr", "ks_c_5601-1987", "cp949"), "cp949"),
}


class View(Enum):
    """The way to turn an encoded word into text."""

    RAW = auto()
    """No decoding."""
    ASCII = auto()
    """As UTF-8, as programs do that ignore the charset."""
    CHARSET = auto()
    """In the charset that the word names."""


def decoded(text: str, view: View) -> str:
    """Replace each encoded word by its text; white space between two words is dropped (RFC 2047 6.2)."""
    for _ in range(0 if view is View.RAW else MAX_ROUNDS):
        if "=?" not in text:
            break
        text = _WORD.sub(lambda word: _meaning(word, view), _BETWEEN.sub(r"\1", text))
    return text


def _meaning(word: re.Match[str], view: View) -> str:
    payload = word[3].encode("utf-8", "surrogatepass")
    data = _quoted_printable(payload) if word[2] in "Qq" else _base64(payload)
    charset = word[1].partition("*")[0].strip().lower()
    if _WIDE.match(charset):
        # In either byte order an ASCII character is its byte among NULs.
        return data.replace(b"\0", b"").decode("utf-8", "replace")
    codec = _CODECS.get(charset) or _CODECS.get(_ODD.sub("-", charset)) or ("cp037" if _EBCDIC.match(charset) else "")
    if view is View.CHARSET and codec:
        return data.decode(codec, "replace")
    return _OVERLONG.sub(_short, data).decode("utf-8", "replace")


def _quoted_printable(payload: bytes) -> bytes:
    """Decode each `=` that two digits follow (binascii would read the first two characters of `==3C` together)."""
    return _Q_BYTE.sub(lambda digits: bytes([int(digits[1], 16)]), payload.replace(b"_", b" "))


def _base64(payload: bytes) -> bytes:
    """Decode all that can be decoded: other characters left out, padding supplied, also what follows padding.

    At a `=` that is no complete padding some programs start anew and others read on: the result holds both.
    """
    kept = _NOT_BASE64.sub(b"", payload.translate(_URL_SAFE))
    pieces = [piece for piece in kept.split(b"=") if piece]
    anew = b"".join(map(_piece, pieces))
    return anew + _piece(b"".join(pieces)) if _has_stray_padding(kept) else anew


def _has_stray_padding(kept: bytes) -> bool:
    paddings = list(_PADDING.finditer(kept.rstrip(b"=")))
    starts = [0, *(padding.end() for padding in paddings)]
    return any((pad.start() - start) % 4 + len(pad[0]) != 4 for start, pad in zip(starts, paddings, strict=False))


def _piece(piece: bytes) -> bytes:
    if len(piece) % 4 == 1:
        piece = piece[:-1]
    return binascii.a2b_base64(piece + b"=" * (-len(piece) % 4))


def _short(overlong: re.Match[bytes]) -> bytes:
    """The one byte that an overlong UTF-8 sequence stands for."""
    sequence = overlong[0]
    upper = sequence[-2] & 0x3F if len(sequence) > 2 else sequence[0] & 0x1F
    return bytes([upper << 6 & 0xFF | sequence[-1] & 0x3F])
