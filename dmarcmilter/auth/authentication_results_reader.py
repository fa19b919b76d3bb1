"""Parser of the Authentication-Results payload of another site (RFC 8601 2.2), as trusted ARC sealers record it.

It reads syntax only; the policy decides which sealers are trusted. Large sites write words outside the grammar, so an
unreadable result is skipped up to the next semicolon at top level (outside comments and quoted-strings), and the others
are read. Work is bounded, without recursion, and no text in a comment or a quoted-string can become a result.
"""

import re
from collections.abc import Iterator
from typing import Final

from dmarcmilter.mail.header_tokens import CONTROLS, QUOTED_STRING, skip_cfws, unfold, unquote
from dmarcmilter.value import Value

MAX_PAYLOAD: Final = 64 * 1024
"""Largest payload read, in bytes; a larger one is not read at all. The largest that sites write are a few kB."""
MAX_RESULTS: Final = 100
"""Results of one payload that are read; the rest of it counts as unreadable."""
MAX_SEGMENTS: Final = 200
"""Results, readable or not, that one payload is divided into; the rest of it counts as one that is unreadable."""
MAX_PROPERTIES: Final = 50
"""Properties of one result; a result with more is unreadable."""

_SUPPORTED_VERSION: Final = b"1"
_DIGITS: Final = re.compile(rb"[0-9]+")
# RFC 5321 4.1.2 Keyword, and the underscores that sites write in it (policy.is_org).
_KEYWORD: Final = re.compile(rb"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")
# RFC 2045 5.1 token, with UTF-8 (RFC 8601 5 in mail of RFC 6532).
_TOKEN: Final = re.compile(rb"[!#-'*+\-.0-9A-Z^-~\x80-\xff]+")
# A pvalue is also [[local-part] "@"] domain-name. Large sites leave IPv6 addresses, base64 and "<>" unquoted, so these
# characters are accepted in a value; none of them can end it.
_PVALUE: Final = re.compile(rb"[!#-'*+\-./0-9:<=>?@A-Z\[\]^-~\x80-\xff]+")
_AT_DOMAIN: Final = re.compile(rb"@[A-Za-z0-9_.\-\x80-\xff]+")
# A property after an `=` that has no value: `smtp.mailfrom= smtp.helo=x`.
_NEXT_PROPERTY: Final = re.compile(rb"[A-Za-z][A-Za-z0-9_-]*\.[A-Za-z0-9_-]+=")
_PLAIN: Final = re.compile(rb'[^;"(]+')
_DMARC_RESULT: Final = re.compile(rb"(?<![\w.-])dmarc[ \t]*[=/]|^[ \t\"]*dmarc(?![\w.-])", re.IGNORECASE)
"""A place in unreadable text where a DMARC result may stand. Not `policy.dmarc=`, `DMARC_PASS`, `=dmarc@b.example`."""


class ReadResult(Value):
    """One resinfo (RFC 8601 2.2); names in lower case, values unchanged."""

    method: str
    result: str
    reason: str = ""
    properties: tuple[tuple[str, str], ...] = ()


class ReadAuthenticationResults(Value):
    """The readable results of one payload."""

    authserv_id: str
    """Empty when it could not be read."""
    results: tuple[ReadResult, ...]
    """Empty for `none`. Results of a method version other than 1 are left out (RFC 8601 2.2)."""
    unread: int = 0
    """Results that could not be read."""
    may_hide_dmarc: bool = False
    """One of the results that could not be read may be a DMARC result."""


def parse(value: bytes) -> ReadAuthenticationResults | None:
    """Parse a payload from its authserv-id on (RFC 8601 2.2, RFC 8617 4.1.1).

    None: it is empty, larger than MAX_PAYLOAD, or its version is not 1.
    """
    if len(value) > MAX_PAYLOAD:
        return None
    segments = [segment for segment in _segments(unfold(value)) if segment.bare.strip() or not segment.is_closed]
    if not segments:
        return None
    head = _Reader(segments[0].text).head() if segments[0].is_readable else None
    if head is not None and head.version != _SUPPORTED_VERSION:
        return None
    results: list[ReadResult] = []
    unread: list[_Segment] = []
    for segment in segments if head is None else segments[1:]:
        within = segment.is_readable and len(results) < MAX_RESULTS
        result = _Reader(segment.text).result() if within else None
        if result is not None:
            results.append(result)
        elif not segment.is_none:
            unread.append(segment)
    return ReadAuthenticationResults(
        "" if head is None else head.authserv_id,
        tuple(results),
        unread=len(unread),
        may_hide_dmarc=any(segment.may_be_dmarc for segment in unread),
    )


class _Head(Value):
    """The authserv-id and version before the first semicolon."""

    authserv_id: str
    version: bytes


