"""The header of a message as the MTA sends it, field by field, within limits."""

from typing import Final

from dmarcmilter.mail.message import UNCLEANABLE, Header

MAX_LATE_RESULTS_BYTES: Final = 1024
"""Bytes kept of an Authentication-Results field that arrives after a limit was reached; the rest is cut off."""
MAX_RESULTS_FIELDS: Final = 1000
"""Authentication-Results fields of one message; a message with more cannot be cleaned and is treated as truncated.

Postfix's time to delete the forged ones grows with the square of their number. A relay adds one or two, so more are an
attack."""
_RESULTS: Final = b"authentication-results"
_PUNCTUATION: Final = len(b":" + b"\r\n")
"""Bytes of a field beside its name and value."""


class HeaderBuffer:
    """Keeps fields exactly as received. Beyond a limit it keeps the limit's name, and Authentication-Results fields."""

    def __init__(self, max_fields: int, max_bytes: int, *, leading_space: bool) -> None:
        self._max_fields = max_fields
        self._max_bytes = max_bytes
        self._leading_space = leading_space
        self._fields: list[Header] = []
        self._results_fields = 0
        self.truncated = ""
        """The name of the limit that was reached; empty: none was."""
        self.size = len(b"\r\n")
        """Bytes of the header, including the empty line that ends it."""

    def add(self, name: bytes, value: bytes) -> None:
        """Add a field. `value` has LF for the wire's CRLF, and its leading space if that was negotiated."""
        if not self._leading_space:
            value = b" " + value
        exact = value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") if b"\n" in value else value
        self.size += len(name) + len(exact) + _PUNCTUATION
        # Few names have this length: the others need not be compared.
        is_results = len(name) >= len(_RESULTS) and name.strip().lower() == _RESULTS
        if is_results:
            self._results_fields += 1
        if is_results or self.size > self._max_bytes or len(self._fields) >= self._max_fields or self.truncated:
            self._add_within_limits(name, exact, is_results=is_results)
        else:
            self._fields.append(Header(name, exact))

    def fields(self) -> tuple[Header, ...]:
        return tuple(self._fields)

    def clear(self) -> None:
        """Drop the fields, so that no change is planned from them again."""
        self._fields.clear()

    def _add_within_limits(self, name: bytes, exact: bytes, *, is_results: bool) -> None:
        self._check_limits()
        if not self.truncated:
            self._fields.append(Header(name, exact))
        elif is_results and self.truncated != UNCLEANABLE:
            # Deletions name a field by its number among those of its name, so every one must be counted.
            self._fields.append(Header(name, exact[:MAX_LATE_RESULTS_BYTES]))

    def _check_limits(self) -> None:
        if self._results_fields > MAX_RESULTS_FIELDS:
            self.truncated = UNCLEANABLE
        elif len(self._fields) >= self._max_fields:
            self.truncated = self.truncated or "max_header_fields"
        elif self.size > self._max_bytes:
            self.truncated = self.truncated or "max_header_bytes"
