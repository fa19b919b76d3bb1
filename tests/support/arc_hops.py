"""Sites that seal, as functions from message to message: the whole pipeline, the plan, the seal, the header edited."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import dkim
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dmarcmilter.mail.message import Header, Message
from dmarcmilter.outcome import Outcome
from dmarcmilter.pipeline import process, read
from dmarcmilter.response import arc_key as sealkey
from dmarcmilter.response import arc_sealing_decision
from dmarcmilter.response.actions import ChangeHeader, DeleteHeader, InsertHeader
from dmarcmilter.response.arc_sealing_decision import Sealer
from dmarcmilter.value import replace
from tests.support import outcomes, signing
from tests.support.zone import Zone

AUTHOR_SERVER = "192.0.2.10"
ZONE = {
    "author.example": "v=spf1 ip4:192.0.2.10 -all",
    "_dmarc.author.example": "v=DMARC1; p=reject",
    "fwd.example": "v=spf1 ip4:192.0.2.20 -all",
}
MESSAGE = (
    b"Received: from a by b; Sun, 22 Nov 2026 08:00:00 +0000\r\nFrom: Author <a@author.example>\r\n"
    b"To: you@fwd.example\r\nSubject: Some\r\n\tfolded  subject\r\nDate: Sun, 22 Nov 2026 08:00:00 +0000\r\n"
    b"Message-ID: <1@author.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
    b"\r\nHello,  \r\n\r\nworld.\r\n\r\n"
)


def pem_file(path, key=None, form=PrivateFormat.TraditionalOpenSSL):
    path.write_bytes((key or signing.rsa_key()).private_bytes(Encoding.PEM, form, NoEncryption()))
    path.chmod(0o600)
    return str(path)


def zone(*domains, key=None, more=None, failed=()):
    """With the seals' keys of these domains."""
    record = signing.key_record(key or signing.rsa_key()).decode()
    return Zone(ZONE | {f"seal._domainkey.{name}": record for name in domains} | (more or {}), failed)


@dataclass(frozen=True)
class Passed:
    """What a site made of a message."""

    outcome: Outcome
    raw: bytes

    @property
    def headers(self):
        return fields_of(self.raw)[0]

    def values(self, name):
        return [field.value.decode() for field in self.headers if field.key == name.lower().encode()]


def fields_of(raw):
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = re.split(rb"\r\n(?![ \t])", head) if head else []
    return tuple(Header(name, value) for name, _, value in (line.partition(b":") for line in lines)), body


def raw_of(headers, body):
    return b"".join(b"%s:%s\r\n" % (field.name, field.value) for field in headers) + b"\r\n" + body


class Hop:
    """One site. `domain` seals; "" does not."""

    def __init__(self, directory, domain="fwd.example", *, zone, host="mx.fwd.example", **options: Any) -> None:
        self.host, self.lookup = host, zone
        key = sealkey.load(pem_file(directory / f"{host}.pem"), domain=domain, selector="seal") if domain else None
        recipients = frozenset(options.pop("recipients", ()))
        channel = options.pop("channel", outcomes.CHANNEL)
        self.sealer = Sealer(key, recipients) if key else None
        self.settings = outcomes.settings(
            rules=outcomes.rules(**options),
            quarantine=channel,
            host_name=host,
            seals=self.sealer is not None,
        )

    def __call__(self, raw, *, client_ip=AUTHOR_SERVER, mail_from=b"a@author.example", truncated="", rcpt=()):
        headers, body = fields_of(raw)
        envelope = outcomes.envelope(
            client_ip=ip_address(client_ip), mail_from=mail_from, received_at=datetime.now(UTC), recipients=rcpt
        )
        message = Message(envelope, headers, len(raw), truncated)
        reading = read(headers, further_hashes=[arc_sealing_decision.BODY] if self.sealer else [])
        reading.body.feed(body)
        outcome, response = process(message, reading, self.lookup, self.settings, authserv_id=self.host)
        if self.sealer:
            hashed = reading.body.finish()[arc_sealing_decision.BODY]
            outcome, response = arc_sealing_decision.sealed(outcome, response, hashed, self.sealer)
        return Passed(outcome, raw_of(edited(headers, response.changes), body))


def edited(headers, changes):
    """The header as an MTA edits it, one request after the other."""
    fields = list(headers)
    for action in changes:
        if isinstance(action, InsertHeader):
            fields.insert(0, Header(action.name.encode(), b" " + action.value.encode().replace(b"\n", b"\r\n")))
        if isinstance(action, DeleteHeader | ChangeHeader):
            key = action.name.lower().encode()
            found = [number for number, field in enumerate(fields) if field.key.strip() == key]
            number = found[action.occurrence - 1]
            if isinstance(action, DeleteHeader):
                del fields[number]
            else:
                value = b" " + action.value.encode().replace(b"\n", b"\r\n")
                fields[number] = replace(fields[number], value=value)
    return fields


def dkimpy_says(raw, lookup):
    """The chain by dkimpy: pass, fail, none, or "" for a chain that has ended."""

    def texts(name, timeout=5):
        return b"".join(lookup(name.decode().rstrip("."), "TXT").texts[:1])

    return (dkim.ARC(raw).verify(dnsfunc=texts)[0] or b"").decode()
