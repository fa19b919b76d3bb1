"""Message, Envelope and Header: exactly what the MTA sent of one message."""

from collections.abc import Iterator
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address

from msgspec.structs import force_setattr

from dmarcmilter.value import Value

UNCLEANABLE = "max_results_fields"
"""The limit (in Message.truncated) beyond which forged results can no longer be removed from a message."""


class Header(Value):
    """One header field exactly as it was received (RFC 5322 2.2)."""

    name: bytes
    value: bytes
    """Bytes after the colon: leading space kept, folds as CRLF, no final CRLF."""
    key: bytes = b""
    """The field name in ASCII lower case, for comparisons. Made once, because every check goes through all fields."""

    def __post_init__(self) -> None:
        force_setattr(self, "key", self.name.lower())


class Envelope(Value):
    """The SMTP session and envelope (RFC 5321). Bytes from the client stay bytes until they are parsed."""

    queue_id: str
    received_at: datetime
    """UTC."""
    client_ip: IPv4Address | IPv6Address | None
    """None: the client has no IP address, or one that does not parse."""
    client_name: str
    helo: bytes
    """Empty when none was given."""
    mail_from: bytes
    """The reverse-path without angle brackets, as the client wrote it; `mail.path` reads it."""
    recipients: tuple[bytes, ...] = ()
    """Forward-paths without angle brackets, as the client wrote them; `mail.path` reads them. Never stored. Empty where
    the configuration has no use for them."""
    more_recipients: bool = False
    """There were more recipients than the limit keeps."""

    def completed(self, queue_id: str, recipients: tuple[bytes, ...], *, more_recipients: bool) -> "Envelope":
        """The envelope with what is known only at the end of the message."""
        return Envelope(
            queue_id,
            self.received_at,
            self.client_ip,
            self.client_name,
            self.helo,
            self.mail_from,
            recipients,
            more_recipients,
        )


class Message(Value):
    """One message without its body."""

    envelope: Envelope
    headers: tuple[Header, ...]
    """In the order received."""
    size: int
    """Bytes of header and body as the MTA sent them."""
    truncated: str = ""
    """Name of the limit that cut the message short; empty: the message is complete."""

    def fields(self, name: bytes) -> Iterator[Header]:
        """Fields of that name (given in lower case), top first."""
        return (header for header in self.headers if header.key == name)


def path_of(raw: bytes) -> bytes:
    """Remove the angle brackets of a path."""
    return raw[1:-1] if raw.startswith(b"<") and raw.endswith(b">") else raw


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an IP address as MTAs and people write it; None: it is none.

    Brackets and `IPv6:` are accepted (RFC 5321 4.1.3; Sendmail writes them). A zone index is dropped, and an
    IPv4-mapped address becomes IPv4, as SPF needs it.
    """
    text = text.strip().removeprefix("[").removesuffix("]")
    if text[:5].lower() == "ipv6:":
        text = text[5:]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
