"""A run of words (phrase and local-part, RFC 5322 3.2.5 and 3.4.1), and the addresses that lenient programs see in it.

Where there is no address, some programs look for one in the text: in quotes, in comments, or after decoding encoded
words (RFC 2047 6.2 forbids that). Words are searched only to refuse them; no address in them becomes the author.
"""

import binascii
import re
from dataclasses import dataclass, field
from typing import Final

from dmarcmilter.mail.header_tokens import ENCODED_LOOSELY, Token

WORDS: Final = frozenset({Token.ATOM, Token.QUOTED, Token.ENCODED})
PHRASE: Final = WORDS | {Token.DOT, Token.BRACKET}

# `@`, `<`, `>`, their full-width, small and look-alike forms in UTF-8, and `@` in the escape of URIs.
_ANGLE: Final = (
    rb"[<>]|\xef\xbc[\x9c\x9e]|\xef\xb9[\xa4\xa5]|\xe2\x80[\xb9\xba]|\xe2\x8c[\xa9\xaa]"
    rb"|\xe2\x9f[\xa8\xa9]|\xe3\x80[\x88\x89]"
)
_WIDE_AT: Final = rb"\xef\xbc\xa0|\xef\xb9\xab"
_SIGN: Final = re.compile(rb"@|%40|" + _WIDE_AT + rb"|" + _ANGLE)
_UNCLEAR_LOCAL: Final = re.compile(rb"=\?|" + _WIDE_AT + rb"|" + _ANGLE)
_ESCAPED_SIGN: Final = re.compile(rb"=(?:40|3[ce])", re.IGNORECASE)
# At these characters some programs end an address, or begin another, even in a quoted local-part.
_LOCAL_SPECIAL: Final = re.compile(rb"[ \t,;:()<>\[\]\\]")

_ENCODED_PARTS: Final = re.compile(rb"=\?([^?*]+)[^?]*\?([BbQq])\?([^?]*)\?=")
# Charsets in which `@`, `<` and `>` cannot be written without their ASCII bytes.
_CHARSET: Final = re.compile(
    rb"us-ascii|utf-?8|iso-8859-\d+|windows-125\d|koi8-[ru]|gb2312|gbk|gb18030|big5|euc-(?:jp|kr)|shift_jis|iso-2022-jp",
    re.IGNORECASE,
)


def shows_address(text: bytes) -> bool:
    """Whether a program could see an address in a display text, decoded or not."""
    if _SIGN.search(text):
        return True
    if b"=?" not in text:
        return False
    if any(map(_decodes_to_address, ENCODED_LOOSELY.findall(text))):
        return True
    return _ESCAPED_SIGN.search(ENCODED_LOOSELY.sub(b"", text)) is not None


def stands_for_address(text: bytes, start: int, end: int) -> bool:
    """Whether a program could show the list element between these positions, which has no address, as an address.

    Any encoded word is refused, except one that continues after the comma, as in
    `=?utf-8?Q?Doe,_John?= <j@example.com>`: that comma was meant as text.
    """
    element = text[start:end]
    if _SIGN.search(element):
        return True
    encoded = element.count(b"=?")
    if encoded != 1:
        return encoded > 1
    word = ENCODED_LOOSELY.match(text, start + element.index(b"=?"))
    return word is None or word.end() <= end or _decodes_to_address(word.group())


def _decodes_to_address(word: bytes) -> bool:
    """Whether an encoded word (RFC 2047 2) contains an address, or can be decoded in more than one way."""
    parts = _ENCODED_PARTS.fullmatch(word)
    if parts is None or not _CHARSET.fullmatch(parts[1]):
        return True
    try:
        if parts[2] in b"Qq":
            text = binascii.a2b_qp(parts[3], header=True)
        else:
            text = binascii.a2b_base64(parts[3], strict_mode=True)
        if parts[1].lower() == b"iso-2022-jp":
            # One byte of a Japanese character may be that of `@`.
            text = text.decode("iso2022_jp").encode()
    except ValueError:
        return True
    return _SIGN.search(text) is not None


@dataclass(slots=True)
class Phrase:
    """Properties of a run of words. The token after it tells whether it is a display name or a local-part."""

    words: int = 0
    parts: int = 0
    size: int = 0
    """Bytes of its words and dots."""
    single: bool = True
    """Can be a local-part: words joined by dots, no encoded word, no bracket."""
    strict: bool = True
    """No leading or doubled dot, no bracket."""
    clear: bool = True
    """As a local-part, every program ends it at the same place."""
    local_at: bool = False
    """As a local-part it has an `@` in quotes."""
    local_special: bool = False
    """As a local-part it has white space in quotes, or a character that ends an address outside of quotes."""
    bracket: bool = False
    broken: bool = False
    """It has the beginning of an encoded word without an end before white space."""
    opaque: list[bytes] = field(default_factory=list)
    """Words that are not shown as written: quoted-strings and encoded words, also ones joined to an atom."""
    after_word: bool = False
    after_bracket: bool = False

    def add(self, token: Token, value: bytes) -> None:
        self.parts += 1
        self.size += len(value)
        is_word = token in WORDS
        self.single &= not (is_word and self.after_word)
        if token is Token.DOT and not self.after_word:
            self.strict = False
        if token is Token.BRACKET:
            self.bracket = True
            self.single = self.strict = False
        if token is Token.ENCODED:
            self.single = False  # RFC 2047 5(3): never within an addr-spec
        elif is_word and self.single:
            self._add_to_local(value)
        has_encoded = b"=?" in value
        if has_encoded or token is Token.QUOTED:
            self.opaque.append(value)
        if has_encoded and token is not Token.ENCODED:
            self.broken |= b"=?" in ENCODED_LOOSELY.sub(b"", value)
        self.words += is_word
        self.after_word = is_word
        self.after_bracket = token is Token.BRACKET

    def _add_to_local(self, word: bytes) -> None:
        self.local_at |= b"@" in word
        self.local_special |= _LOCAL_SPECIAL.search(word) is not None
        self.clear &= not _UNCLEAR_LOCAL.search(word) and not (self.local_at and self.local_special)

    @property
    def is_local_part(self) -> bool:
        return self.words > 0 and self.single

    @property
    def is_plain(self) -> bool:
        """Atoms and dots only: shown as written."""
        return not self.opaque and not self.bracket


def is_ambiguous_name(phrases: tuple[Phrase, Phrase], *, has_address: bool) -> bool:
    """Whether a display name hides an address and has a part at which some programs end the name.

    Such parts are square brackets, a broken encoded word, and `@`: the words before them may be read as an address.
    """
    if not has_address and not any(phrase.bracket or phrase.broken for phrase in phrases):
        return False
    return any(shows_address(word) for phrase in phrases for word in phrase.opaque)
