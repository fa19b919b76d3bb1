"""Redact the header fields that a failure report shows (RFC 6590, RFC 9991 7). Pure.

Only listed fields and tags are shown, so an unknown one is always left out. Local-parts and Subject become keyed
hashes, equal for equal texts within a month, so that a Domain Owner sees which messages belong together.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from datetime import datetime

from dmarcmilter.mail import path as mail_path
from dmarcmilter.mail.message import Header

MAX_FIELDS = 30
"""Header fields shown, at most. Further ones are left out."""
MAX_VALUE = 900
"""Characters shown of one field; the rest is cut off. A line has at most 998 (RFC 5322 2.1.1)."""
HASH_DIGITS = 16
"""Hexadecimal digits of a keyed hash."""

SHOWN = frozenset({"date", "dkim-signature", "from", "message-id", "sender", "subject"})
"""Header fields that a Domain Owner needs to find the fault, in lower case. No trace fields, no recipients."""

# Local-part and domain. Text around addresses (display names, comments) is not shown.
_ADDRESS = re.compile(r"(?:[^\s<>@,;:\"()\[\]=]{1,256}|\"[^\"]{0,256}\")@[\w.-]{1,253}")
_DATE = re.compile(r"[A-Za-z]{3}[A-Za-z0-9,:+ -]{1,40}")
# z= is left out, as it holds copies of header fields, and so are unknown tags (RFC 6376 3.5).
_SIGNATURE_TAGS = frozenset({"v", "a", "b", "bh", "c", "d", "h", "i", "l", "q", "s", "t", "x"})
_TAG_VALUE = re.compile(r"[A-Za-z0-9+/=:._* -]*")
_UNSAFE = re.compile(r"[^\x20-\x7e]")


def month_key(secret: bytes, when: datetime) -> bytes:
    """The key of one month, so that hashes of different months cannot be compared."""
    return hmac.digest(secret, f"failure reports {when:%Y-%m}".encode(), "sha256")


def safe(text: object) -> str:
    """The text for one line of a header: printable ASCII, at most MAX_VALUE characters."""
    return _UNSAFE.sub("?", str(text))[:MAX_VALUE]


class Redaction:
    """Replaces texts by keyed hashes (RFC 6590): equal for equal texts, and not reversible without the key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def hashed(self, text: str) -> str:
        """The keyed hash of a text."""
        whole = hmac.new(self._key, text.encode("utf-8", "backslashreplace"), hashlib.sha256)
        return whole.hexdigest()[:HASH_DIGITS]

    def address(self, text: str) -> str:
        """An address of a header field, its local-part hashed."""
        local, _, domain = text.rpartition("@")
        return f"{self.hashed(local)}@{safe(domain)}" if text else ""

    def path(self, raw: bytes) -> str:
        """A reverse-path, its local-part hashed, or all of it if it is no Mailbox; empty for the null reverse-path."""
        mailbox = mail_path.read(raw)
        if mailbox is not None:
            return f"{self.hashed(mailbox.local)}@{safe(mailbox.domain)}"
        return "" if mail_path.is_null(raw) else self.hashed(raw.decode("utf-8", "replace"))

    def redacted_fields(self, fields: Iterable[Header]) -> Iterator[tuple[str, str]]:
        """Name and redacted value of the shown fields, in their order."""
        for field in shown_fields(fields):
            name = field.name.decode("latin-1")
            value = " ".join(field.value.decode("utf-8", "replace").split())
            yield name, safe(self._value(name.lower(), value))

    def _value(self, name: str, value: str) -> str:
        if name == "subject":
            return self.hashed(value)
        if name == "date":
            date = _DATE.match(value)  # without a comment after it
            return date[0] if date else ""
        if name == "dkim-signature":
            return "; ".join(self._tags(value))
        return ", ".join(f"<{self.address(address[0])}>" for address in _ADDRESS.finditer(value[:MAX_VALUE]))

    def _tags(self, signature: str) -> Iterator[str]:
        for part in signature.split(";"):
            name, _, value = (piece.strip() for piece in part.partition("="))
            if name == "i":
                yield f"i={self.address(value)}"
            elif name in _SIGNATURE_TAGS and _TAG_VALUE.fullmatch(value):
                yield f"{name}={value}"


def shown_fields(fields: Iterable[Header]) -> list[Header]:
    """The fields that will be shown, shortened but not yet redacted."""
    fields_shown = []
    for field in fields:
        if field.name.decode("latin-1").lower() in SHOWN:
            fields_shown.append(Header(field.name, field.value[: 4 * MAX_VALUE]))
        if len(fields_shown) == MAX_FIELDS:
            break
    return fields_shown
