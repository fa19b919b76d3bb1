"""The lexical tokens of structured header fields (RFC 5322 3.2), shared by address lists and Authentication-Results."""

import re
from enum import Enum, auto
from typing import Final

from dmarcmilter.reasons import Code, Reason

CONTROLS: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""Characters that no unfolded structured field may contain; RFC 5322 4.1 has them as obsolete syntax only."""

MAX_TOKENS: Final = 20_000
"""Words and special characters of one field body; a field with more is refused. Real fields have some hundred."""
MAX_COMMENT_PARTS: Final = 10_000
"""Parentheses and pieces of text between them in one run of white space and comments; a longer run is refused.

Real ones have a dozen."""

_SPACE: Final = re.compile(rb"[ \t]*")
COMMENT_PART: Final = re.compile(rb"(?:[^()\\]++|\\.)++|[()]", re.DOTALL)
# Possessive: a failed match may not try shorter pieces, so that the time stays linear.
QUOTED_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_QUOTED_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)


def unfold(body: bytes) -> bytes:
    """Unfold a field body (RFC 5322 2.2.3): a CRLF before white space is removed. Other CR and LF are CONTROLS."""
    return body.replace(b"\r\n ", b" ").replace(b"\r\n\t", b"\t")


def unquote(quoted: bytes) -> bytes:
    """The text of a quoted-string, without its quotes and backslashes (RFC 5322 3.2.4)."""
    return _QUOTED_PAIR.sub(rb"\1", quoted[1:-1])


def skip_cfws(text: bytes, position: int) -> int | None:
    """The position after white space and comments (RFC 5322 3.2.2); None: a comment does not end within the limits."""
    depth = 0
    for _ in range(MAX_COMMENT_PARTS):
        if not depth:
            match = _SPACE.match(text, position)
            position = match.end() if match else position
            if text[position : position + 1] != b"(":
                return position
        part = COMMENT_PART.match(text, position)
        if part is None:
            return None
        position = part.end()
        depth += (part.group() == b"(") - (part.group() == b")")
    return None


class Token(Enum):
    ATOM = auto()
    QUOTED = auto()
    ENCODED = auto()
    """An encoded word (RFC 2047 2), taken whole: an `@` inside it starts no domain."""
    AT = auto()
    LESS = auto()
    GREATER = auto()
    COMMA = auto()
    COLON = auto()
    SEMICOLON = auto()
    DOT = auto()
    BRACKET = auto()
    """`[` or `]`"""
    END = auto()
    BAD = auto()


_SPECIALS: Final = {
    b"@": Token.AT,
    b"<": Token.LESS,
    b">": Token.GREATER,
    b",": Token.COMMA,
    b":": Token.COLON,
    b";": Token.SEMICOLON,
    b".": Token.DOT,
    b"[": Token.BRACKET,
    b"]": Token.BRACKET,
}
# RFC 5322 3.2.3 atext, and bytes above 127: UTF-8 (RFC 6532), in display names any charset.
_ATOM: Final = re.compile(rb"[!#$%&'*+\-/0-9=?A-Z^_`a-z{|}~\x80-\xff]+")
# RFC 2047 2, without the characters that end a word or an address for a program that does not know encoded words. A
# word with such characters is tokenized as plain text; its end must not be inside a comment or a quoted-string
# (_soft_end).
_ENCODED: Final = re.compile(rb"""=\?[!#-'*+\-0-9A-Z^-~]++\?[BQbq]\?[^\x00-\x20"(),;<>?\\\x7f-\xff]*+\?=""")
ENCODED_LOOSELY: Final = re.compile(rb"""=\?[!#-'*+\-0-9A-Z^-~]++\?[BQbq]\?[^ \t?]*+\?=""")
_LITERAL: Final = re.compile(rb"\[[\t !-Z^-~]*+\]")
_NAME_PARTS: Final = frozenset({Token.ATOM, Token.DOT})


class Scanner:
    """Reads the tokens of an unfolded field body without controls, one at a time; CFWS between tokens is skipped."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.start = 0
        """Where the current token begins."""
        self._end = 0
        self._soft_end = 0
        """Where an encoded word ends for programs that look for encoded words first."""
        self.token = Token.BAD
        self.gap = False
        """White space or a comment stands before the token."""
        self.fault: Reason | None = None
        """Why the token is BAD."""
        self._domain_end = 0
        """Where the domain that was read last ends."""
        self._tokens = 0
        if text.count(b"(") > MAX_COMMENT_PARTS:
            self._set_bad(Reason.of(Code.FROM_TOO_MANY_COMMENTS))
        self.advance()

    @property
    def value(self) -> bytes:
        return self.text[self.start : self._end]

    def advance(self) -> None:
        """Read the next token. After BAD and END the token stays the same."""
        if self.fault:
            return
        start = skip_cfws(self.text, self._end)
        if start is None:
            self._set_bad(Reason.of(Code.FROM_UNTERMINATED_COMMENT))
            return
        if self._end < self._soft_end < start:
            self._set_bad(Reason.of(Code.FROM_COMMENT_OVER_ENCODED_WORD))
            return
        self.gap = start > self._end
        self.start = start
        self._tokens += 1
        self.token, self._end = self._read(start)
        if self._tokens > MAX_TOKENS:
            self._set_bad(Reason.of(Code.FROM_TOO_MANY_WORDS))
        elif start < self._soft_end < self._end:
            self._set_bad(Reason.of(Code.FROM_WORD_OVER_ENCODED_WORD))
        elif self.token is Token.BAD:
            self._set_bad(
                Reason.of(Code.FROM_UNTERMINATED_QUOTE)
                if self.text[start : start + 1] == b'"'
                else Reason.of(Code.FROM_MISPLACED_CHARACTER)
            )

    def _read(self, start: int) -> tuple[Token, int]:
        if match := _ENCODED.match(self.text, start):
            return Token.ENCODED, match.end()
        if match := ENCODED_LOOSELY.match(self.text, start):
            self._soft_end = max(self._soft_end, match.end())
        if match := _ATOM.match(self.text, start):
            return Token.ATOM, match.end()
        if match := QUOTED_STRING.match(self.text, start):
            return Token.QUOTED, match.end()
        if start >= len(self.text):
            return Token.END, start
        return _SPECIALS.get(self.text[start : start + 1], Token.BAD), start + 1

    def _set_bad(self, reason: Reason) -> None:
        self.token = Token.BAD
        self.fault = self.fault or reason
        # Nothing after it is read.
        self.start = self._end = len(self.text)

    def goes_on_behind_comment(self) -> bool:
        """Whether programs that drop comments take the current token for more of the last domain: `@ba(x)nk`."""
        opens, closes = self.text[self._domain_end : self._domain_end + 1], self.text[self.start - 1 : self.start]
        return self.token in _NAME_PARTS and opens == b"(" and closes == b")"

    def take_literal(self) -> bool:
        """Read the domain-literal (RFC 5322 3.4.1) at the current bracket; return whether there is one."""
        match = _LITERAL.match(self.text, self.start)
        if not match:
            return False
        self._end = match.end()
        self.advance()
        return True

    def take_domain(self) -> bytes | None:
        """Read a dot-atom or obs-domain (RFC 5322 4.4); return its text without CFWS, None if there is none.

        White space or a comment after two labels is refused: a program that stops there shows another domain, as in
        `a@bank.example(x).evil.example`.
        """
        parts: list[bytes] = []
        dots = 0
        after_atom = False
        while self.token in _NAME_PARTS:
            is_atom = self.token is Token.ATOM
            if parts and is_atom and after_atom:
                break
            if parts and self.gap and dots + after_atom > 1:
                return None
            parts.append(self.value)
            dots += not is_atom
            after_atom = is_atom
            self._domain_end = self._end
            self.advance()
        return b"".join(parts) or None
