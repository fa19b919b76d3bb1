"""A run of words (phrase and local-part, RFC 5322 3.2.5 and 3.4.1), and what lenient readers take out of it.

Where no address stands, some readers look for one in the text: in quotes, in comments, or after decoding encoded words
(RFC 2047 6.2 forbids that). Words are looked into only to refuse them; nothing found here becomes the author.
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
# At these some programs end an address, or begin another, in a quoted local-part too.
_LOCAL_SPECIAL: Final = re.compile(rb"[ \t,;:()<>\[\]\\]")

_ENCODED_PARTS: Final = re.compile(rb"=\?([^?*]+)[^?]*\?([BbQq])\?([^?]*)\?=")
# In these an octet of `@`, `<` or `>` is needed to write one.
_CHARSET: Final = re.compile(
    rb"us-ascii|utf-?8|iso-8859-\d+|windows-125\d|koi8-[ru]|gb2312|gbk|gb18030|big5|euc-(?:jp|kr)|shift_jis|iso-2022-jp",
    re.IGNORECASE,
)


def shows_address(text: bytes) -> bool:
    """Whether a reader could find an address in a display text, decoded or not."""
    if _SIGN.search(text):
        return True
    if b"=?" not in text:
        return False
    if any(map(_decodes_to_address, ENCODED_LOOSELY.findall(text))):
        return True
    return _ESCAPED_SIGN.search(ENCODED_LOOSELY.sub(b"", text)) is not None


def stands_for_address(text: bytes, start: int, end: int) -> bool:
    """Whether the element of a list between these positions, in which no address is, could be shown as one.

    Any encoded word is too much, save one that goes on behind the comma, as in `=?utf-8?Q?Doe,_John?= <j@example.com>`:
    there the comma was meant as text.
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
    """Whether an encoded word (RFC 2047 2) holds an address, or cannot be decoded in one way only."""
    parts = _ENCODED_PARTS.fullmatch(word)
    if parts is None or not _CHARSET.fullmatch(parts[1]):
        return True
    try:
        if parts[2] in b"Qq":
            text = binascii.a2b_qp(parts[3], header=True)
        else:
            text = binascii.a2b_base64(parts[3], strict_mode=True)
        if parts[1].lower() == b"iso-2022-jp":
            # Half of a Japanese character may have the octet of `@`.
            text = text.decode("iso2022_jp").encode()
    except ValueError:
        return True
    return _SIGN.search(text) is not None


@dataclass(slots=True)
class Phrase:
    """What a run of words turned out to be; which of it counts is known at the token behind it."""

    words: int = 0
    parts: int = 0
    single: bool = True
    """Can be a local-part: words joined by dots, no encoded word, no bracket."""
    strict: bool = True
    """No leading or doubled dot, no bracket."""
    clear: bool = True
    """As a local-part it ends nowhere but at its end, for any reader."""
    local_at: bool = False
    """As a local-part it has an `@` in quotes."""
    local_special: bool = False
    """As a local-part it has white space in quotes, or a character that ends an address outside of quotes."""
    bracket: bool = False
    broken: bool = False
    """Holds the beginning of an encoded word that has no end, or not before white space."""
    opaque: list[bytes] = field(default_factory=list)
    """Words whose text is not what it means: quoted-strings and encoded words, also such that stick to an atom."""
    after_word: bool = False
    after_bracket: bool = False

    def add(self, token: Token, value: bytes) -> None:
        self.parts += 1
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
    """Whether a display name has a part at which some readers end it, and hides an address.

    Square brackets do that, a broken encoded word, and `@`: the words before them then stand where an address does.
    """
    if not has_address and not any(phrase.bracket or phrase.broken for phrase in phrases):
        return False
    return any(shows_address(word) for phrase in phrases for word in phrase.opaque)
