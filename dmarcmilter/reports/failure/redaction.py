"""What a failure report may show of a message (RFC 6590, RFC 9991 7). Pure.

A list of what is shown, never of what is hidden: a field or a tag that nobody thought of is left out. Local-parts and
Subject become keyed hashes, the same for the same within a month, so that an owner sees what belongs together.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from datetime import datetime

from dmarcmilter.mail import path as smtppath
from dmarcmilter.mail.message import Header

MAX_FIELDS = 30
"""Header fields shown; the MTA's trace and what names recipients is not among them."""
MAX_VALUE = 900
"""Characters shown of one: a line has 998 (RFC 5322 2.1.1)."""
HASH_DIGITS = 16

SHOWN = frozenset({"date", "dkim-signature", "from", "message-id", "sender", "subject"})
"""What an owner needs to find the fault, in lower case."""

# Local-part and domain; what is no address around them is not shown.
_ADDRESS = re.compile(r"(?:[^\s<>@,;:\"()\[\]=]{1,256}|\"[^\"]{0,256}\")@[\w.-]{1,253}")
_DATE = re.compile(r"[A-Za-z]{3}[A-Za-z0-9,:+ -]{1,40}")
# Not z=, which holds header fields as they were, nor a tag that we do not know (RFC 6376 3.5).
_SIGNATURE_TAGS = frozenset({"v", "a", "b", "bh", "c", "d", "h", "i", "l", "q", "s", "t", "x"})
_TAG_VALUE = re.compile(r"[A-Za-z0-9+/=:._* -]*")
_UNSAFE = re.compile(r"[^\x20-\x7e]")


def month_key(secret: bytes, when: datetime) -> bytes:
    """The key of one month: after it nothing can be told to be the same as before."""
    return hmac.digest(secret, f"failure reports {when:%Y-%m}".encode(), "sha256")


def safe(text: object) -> str:
    """For one line of a header."""
    return _UNSAFE.sub("?", str(text))[:MAX_VALUE]


class Redaction:
    """RFC 6590: what stands for a text is the same at each place, and tells nobody without the key what it was."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def hashed(self, text: str) -> str:
        whole = hmac.new(self._key, text.encode("utf-8", "backslashreplace"), hashlib.sha256)
        return whole.hexdigest()[:HASH_DIGITS]

    def address(self, text: str) -> str:
        """Of an address in a header field."""
        local, _, domain = text.rpartition("@")
        return f"{self.hashed(local)}@{safe(domain)}" if text else ""

    def path(self, raw: bytes) -> str:
        """Of a reverse-path; empty: the null reverse-path. What is no Mailbox is a hash as a whole."""
        mailbox = smtppath.read(raw)
        if mailbox is not None:
            return f"{self.hashed(mailbox.local)}@{safe(mailbox.domain)}"
        return "" if smtppath.is_null(raw) else self.hashed(raw.decode("utf-8", "replace"))

    def redacted_fields(self, fields: Iterable[Header]) -> Iterator[tuple[str, str]]:
        """Name and redacted value of the fields that are shown, in their order."""
        for field in shown_fields(fields):
            name = field.name.decode("latin-1")
            value = " ".join(field.value.decode("utf-8", "replace").split())
            yield name, safe(self._value(name.lower(), value))

    def _value(self, name: str, value: str) -> str:
        if name == "subject":
            return self.hashed(value)
        if name == "date":
            found = _DATE.match(value)  # and no comment after it
            return found[0] if found else ""
        if name == "dkim-signature":
            return "; ".join(self._tags(value))
        return ", ".join(f"<{self.address(found[0])}>" for found in _ADDRESS.finditer(value[:MAX_VALUE]))

    def _tags(self, signature: str) -> Iterator[str]:
        for part in signature.split(";"):
            name, _, value = (piece.strip() for piece in part.partition("="))
            if name == "i":
                yield f"i={self.address(value)}"
            elif name in _SIGNATURE_TAGS and _TAG_VALUE.fullmatch(value):
                yield f"{name}={value}"


def shown_fields(fields: Iterable[Header]) -> list[Header]:
    """Those that are shown, as they came but bounded: what is kept of a message until there is time for it."""
    found = []
    for field in fields:
        if field.name.decode("latin-1").lower() in SHOWN:
            found.append(Header(field.name, field.value[: 4 * MAX_VALUE]))
        if len(found) == MAX_FIELDS:
            break
    return found
