"""Domain names as DNS messages carry them (RFC 1035 3.1).

Here they are always uncompressed and in lower case: that form compares and hashes by itself.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

MAX_POINTERS = 32
"""Compression pointers in one name: a name of 127 labels needs one; chains of them only burn time."""

REMEMBERED = 4096
"""Names whose wire form is kept: each is needed several times for a message."""

Known = dict[int, tuple[bytes, int]]
"""Names of one DNS message that have been read: where they begin, to what read_name() said of them."""

MAX_NAME = 255
"""Bytes of a name in wire form (RFC 1035 2.3.4)."""
_MAX_LABEL = 63
_PLAIN = re.compile(rb"[a-z0-9_.-]+")  # what needs no escape: a reply may hold hundreds of names
_SPECIAL = frozenset(b'"().;\\@$')
_ESCAPED = tuple(
    f"\\{chr(octet)}" if octet in _SPECIAL else chr(octet) if 0x20 < octet < 0x7F else f"\\{octet:03}"
    for octet in range(256)
)
"""As dnspython writes octets."""


def name_to_wire(name: str) -> bytes | None:
    """The name as DNS carries it (RFC 1035 3.1), or None when it cannot.

    No escapes, no IDNA: labels are whatever stands between the dots (RFC 2181 11).
    """
    return _remembered_wire(name) if len(name) <= MAX_NAME else None  # a character is at least an octet


@lru_cache(maxsize=REMEMBERED)
def _remembered_wire(name: str) -> bytes | None:
    try:
        text = name.encode("utf-8", "surrogateescape").removesuffix(b".").lower()
    except UnicodeEncodeError:
        return None
    if len(text) > MAX_NAME - 2:
        return None
    labels = text.split(b".")
    if not all(0 < len(label) <= _MAX_LABEL for label in labels):
        return None
    return b"".join([bytes((len(label),)) + label for label in labels]) + b"\0"


def name_to_text(name: bytes) -> str:
    """For people and for asking again: no final dot, what is not printable escaped (RFC 1035 5.1)."""
    labels = list(_labels(name))
    text = b".".join(labels)
    if _PLAIN.fullmatch(text) and text.count(b".") == len(labels) - 1:
        return text.decode("ascii")
    return ".".join(["".join([_ESCAPED[octet] for octet in label]) for label in labels]) or "."


def _labels(name: bytes) -> Iterator[bytes]:
    """Of an uncompressed name."""
    at = 0
    while length := name[at]:
        yield name[at + 1 : at + 1 + length]
        at += 1 + length


def read_name(wire: bytes, at: int, known: Known | None = None) -> tuple[bytes, int]:
    """A name that may be compressed (RFC 1035 4.1.4), and where it ends.

    A pointer leads to a *prior* occurrence: to what ends before the name begins that has the pointer (RFC 9267 2 tells
    of those who did not ask for that). So there are no loops, and no octet is read as two things. What a pointer leads
    to is decoded once for all the names of a message that share `known`.
    """
    return _read_name(wire, at, {} if known is None else known, MAX_POINTERS)


def _read_name(wire: bytes, at: int, known: Known, pointers: int) -> tuple[bytes, int]:
    parts: list[bytes] = []
    size, begin, tail, width = 1, at, b"\0", 1
    while length := wire[at]:
        if length > _MAX_LABEL:
            tail, width = _pointed_at(wire, at, begin, known, pointers), 2
            size += len(tail) - 1
            break
        part = wire[at : at + 1 + length]
        size += len(part)
        if len(part) <= length or size > MAX_NAME:
            raise ValueError("label or name too long")
        parts.append(part)
        at += 1 + length
    if size > MAX_NAME:
        raise ValueError("name too long")
    return b"".join(parts).lower() + tail, at + width


def _pointed_at(wire: bytes, at: int, begin: int, known: Known, pointers: int) -> bytes:
    """The rest of a name that began at `begin`."""
    target = (wire[at] << 8 | wire[at + 1]) - 0xC000
    if not 0 <= target < begin or not pointers:
        raise ValueError("bad pointer")
    found = known.get(target)
    if found is None:
        found = known[target] = _read_name(wire, target, known, pointers - 1)
    tail, end = found
    if end > begin:
        raise ValueError("pointer into the name itself")
    return tail
