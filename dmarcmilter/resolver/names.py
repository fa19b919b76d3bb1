"""Domain names as DNS messages carry them (RFC 1035 3.1).

Here they are always uncompressed and in lower case: that form compares and hashes by itself.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

import dns.name

MAX_POINTERS = 32
"""Compression pointers in one name: a name of 127 labels needs one; chains of them only burn time."""

REMEMBERED = 4096
"""Names whose wire form is kept: each is needed several times for a message."""

_MAX_NAME = 255  # RFC 1035 2.3.4, in wire form
_MAX_LABEL = 63
_PLAIN = re.compile(rb"[a-z0-9_-]+")  # what needs no escape: a reply may hold thousands of names


def name_to_wire(name: str) -> bytes | None:
    """The name as DNS carries it (RFC 1035 3.1), or None when it cannot.

    No escapes, no IDNA: labels are whatever stands between the dots (RFC 2181 11).
    """
    return _remembered_wire(name) if len(name) <= _MAX_NAME else None  # a character is at least an octet


@lru_cache(maxsize=REMEMBERED)
def _remembered_wire(name: str) -> bytes | None:
    try:
        text = name.encode("utf-8", "surrogateescape").removesuffix(b".").lower()
    except UnicodeEncodeError:
        return None
    if len(text) > _MAX_NAME - 2:
        return None
    labels = text.split(b".")
    if not all(0 < len(label) <= _MAX_LABEL for label in labels):
        return None
    return b"".join([bytes((len(label),)) + label for label in labels]) + b"\0"


def name_to_text(name: bytes) -> str:
    """For people and for asking again: no final dot, what is not printable escaped (RFC 1035 5.1)."""
    labels = list(_labels(name))
    if labels and all(map(_PLAIN.fullmatch, labels)):
        return b".".join(labels).decode("ascii")
    return dns.name.from_wire(name, 0)[0].to_text(omit_final_dot=True)


def _labels(name: bytes) -> Iterator[bytes]:
    """Of an uncompressed name."""
    at = 0
    while length := name[at]:
        yield name[at + 1 : at + 1 + length]
        at += 1 + length


def read_name(wire: bytes, at: int) -> tuple[bytes, int]:
    """A name that may be compressed (RFC 1035 4.1.4), and where it ends. Pointers lead backwards only: no loops."""
    parts: list[bytes] = []
    size, after, begin, pointers = 1, 0, at, 0
    while length := wire[at]:
        if length <= _MAX_LABEL:
            part = wire[at : at + 1 + length]
            size += len(part)
            if len(part) <= length or size > _MAX_NAME:
                raise ValueError("label or name too long")
            parts.append(part)
            at += 1 + length
            continue
        after = after or at + 2
        at = (length << 8 | wire[at + 1]) - 0xC000
        pointers += 1
        if not 0 <= at < begin or pointers > MAX_POINTERS:
            raise ValueError("bad pointer")
        begin = at
    return b"".join([*parts, b"\0"]).lower(), after or at + 1
