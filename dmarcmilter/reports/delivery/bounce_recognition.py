"""Tell whether a message to a bounce address reports a failed delivery (RFC 3464). No I/O but `read`.

Anyone may send there, and mail systems send more than bounces: automatic replies, and notices of delay. The message's
sender is not checked: only those who received or relayed the report know the token in the address.
"""

import re
from typing import BinaryIO

MAX_BYTES = 262_144
"""Bytes of a message that are examined. The notification comes before the original message; the rest is ignored."""
MAX_HEADER_BYTES = 65_536
"""Bytes of the header that are examined; a message with a longer one is not a bounce."""

_END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_REPORT = re.compile(
    rb"^content-type:[ \t]*multipart/report\b[^\r\n]*\bdelivery-status\b", re.IGNORECASE | re.MULTILINE
)
_FAILED = re.compile(rb"^action:[ \t]*failed[ \t]*(?:\([^\r\n]*)?\r?$", re.IGNORECASE | re.MULTILINE)


def read(stream: BinaryIO) -> bytes:
    """The examined part of a message. The rest is read, too: an MTA may take a closed pipe for a failure."""
    message = stream.read(MAX_BYTES)
    while stream.read(MAX_BYTES):
        pass
    return message


def is_failure(message: bytes) -> bool:
    """Whether it is a delivery status notification with Action: failed."""
    end = _END_OF_HEADER.search(message, 0, MAX_HEADER_BYTES)
    if end is None:
        return False
    header, body = _FOLD.sub(b" ", message[: end.start()]), message[end.end() : MAX_BYTES]
    return bool(_REPORT.search(header) and _FAILED.search(body))
