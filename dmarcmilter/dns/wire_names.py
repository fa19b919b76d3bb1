"""Domain names in wire form (RFC 1035 3.1), uncompressed and in lower case, so that equal names are equal bytes."""

import re
from collections.abc import Iterator
from functools import lru_cache

MAX_POINTERS = 32
"""Compression pointers followed in one name (127 labels need one); with more the reply does not parse."""

REMEMBERED = 4096
"""Names whose wire form is kept in memory, because a message needs each several times; the oldest is dropped."""

Known = dict[int, tuple[bytes, int]]
"""Names already read from one DNS message: the position of each, and what read_name() returned."""

MAX_NAME = 255
"""Largest name in wire form, in bytes (RFC 1035 2.3.4)."""
_MAX_LABEL = 63
_PLAIN = re.compile(rb"[a-z0-9_.-]+")
"""Names that need no escape: the fast path, because a reply may hold hundreds of names."""
_SPECIAL = frozenset(b'"().;\\@$')
_ESCAPED = tuple(
    f"\\{chr(byte)}" if byte in _SPECIAL else chr(byte) if 0x20 < byte < 0x7F else f"\\{byte:03}" for byte in range(256)
)
"""Text of each byte in a name, as dnspython writes it."""


def name_to_wire(name: str) -> bytes | None:
    """Convert text to wire form (RFC 1035 3.1); None: DNS cannot carry it.

    There are no escapes and no IDNA: labels are the bytes between the dots (RFC 2181 11).
    """
    return _remembered_wire(name) if len(name) <= MAX_NAME else None  # a character is at least one byte


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
    """Convert wire form to text without a final dot; bytes that are not printable are escaped (RFC 1035 5.1)."""
    labels = list(_labels(name))
    text = b".".join(labels)
    if _PLAIN.fullmatch(text) and text.count(b".") == len(labels) - 1:
        return text.decode("ascii")
    return ".".join(["".join([_ESCAPED[byte] for byte in label]) for label in labels]) or "."


def _labels(name: bytes) -> Iterator[bytes]:
    """Labels of an uncompressed name."""
    at = 0
    while length := name[at]:
        yield name[at + 1 : at + 1 + length]
        at += 1 + length


def read_name(wire: bytes, at: int, known: Known | None = None) -> tuple[bytes, int]:
    """Read a name that may be compressed (RFC 1035 4.1.4); return it and its end. ValueError if malformed.

    A pointer must lead to a *prior* occurrence, one that ends before the name with the pointer begins (RFC 9267 2).
    This excludes loops. The target of a pointer is decoded once for all names of a message that share `known`.
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
    """Read the rest of a name that began at `begin`, at the target of the pointer at `at`."""
    target = (wire[at] << 8 | wire[at + 1]) - 0xC000
    if not 0 <= target < begin or not pointers:
        raise ValueError("bad pointer")
    name = known.get(target)
    if name is None:
        name = known[target] = _read_name(wire, target, known, pointers - 1)
    tail, end = name
    if end > begin:
        raise ValueError("pointer into the name itself")
    return tail
