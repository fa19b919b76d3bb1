"""A digest by which a message is recognized when it is sent again, whatever relays do to its header.

It hashes the reverse-path and the fields that stay the same, so that a deferred message has the same digest at its next
attempt.
"""

import hashlib
import hmac
from collections.abc import Iterator

from dmarcmilter.mail.message import Message

IDENTITY_FIELDS = frozenset({b"from", b"to", b"subject", b"date", b"message-id"})
"""Header fields that `digest` hashes, in lower case."""


def digest(message: Message, start: str, key: bytes) -> bytes:
    """A keyed hash that identifies the message. `start` keeps the hashes of one use apart from those of another."""
    hashed = hmac.new(key, start.encode(), hashlib.sha256)
    for part in (message.envelope.mail_from, *_identity(message)):
        hashed.update(len(part).to_bytes(8, "big") + part)
    return hashed.digest()


def _identity(message: Message) -> Iterator[bytes]:
    """Name and value of each field that identifies the message. White space does not count: relays refold fields."""
    for header in message.headers:
        if header.key in IDENTITY_FIELDS:
            yield header.key + b":" + b" ".join(header.value.split())
