"""Reading an Authentication-Results payload of another site (RFC 8601 2.2), as trusted ARC sealers record it.

Syntax only: whose word counts is decided elsewhere. Bounded, without recursion, and nothing that stands in a comment
or a quoted-string can become a result.
"""

import re
from dataclasses import dataclass
from typing import Final

from dmarcmilter.dmarc.syntax import CONTROLS, QUOTED_STRING, skip_cfws, unfold, unquote

MAX_OCTETS: Final = 64 * 1024
"""Of one payload; the largest that sites write are a few kB."""
MAX_RESULTS: Final = 100
"""Results of one payload."""
MAX_PROPERTIES: Final = 50
"""Properties of one result."""

_SUPPORTED_VERSION: Final = b"1"
_DIGITS: Final = re.compile(rb"[0-9]+")
# RFC 5321 4.1.2 Keyword.
_KEYWORD: Final = re.compile(rb"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
# RFC 2045 5.1 token, with UTF-8 (RFC 8601 5 in mail of RFC 6532).
_TOKEN: Final = re.compile(rb"[!#-'*+\-.0-9A-Z^-~\x80-\xff]+")
# A pvalue is also [[local-part] "@"] domain-name. Large sites leave IPv6 addresses, base64 and "<>" unquoted: none of
# these characters can end a value, so that a payload is not lost over them.
_PVALUE: Final = re.compile(rb"[!#-'*+\-./0-9:<=>?@A-Z\[\]^-~\x80-\xff]+")
_AT_DOMAIN: Final = re.compile(rb"@[A-Za-z0-9_.\-\x80-\xff]+")


@dataclass(frozen=True, slots=True)
class ReadResult:
    """One resinfo; names in lower case, values as they stand."""

    method: str
    result: str
    reason: str = ""
    properties: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Parsed:
    authserv_id: str
    results: tuple[ReadResult, ...]
    """Empty for `none`. Results of a method version other than 1 are left out (RFC 8601 2.2)."""


def parse(value: bytes) -> Parsed | None:
    """The payload from its authserv-id on (RFC 8601 2.2, RFC 8617 4.1.1); None for any error of syntax or a limit."""
    if len(value) > MAX_OCTETS:
        return None
    text = unfold(value)
    if CONTROLS.search(text) or not _is_utf8(text):
        return None
    return _Reader(text).payload()


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class _Reader:
    """A position in the text; what does not match leaves it where it is."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._position = 0
        self._is_broken = False
        """A comment does not end."""

    def _space(self) -> bool:
        """Past CFWS; whether there was any."""
        end = skip_cfws(self._text, self._position)
        if end is None:
            self._is_broken = True
            end = len(self._text)
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
        """Past one character with CFWS on both sides."""
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
        starts_quoted = self._text[self._position : self._position + 1] == b'"'
        value = self._value(_PVALUE)
        if value is None or not starts_quoted:
            return value
        return value + self._take(_AT_DOMAIN).decode("utf-8", "replace")

    def payload(self) -> Parsed | None:
        self._space()
        authserv_id = self._value(_TOKEN)
        if authserv_id is None:
            return None
        if self._space() and self._take(_DIGITS) not in (b"", _SUPPORTED_VERSION):
            return None
        results: list[ReadResult] = []
        while self._char(b";"):
            if self._at_end():
                break  # a final semicolon, which many write
            if len(results) >= MAX_RESULTS:
                return None
            if not self._result(results):
                return None
        self._space()
        if self._is_broken or not self._at_end():
            return None
        return Parsed(authserv_id, tuple(results))

    def _result(self, results: list[ReadResult]) -> bool:
        """One resinfo, or `none`; False for an error."""
        method = self._word()
        version = self._take(_DIGITS) if method and self._char(b"/") else _SUPPORTED_VERSION
        if not self._char(b"="):
            return method == "none"
        result = self._word()
        if not method or not version or not result:
            return False
        reason = ""
        properties: list[tuple[str, str]] = []
        while self._space():
            name = self._property_name()
            if not name:
                break
            value = self._property_value() if self._char(b"=") else None
            if value is None or len(properties) >= MAX_PROPERTIES:
                return False
            if name == "reason":
                reason = value
            else:
                properties.append((name, value))
        if version == _SUPPORTED_VERSION:
            results.append(ReadResult(method, result, reason, tuple(properties)))
        return True

    def _property_name(self) -> str:
        """`ptype.property`, or one word: `reason`, and what large sites write outside the grammar (`action=none`).

        A word alone is no registered property, so it stands for nothing (RFC 8601 2.3) and spoils nothing.
        """
        ptype = self._word()
        if not ptype or not self._char(b"."):
            return ptype
        name = self._word()
        return f"{ptype}.{name}" if name else ""
