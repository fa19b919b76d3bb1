"""Sampling for pct and for the rollout: the same answer for a retry, and no dice to reroll (RFC 7489 6.6.4)."""

import hashlib
import hmac
from collections.abc import Iterator

from dmarcmilter.dmarc.domain import Domain
from dmarcmilter.message import Message

IDENTITY_FIELDS = frozenset({b"from", b"to", b"subject", b"date", b"message-id"})


def draw(message: Message, author: Domain, key: bytes) -> int:
    """0..99: a keyed hash of the message's identity. A message is selected when it is below pct.

    A retry of the same message draws the same number, on every server that has the same key; nobody without the
    key can tell which spelling of a message would be left out.
    """
    return _number(message, author, key)


def rollout_draw(message: Message, author: Domain | None, key: bytes) -> int:
    """0..99, the same way, for rollout_percent. Independent of pct's: who is left out there may be enforced here.

    No domain name has a colon, so that the two can never hash the same.
    """
    return _number(message, f"rollout:{author or ''}", key)


def _number(message: Message, start: str, key: bytes) -> int:
    return int.from_bytes(digest(message, start, key)[:8], "big") % 100


def digest(message: Message, start: str, key: bytes) -> bytes:
    """What this message is to whoever has the key, and to nobody else. `start` keeps one use apart from another."""
    found = hmac.new(key, start.encode(), hashlib.sha256)
    for part in (message.envelope.mail_from, *_identity(message)):
        found.update(len(part).to_bytes(8, "big") + part)
    return found.digest()


def _identity(message: Message) -> Iterator[bytes]:
    """Name and value of the fields that make a message this message; white space apart, which relays may refold."""
    for header in message.headers:
        if header.key in IDENTITY_FIELDS:
            yield header.key + b":" + b" ".join(header.value.split())
