"""What Sendmail changes in a From field when it delivers it, as measured with Sendmail 8.17.

A milter sees the field as the sender wrote it. Sendmail parses it and writes it anew: it gives some bytes of an address
a meaning of its own, and cuts an address that stands behind a long display name. Display names and comments, and fields
without addresses, stay as they are.
"""

import re
from typing import Final

from dmarcmilter.mail.header_tokens import Scanner, Token
from dmarcmilter.reasons import Code, Reason

_INTERNAL_BYTES: Final = bytes((*range(0x80, 0xA0), 0xFF))
"""Bytes that Sendmail uses internally. In an address it replaces some, and puts a control character before the others,
also within a UTF-8 character."""
_INTERNAL: Final = re.compile(b"[" + re.escape(_INTERNAL_BYTES) + b"]")
MAX_KEPT: Final = 250
"""Bytes of an element of the list within which its address must end; one that ends later is taken for cut. Sendmail
cuts at 256, and may have added quotes before. Internal bytes, quotes and backslashes count twice."""
_ESCAPED: Final = b'"\\'
"""Bytes before which Sendmail puts a backslash in a name that it encloses in quotes."""
MAX_NAME_BEFORE_CUT: Final = 260
"""Longest display name, in bytes, behind which an address is cut; internal bytes count twice. Sendmail puts a comma and
a line end behind a name above 250 bytes, and so keeps the address."""


def rewriting(body: bytes) -> Reason | None:
    """Why Sendmail would deliver another author than the field has; None: it delivers the same.

    `body`: a field body that address_list.parse has read.
    """
    if body.isascii() and len(body) + _backslashes(body) <= MAX_KEPT:
        return None
    # Sendmail counts a line end as one byte. A space more changes no token.
    reader = _Reader(body.replace(b"\r\n", b" "))
    return reader.read()


class _Reader:
    """Goes through the elements of the list, and looks at the address of each."""

    def __init__(self, text: bytes) -> None:
        self._scanner = Scanner(text)
        self._element = 0
        """Where the text after the last comma begins."""
        self._start: int | None = None
        """Where the address begins, or words that may turn out to be a display name; None: neither has come yet."""
        self._end = 0
        """Where the address, or the words, end."""
        self._has_internal = False
        """The address, or the words, have an internal byte."""

    def read(self) -> Reason | None:
        scanner = self._scanner
        in_angle = False
        while scanner.token not in (Token.END, Token.BAD):
            token = scanner.token
            if token is Token.BRACKET and scanner.take_literal():
                continue
            if token is Token.LESS or (token is Token.COLON and not in_angle):
                in_angle = token is Token.LESS
                self._begin_address()
                if in_angle:
                    self._add()
            elif token is Token.COMMA and not in_angle:
                if reason := self._reason():
                    return reason
                self._element = scanner.start + 1
                self._begin_address()
            elif token is not Token.SEMICOLON:
                in_angle &= token is not Token.GREATER
                self._add()
            scanner.advance()
        return self._reason()

    def _begin_address(self) -> None:
        """Forget what came before: a display name, the name of a group, or another element."""
        self._start, self._has_internal = None, False

    def _add(self) -> None:
        value = self._scanner.value
        if self._start is None:
            self._start = self._scanner.start
        self._end = self._scanner.start + len(value)
        self._has_internal |= _INTERNAL.search(value) is not None

    def _reason(self) -> Reason | None:
        """What Sendmail would change in the address of the current element."""
        if self._start is None:
            return None
        if self._has_internal:
            return Reason.of(Code.FROM_INTERNAL_BYTE)
        name = self._scanner.text[self._element : self._start]
        address = self._scanner.text[self._start : self._end]
        size = _size(name)
        if not name.strip():
            return None  # no name: the longest address that is read has room
        if size <= MAX_NAME_BEFORE_CUT and size + _backslashes(name) + len(address) > MAX_KEPT:
            return Reason.of(Code.FROM_ADDRESS_BEHIND_LONG_NAME)
        return None


def _size(text: bytes) -> int:
    """Bytes of the text in Sendmail's internal form."""
    return 2 * len(text) - len(text.translate(None, _INTERNAL_BYTES))


def _backslashes(text: bytes) -> int:
    """Backslashes that Sendmail may add when it encloses the text in quotes."""
    return len(text) - len(text.translate(None, _ESCAPED))
