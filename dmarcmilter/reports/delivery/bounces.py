"""Whether a message that came to a bounce address says that delivery failed (RFC 3464). Pure.

Anyone may send there, and mail systems send more than bounces: automatic replies, and notes that a message is delayed.
Who sent the message is not asked: only who got the report, or handled it, knows the token in the address.
"""

import re
from typing import BinaryIO

MAX_BYTES = 262_144
"""Bytes of a message that are read: its notification stands before the original message."""
MAX_HEADER_BYTES = 65_536
"""Bytes of its header that are read."""

_END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_REPORT = re.compile(
    rb"^content-type:[ \t]*multipart/report\b[^\r\n]*\bdelivery-status\b", re.IGNORECASE | re.MULTILINE
)
_FAILED = re.compile(rb"^action:[ \t]*failed[ \t]*(?:\([^\r\n]*)?\r?$", re.IGNORECASE | re.MULTILINE)


def read(stream: BinaryIO) -> bytes:
    """As much of a message as is looked at. The rest is read too: an MTA may take a closed pipe for a failure."""
    message = stream.read(MAX_BYTES)
    while stream.read(MAX_BYTES):
        pass
    return message


def is_failure(message: bytes) -> bool:
    end = _END_OF_HEADER.search(message, 0, MAX_HEADER_BYTES)
    if end is None:
        return False
    header, body = _FOLD.sub(b" ", message[: end.start()]), message[end.end() : MAX_BYTES]
    return bool(_REPORT.search(header) and _FAILED.search(body))
