"""The Message-ID as a keyed hash (HMAC-SHA-256), by which records can be searched.

A Message-ID can identify a person, so it is not stored. Without the key a record cannot be matched with a Message-ID.
"""

import hmac
import re

from dmarcmilter.mail.message import Message

DIGITS = 16
"""Hexadecimal digits of the hash, 64 bits: the chance that any two of a billion messages share one is 3 %."""
MAX_ID = 998
"""Bytes of a Message-ID that are hashed, one line (RFC 5322 2.1.1); the rest is ignored."""

_BRACKETED = re.compile(rb"<([^<>]*)>")
_SCOPE = b"message-id:"
"""Prefix of what is hashed, because the same key is used for other purposes too."""


def of_message(message: Message, key: bytes) -> str | None:
    """Hash the first Message-ID field; None: there is none, or it is empty."""
    field = next(message.fields(b"message-id"), None)
    return None if field is None else of_text(field.value, key)


def of_text(raw: bytes, key: bytes) -> str | None:
    """Hash a Message-ID with or without angle brackets; white space is ignored because of folding (RFC 5322 3.2.2)."""
    whole = b"".join(raw[: 2 * MAX_ID].split())
    bracketed = _BRACKETED.search(whole)
    identifier = (bracketed[1] if bracketed else whole)[:MAX_ID]
    if not identifier:
        return None
    return hmac.digest(key, _SCOPE + identifier, "sha256").hex()[:DIGITS]
