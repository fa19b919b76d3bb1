"""The header as the MTA hands it over, field by field, within limits."""

from typing import Final

from dmarcmilter.mail.message import UNCLEANABLE, Header

MAX_LATE_RESULTS: Final = 1024
"""Octets kept of an Authentication-Results field that comes after a limit was reached."""
MAX_RESULTS_FIELDS: Final = 1000
"""Authentication-Results fields of one message. Deleting forged ones costs Postfix time that grows with the square of
their number, and a relay adds one or two, so that more are an attack."""


class HeaderCollector:
    """Keeps fields exactly as they came. Past a limit only the fact, and possibly forged results, are kept."""

    def __init__(self, max_fields: int, max_bytes: int, *, leading_space: bool) -> None:
        self._max_fields = max_fields
        self._max_bytes = max_bytes
        self._leading_space = leading_space
        self._fields: list[Header] = []
        self._results_fields = 0
        self.truncated = ""
        """The name of the limit that was reached."""
        self.size = len(b"\r\n")
        """Octets of the header with the empty line that ends it."""

    def add(self, name: bytes, value: bytes) -> None:
        """`value` has LF where the wire had CRLF, and its leading space if the MTA agreed to keep that."""
        if not self._leading_space:
            value = b" " + value
        exact = value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        self.size += len(name) + len(b":") + len(exact) + len(b"\r\n")
        is_results = name.strip().lower() == b"authentication-results"
        self._results_fields += is_results
        self._note_limits()
        if not self.truncated:
            self._fields.append(Header(name, exact))
        elif is_results and self.truncated != UNCLEANABLE:
            # Forged results must still be counted and seen, or the deletions would miss.
            self._fields.append(Header(name, exact[:MAX_LATE_RESULTS]))

    def _note_limits(self) -> None:
        if self._results_fields > MAX_RESULTS_FIELDS:
            self.truncated = UNCLEANABLE
        elif len(self._fields) >= self._max_fields:
            self.truncated = self.truncated or "max_header_fields"
        elif self.size > self._max_bytes:
            self.truncated = self.truncated or "max_header_bytes"

    def fields(self) -> tuple[Header, ...]:
        return tuple(self._fields)
