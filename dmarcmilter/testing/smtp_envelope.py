"""The SMTP session as an MTA knows it, and the addresses, paths and macros by which it tells a milter about it."""

import struct
from collections.abc import Mapping
from ipaddress import ip_address

from dmarcmilter.value import Value, field

HOST = "mx.test.example"
CLIENT_PORT = 40_000


class SmtpEnvelope(Value):
    """Client, HELO name, paths and macros of one message."""

    client_ip: str = "192.0.2.1"
    """IPv4 or IPv6 address; `unknown`: none; `unix`: a local client."""
    client_name: str | None = None
    """Verified name of the client; None: it has none, and the address in brackets is sent."""
    helo: str | None = "client.example"
    mail_from: str | bytes = "sender@client.example"
    """Without angle brackets; empty: the null reverse-path."""
    mail_args: tuple[str, ...] = ()
    """ESMTP parameters of MAIL."""
    rcpts: tuple[str | bytes, ...] = ("rcpt@rcpt.example",)
    queue_id: str | None = None
    """None: the client makes one."""
    macros: Mapping[str, str] = field(default_factory=dict)
    """Macros that replace those of the MTA; one with an empty value is not sent."""

    @property
    def peer(self) -> tuple[str, str | None]:
        return self.client_ip, self.client_name


def to_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def path_payload(address: str | bytes) -> bytes:
    return b"<" + to_bytes(address) + b">\0"


def _name(envelope: SmtpEnvelope) -> str:
    return envelope.client_name or f"[{envelope.client_ip}]"


def macro_values(envelope: SmtpEnvelope, queue_id: str) -> dict[str, str]:
    """All macros that the MTA could send; Connection.macros chooses those of an event."""
    address = f"IPv6:{envelope.client_ip}" if ":" in envelope.client_ip else envelope.client_ip
    values = {
        "j": HOST,
        "v": "Postfix 3.7.11",
        "i": queue_id,
        "_": f"{_name(envelope)} [{envelope.client_ip}]",
        "{daemon_name}": HOST,
        "{daemon_addr}": "127.0.0.1",
        "{client_addr}": address,
        "{client_name}": envelope.client_name or "unknown",
        "{client_ptr}": envelope.client_name or "unknown",
        "{client_port}": str(CLIENT_PORT),
        "{mail_addr}": to_bytes(envelope.mail_from).decode("utf-8", "replace"),
        "{mail_mailer}": "smtp",
        "{rcpt_mailer}": "smtp",
    }
    return values | dict(envelope.macros)


def connect_payload(envelope: SmtpEnvelope) -> bytes:
    name = _name(envelope).encode() + b"\0"
    if envelope.client_ip == "unknown":
        return name + b"U"
    if envelope.client_ip == "unix":
        return b"localhost\0L" + struct.pack("!H", 0) + b"/run/client\0"
    family = b"6" if ip_address(envelope.client_ip).version == 6 else b"4"
    return name + family + struct.pack("!H", CLIENT_PORT) + envelope.client_ip.encode() + b"\0"