class _Segment(Value):
    """The text between two semicolons at top level."""

    text: bytes
    bare: bytes
    """The text with a space for each comment and a quote for each quoted-string."""
    is_closed: bool = True
    """False: the rest of the payload, beyond MAX_SEGMENTS or with a comment or quoted-string that does not end."""

    @property
    def is_none(self) -> bool:
        return self.is_closed and self.bare.strip().lower() == b"none"

    @property
    def is_readable(self) -> bool:
        return self.is_closed and not CONTROLS.search(self.text) and _is_utf8(self.text)

    @property
    def may_be_dmarc(self) -> bool:
        """Whether a DMARC result may stand in a segment that cannot be read."""
        if b"dmarc" not in self.text.lower():
            return False
        return not self.is_closed or _DMARC_RESULT.search(self.bare) is not None


def _segments(text: bytes) -> Iterator[_Segment]:
    start = position = 0
    bare: list[bytes] = []
    count = 0
    while position < len(text):
        if plain := _PLAIN.match(text, position):
            bare.append(plain.group())
            position = plain.end()
        elif text[position : position + 1] == b";":
            yield _Segment(text[start:position], b"".join(bare))
            bare.clear()
            position += 1
            start = position
            count += 1
            if count == MAX_SEGMENTS:
                yield _Segment(text[start:], b"", is_closed=False)
                return
        else:
            end = _end_of_enclosed(text, position)
            if end is None:
                yield _Segment(text[start:], b"".join(bare), is_closed=False)
                return
            bare.append(b" " if text[position : position + 1] == b"(" else b'"')
            position = end
    yield _Segment(text[start:], b"".join(bare))


def _end_of_enclosed(text: bytes, position: int) -> int | None:
    """The position behind a comment or quoted-string; None when it does not end."""
    if text[position : position + 1] == b"(":
        return skip_cfws(text, position)
    quoted = QUOTED_STRING.match(text, position)
    return quoted.end() if quoted else None


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class _Reader:
    """A position in the text of one segment, whose comments and quoted-strings end in it."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._position = 0

    def head(self) -> _Head | None:
        """The authserv-id and version; None: there is other text."""
        self._space()
        authserv_id = self._value(_TOKEN)
        if authserv_id is None:
            return None
        version = (self._take(_DIGITS) if self._space() else b"") or _SUPPORTED_VERSION
        self._space()
        return _Head(authserv_id, version) if self._at_end() else None

    def result(self) -> ReadResult | None:
        """One resinfo; None when it cannot be read, or its method is of another version."""
        self._space()
        method = self._word()
        version = self._take(_DIGITS) if method and self._char(b"/") else _SUPPORTED_VERSION
        if not method or version != _SUPPORTED_VERSION or not self._char(b"="):
            return None
        result = self._word()
        if not result:
            return None
        reason = ""
        properties: list[tuple[str, str]] = []
        is_apart = self._space()
        while is_apart and not self._at_end():
            name = self._property_name()
            value = self._property_value() if name and self._char(b"=") else None
            # `dmarc=...` here: the semicolon before a result is missing.
            if value is None or name == "dmarc" or len(properties) >= MAX_PROPERTIES:
                return None
            if name == "reason":
                reason = value
            else:
                properties.append((name, value))
            is_apart = self._space() or not value
        return ReadResult(method, result, reason, tuple(properties)) if self._at_end() else None

    def _space(self) -> bool:
        """Skip CFWS; return whether there was any."""
        end = skip_cfws(self._text, self._position)
        end = len(self._text) if end is None else end
        moved = end > self._position
        self._position = end
        return moved

    def _take(self, pattern: re.Pattern[bytes]) -> bytes:
        match = pattern.match(self._text, self._position)
        if not match:
            return b""
        self._position = match.end()
        return match.group()

    def _char(self, char: bytes) -> bool:
        """Skip this character with CFWS on both sides; return whether it was there."""
        start = self._position
        self._space()
        if self._text[self._position : self._position + 1] != char:
            self._position = start
            return False
        self._position += 1
        self._space()
        return True

    def _at_end(self) -> bool:
        return self._position >= len(self._text)

    def _word(self) -> str:
        return self._take(_KEYWORD).decode("ascii").lower()

    def _value(self, token: re.Pattern[bytes]) -> str | None:
        quoted = self._take(QUOTED_STRING)
        raw = quoted or self._take(token)
        return (unquote(raw) if quoted else raw).decode("utf-8", "replace") if raw else None

    def _property_value(self) -> str | None:
        """The value of a property; empty if there is none, as in `smtp.mailfrom=;` and before another property."""
        is_spaced = self._text[self._position - 1 : self._position] != b"="
        if self._at_end() or (is_spaced and _NEXT_PROPERTY.match(self._text, self._position)):
            return ""
        starts_quoted = self._text[self._position : self._position + 1] == b'"'
        value = self._value(_PVALUE)
        if value is None or not starts_quoted:
            return value
        return value + self._take(_AT_DOMAIN).decode("utf-8", "replace")

    def _property_name(self) -> str:
        """`ptype.property`, or one word: `reason`, or a word outside the grammar as large sites write (`action=none`).

        A word alone is no registered property, so it is ignored (RFC 8601 2.3).
        """
        ptype = self._word()
        if not ptype or not self._char(b"."):
            return ptype
        name = self._word()
        return f"{ptype}.{name}" if name else ""
