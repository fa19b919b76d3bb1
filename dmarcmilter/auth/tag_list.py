"""Tag lists and the values in them (RFC 6376 3.2), as used by DKIM and ARC fields and by key records.

Parsing is strict on purpose (RFC 6376 6.1.1), and linear in the length of the input, which the callers limit.
"""

import binascii
import re

FWS = b" \t\r\n"
"""Characters of folding white space."""

_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")
# Bytes above 0x7f are UTF-8 (RFC 8616 2). A bare CR or LF can only come from DNS and counts as white space.
_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
_DIGITS = re.compile(rb"[0-9]+")


def parse(raw: bytes) -> dict[bytes, bytes] | None:
    """Tag names and values in order; None: the list is invalid, for example because a tag occurs twice."""
    specs = raw.split(b";")
    if not specs[-1].strip(FWS):
        specs.pop()
    if _CONTROLS.search(raw):
        return None
    tags: dict[bytes, bytes] = {}
    for spec in specs:
        name, equals, value = spec.partition(b"=")
        name = name.strip(FWS)
        if not equals or name in tags or not _NAME.fullmatch(name):
            return None
        tags[name] = value.strip(FWS)
    return tags


def without_b(raw: bytes) -> bytes:
    """The list with the value of b= and the white space around it deleted, and nothing else changed (RFC 6376 3.7)."""
    return b";".join([_without_b(spec) for spec in raw.split(b";")])


def _without_b(spec: bytes) -> bytes:
    before, equals, _ = spec.partition(b"=")
    return before + equals if equals and before.strip(FWS) == b"b" else spec


def compact(value: bytes) -> bytes:
    """The value without its white space."""
    return value.translate(None, FWS)


def base64(value: bytes) -> bytes | None:
    """Decode a base64string (RFC 6376 2.10), which may have white space anywhere; None: it is invalid."""
    text = compact(value)
    if len(text) % 4 or not _BASE64.fullmatch(text):
        return None
    return binascii.a2b_base64(text)


def number(value: bytes, digits: int) -> int | None:
    """A number of at most `digits` decimal digits: 12 for a time, 76 for l= (RFC 6376 3.5); None: it is not."""
    return int(value) if len(value) <= digits and _DIGITS.fullmatch(value) else None


def items(value: bytes) -> list[bytes]:
    """The items of a colon-separated list in lower case, without the white space around them."""
    return [item.strip(FWS) for item in value.lower().split(b":")]
