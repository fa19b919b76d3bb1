"""What the MTA said of one message, nothing inferred."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address

UNCLEANABLE = "max_results_fields"
"""The limit (Message.truncated) beyond which forged results cannot be taken out of a message any more."""


@dataclass(frozen=True, slots=True)
class Header:
    """One header field exactly as it was received (RFC 5322 2.2)."""

    name: bytes
    value: bytes
    """All that follows the colon: leading space kept, folds as CRLF, no final CRLF."""
    key: bytes = field(init=False, repr=False, compare=False)
    """The field name for comparisons: ASCII lower case. Every check goes through all fields, so it is made once."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.name.lower())


@dataclass(frozen=True, slots=True)
class Envelope:
    """The SMTP session's part (RFC 5321). All bytes from the peer stay bytes until they are parsed."""

    queue_id: str
    received_at: datetime
    """UTC."""
    client_ip: IPv4Address | IPv6Address | None
    """None: not an IP peer, or an address that does not parse."""
    client_name: str
    helo: bytes
    """Empty when none was given."""
    mail_from: bytes
    """The reverse-path without its angle brackets, as the client wrote it; smtppath reads it."""
    recipients: tuple[bytes, ...] = ()
    """Without angle brackets, as the client wrote them; smtppath reads them. Never stored. Empty unless something asks
    for them."""
    more_recipients: bool = False
    """There are others besides, more than we keep."""


@dataclass(frozen=True, slots=True)
class Message:
    envelope: Envelope
    headers: tuple[Header, ...]
    """In the order received."""
    size: int
    """Octets of header and body as the MTA handed them over."""
    truncated: str = ""
    """Why a part was not taken in (the name of the limit); empty: the message is whole."""

    def fields(self, name: bytes) -> Iterator[Header]:
        """Fields of that name (given in lower case), top first."""
        return (header for header in self.headers if header.key == name)


def path_of(raw: bytes) -> bytes:
    """A reverse- or forward-path without its angle brackets."""
    return raw[1:-1] if raw.startswith(b"<") and raw.endswith(b">") else raw


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """An IP address as MTAs and people write it; None: it is none.

    With brackets and `IPv6:` (RFC 5321 4.1.3), which Sendmail writes before some. A zone index and the IPv4-mapped form
    say nothing to SPF.
    """
    text = text.strip().removeprefix("[").removesuffix("]")
    if text[:5].lower() == "ipv6:":
        text = text[5:]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
