"""SMTP client, Postfix, the running filter and the next hop as one, and a zone of domains that sign and publish."""

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from dmarcmilter.testing.name_server import NameServer
from dmarcmilter.testing.postfix_headers import split_message
from tests.support.filter_daemon import FilterDaemon
from tests.support.mta.postfix import PostfixServer
from tests.support.mta.smtp_sink import Delivery, Sink

SPAMMER = "192.0.2.66"
SENDER = "192.0.2.10"
IDN = "xn--bcher-kva.example"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
)


def public_key() -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    lines = KEY.public_key().public_bytes(serialization.Encoding.PEM, form).decode().splitlines()
    return "v=DKIM1; k=rsa; p=" + "".join(lines[1:-1])


def domain(name: str, policy: str) -> dict[str, Any]:
    """A domain that signs as selector s, sends from one address, and publishes a policy."""
    return {
        name: {"TXT": [f"v=spf1 ip4:{SENDER} -all"], "MX": [[10, f"mx.{name}"]]},
        f"mx.{name}": {"A": [SENDER]},
        f"_dmarc.{name}": {"TXT": [f"v=DMARC1; {policy}; rua=mailto:r@{name}"]},
        f"s._domainkey.{name}": {"TXT": [public_key()]},
    }


ZONE = {
    **domain("none.example", "p=none"),
    **domain("quarantine.example", "p=quarantine"),
    **domain("reject.example", "p=reject"),
    **domain("zero.example", "p=reject; pct=0"),
    **domain("zeroquarantine.example", "p=quarantine; pct=0"),
    **domain("all.example", "p=reject; pct=100"),
    **domain("sp.example", "p=none; sp=reject"),
    **domain("np.example", "p=none; sp=none; np=reject"),
    **domain(IDN, "p=reject"),
    "sub.sp.example": {"A": [SENDER]},
    "sub.np.example": {"A": [SENDER]},
    "mail.reject.example": {"A": [SENDER], "TXT": [f"v=spf1 ip4:{SENDER} -all"]},
    "spammer.example": {"TXT": [f"v=spf1 ip4:{SPAMMER} -all"], "A": [SPAMMER]},
}


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of one message, as each of the four sees it."""

    code: int
    text: str
    queue_id: str
    """From Postfix's log."""
    record: dict[str, Any]
    delivery: Delivery | None
    held: bytes | None

    @property
    def header(self) -> list[tuple[bytes, bytes]]:
        """Of the message as delivered or as held."""
        assert self.delivery or self.held
        return self.delivery.headers if self.delivery else split_message(self.held or b"")[0]

    @property
    def results(self) -> str:
        """Our Authentication-Results, unfolded: the very first field, above Postfix's own trace."""
        (name, value), (trace, _) = self.header[:2]
        assert (name, trace) == (b"Authentication-Results", b"Received")
        return value.decode().replace("\r\n", "").strip()


class Mail:
    """The chain, and how a message is sent through it and found again."""

    def __init__(self, daemon: FilterDaemon, postfix: PostfixServer, sink: Sink) -> None:
        self.daemon, self.postfix, self.sink = daemon, postfix, sink
        self._numbers = itertools.count(1)

    def message(self, author: str, *, more: bytes = b"", body: bytes = b"Hello,\r\n\r\nworld.\r\n") -> bytes:
        lines = [
            f"From: {author}",
            "To: <rcpt@rcpt.example>",
            f"Message-ID: <{next(self._numbers)}@test.example>",
            "Date: Sun, 22 Nov 2026 08:00:00 +0000",
            "Subject: test",
        ]
        return more + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body

    def send(self, data: bytes, **envelope: Any) -> Sent:
        code, text = self.postfix.submit(data=data, **envelope)
        mark = re.search(rb"Message-ID: (<\S+>)", data)
        assert mark
        queue_id = self.postfix.wait_for_log(rf"(\w+): message-id={re.escape(mark[1].decode())}")[1]
        record = self.daemon.record(queue_id)
        held = self.postfix.held_message(queue_id) if queue_id in self.postfix.hold_queue() else None
        delivered = code == 250 and held is None
        delivery = self.sink.find(f"id {queue_id}".encode()) if delivered else None
        return Sent(code, text, queue_id, record, delivery, held)

    def spoof(self, author: str, **keywords: bytes) -> Sent:
        """Somebody else's domain in From, own domain in the envelope (and that with an SPF pass)."""
        envelope = {"client_ip": SPAMMER, "helo": "spammer.example", "mail_from": "bounce@spammer.example"}
        return self.send(self.message(author, **keywords), **envelope)


@contextlib.contextmanager
def running_mail(
    zone: Mapping[str, Any] = ZONE, settings: Mapping[str, str] | None = None, **sections: Mapping[str, Any]
) -> Iterator[Mail]:
    """`sections`: of the filter's conf file, beside what the chain needs. `settings`: of Postfix's main.cf."""
    with NameServer(dict(zone)) as dns, Sink() as sink:
        conf = {
            "dns": {"nameservers": [f"127.0.0.1:{dns.port}"]},
            "identity": {"authserv_id": "mx.test.example"},
            **sections,
        }
        with (
            FilterDaemon(conf) as daemon,
            PostfixServer(daemon.address, sink_port=sink.port, settings=settings) as postfix,
        ):
            yield Mail(daemon, postfix, sink)


def signed(message: bytes, name: str, *, canonicalization: str = "relaxed/relaxed") -> bytes:
    forms = tuple(word.encode() for word in canonicalization.split("/"))
    fields = [b"from", b"to", b"subject", b"date", b"message-id"]
    return dkim.sign(message, b"s", name.encode(), PRIVATE, canonicalize=forms, include_headers=fields) + message
