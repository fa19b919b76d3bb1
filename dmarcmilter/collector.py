"""The header as the MTA hands it over, field by field, within limits."""

from dmarcmilter.message import Header

MAX_LATE_RESULTS = 1024
"""Octets kept of an Authentication-Results field that comes after a limit was reached."""
MAX_LATE_FIELDS = 10_000
"""And how many of them: more than any MTA accepts."""


class HeaderCollector:
    """Keeps fields exactly as they came. Past a limit only the fact, and possibly forged results, are kept."""

    def __init__(self, max_fields: int, max_bytes: int, *, leading_space: bool) -> None:
        self._max_fields = max_fields
        self._max_bytes = max_bytes
        self._leading_space = leading_space
        self._fields: list[Header] = []
        self._late = 0
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
        if len(self._fields) >= self._max_fields:
            self.truncated = "max_header_fields"
        elif self.size > self._max_bytes:
            self.truncated = "max_header_bytes"
        if self.truncated:
            self._add_late(name, exact)
        else:
            self._fields.append(Header(name, exact))

    def _add_late(self, name: bytes, value: bytes) -> None:
        """Forged results must still be counted and seen, or the deletions would miss."""
        if name.strip().lower() == b"authentication-results" and self._late < MAX_LATE_FIELDS:
            self._late += 1
            self._fields.append(Header(name, value[:MAX_LATE_RESULTS]))

    def fields(self) -> tuple[Header, ...]:
        return tuple(self._fields)
