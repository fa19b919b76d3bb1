"""Body hashes, computed while the body arrives (RFC 6376 3.4.3, 3.4.4, 3.4.5).

It needs the memory of one chunk, whatever the body is: at most a space and a CR are held back, and the CRLFs at the end
are only counted. Every byte is canonicalized and hashed once for each canonicalization, however many lengths (l=) there
are.
"""

import hashlib
from collections.abc import Iterable

from dmarcmilter.auth.header_canonicalization import single_spaces
from dmarcmilter.value import Value

_CRLF = b"\r\n"
_BLOCK = 32768
"""Most CRLFs hashed at a time when text follows a long run of them; it bounds the memory."""


class BodyPlan(Value):
    """One way to hash a body."""

    relaxed: bool
    length: int | None
    """l=: bytes of the canonical body that are hashed; None: all."""


class BodyHash(Value):
    """The hash of a body by one plan."""

    digest: bytes
    """SHA-256"""
    length: int
    """Bytes of the whole canonical body, also with l=."""


class BodyHasher:
    """Hashes one body by several plans at once."""

    def __init__(self, plans: Iterable[BodyPlan]) -> None:
        self._plans = frozenset(plans)
        self._hashes: dict[BodyPlan, BodyHash] | None = None
        self._bodies = {
            relaxed: _Body(
                relaxed=relaxed,
                lengths={plan.length for plan in self._plans if plan.relaxed == relaxed and plan.length is not None},
            )
            for relaxed in {plan.relaxed for plan in self._plans}
        }

    def feed(self, chunk: bytes) -> None:
        for body in self._bodies.values():
            body.feed(chunk)

    def finish(self) -> dict[BodyPlan, BodyHash]:
        """The hashes by plan. To be called after the last chunk; further calls return the same."""
        if self._hashes is None:
            for body in self._bodies.values():
                body.finish()
            self._hashes = {plan: self._bodies[plan.relaxed].hashed(plan.length) for plan in self._plans}
        return self._hashes


class _Body:
    """One canonicalization of the body."""

    def __init__(self, *, relaxed: bool, lengths: set[int]) -> None:
        self._relaxed = relaxed
        self._held = b""
        """The end of the last chunk if its meaning depends on the next: b" ", b"\\r" or b" \\r"."""
        self._line_ends = 0
        """CRLFs after the last other byte: they are hashed only if more text follows (RFC 6376 3.4.3)."""
        self._hash = hashlib.sha256()
        self._length = 0
        self._marks = sorted(lengths, reverse=True)
        self._digests: dict[int, bytes] = {}

    def feed(self, chunk: bytes) -> None:
        data = self._held + chunk if self._held else chunk
        if self._relaxed and (b" " in data or b"\t" in data):
            data = single_spaces(data).replace(b" \r\n", _CRLF)
        held = self._undecided(data)
        self._held = data[len(data) - held :]
        self._take(data[: len(data) - held] if held else data)

    def finish(self) -> None:
        # White space at the end of the body is dropped even if the last line has no CRLF.
        self._take(self._held.rstrip(b" ") if self._relaxed else self._held)
        if self._length or not self._relaxed:  # an empty body is CRLF when simple, nothing when relaxed
            self._update(_CRLF)

    def hashed(self, length: int | None) -> BodyHash:
        whole = self._hash.digest()
        return BodyHash(whole if length is None else self._digests.get(length, whole), self._length)

    def _undecided(self, data: bytes) -> int:
        end = len(data) - data.endswith(b"\r")
        return len(data) - end + (self._relaxed and data.endswith(b" ", 0, end))

    def _take(self, data: bytes) -> None:
        """Hash all but the CRLFs at the end, which are counted."""
        text = data.rstrip(_CRLF)
        # A bare CR or LF is no line end: only the pairs after the last bare one may be dropped.
        tail = data[len(text) :].replace(_CRLF, b"E")
        line_ends = len(tail) - len(tail.rstrip(b"E"))
        text = data[: len(data) - len(_CRLF) * line_ends]
        if text:
            self._flush_line_ends()
            self._update(text)
        self._line_ends += line_ends

    def _flush_line_ends(self) -> None:
        while self._line_ends:
            count = min(self._line_ends, _BLOCK)
            self._update(_CRLF * count)
            self._line_ends -= count

    def _update(self, data: bytes) -> None:
        end = self._length + len(data)
        while self._marks and self._marks[-1] <= end:
            mark = self._marks.pop()
            part, data = data[: mark - self._length], data[mark - self._length :]
            self._hash.update(part)
            self._length = mark
            self._digests[mark] = self._hash.digest()
        self._hash.update(data)
        self._length = end
