"""The Message-ID as a keyed hash: it may tell of a person, so it is not stored; who knows it can search for it.

Without the key nobody can tell from a record whether it is of a message that he knows.
"""

import hmac
import re

from dmarcmilter.mail.message import Message

DIGITS = 16
"""Of the hash, hexadecimal: 64 bits, so that among a billion messages any two are alike with a chance of 3 %."""
MAX_ID = 998
"""Octets that count: one line (RFC 5322 2.1.1)."""

_BRACKETED = re.compile(rb"<([^<>]*)>")
_SCOPE = b"message-id:"
"""The key has other uses: what is hashed for one must not be the answer for another."""


def of_message(message: Message, key: bytes) -> str | None:
    """The hash of the first Message-ID field; None: there is none, or nothing in it."""
    field = next(message.fields(b"message-id"), None)
    return None if field is None else of_text(field.value, key)


def of_text(raw: bytes, key: bytes) -> str | None:
    """With or without angle brackets; white space does not count, for fields are folded (RFC 5322 3.2.2)."""
    whole = b"".join(raw[: 2 * MAX_ID].split())
    found = _BRACKETED.search(whole)
    identifier = (found[1] if found else whole)[:MAX_ID]
    if not identifier:
        return None
    return hmac.digest(key, _SCOPE + identifier, "sha256").hex()[:DIGITS]
