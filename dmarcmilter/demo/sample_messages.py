"""The messages of the demonstration, and the DNS zone of their domains."""

import base64
from collections.abc import Mapping
from email.utils import formatdate
from functools import cache
from typing import Any

import authheaders
import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from dmarcmilter.value import Value

SELECTOR = "demo"
OUTSIDE = "203.0.113.9"
"""Address of a client that no domain of the demonstration authorizes."""
BANK_SERVER = "192.0.2.10"
LIST_SERVER = "192.0.2.20"
LIST_DOMAIN = "lists.example"
BODY = "Hello.\r\n"
SIGNED = [b"From", b"To", b"Subject", b"Date", b"Message-ID"]


class Sample(Value):
    title: str
    message: bytes
    client_ip: str = OUTSIDE
    helo: str = "mail.somewhere.example"
    mail_from: str = "someone@somewhere.example"


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _private() -> bytes:
    return _key().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _key_record() -> str:
    public = (
        _key()
        .public_key()
        .public_bytes(
            serialization.Encoding.DER,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
    )
    return f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"


def zone() -> Mapping[str, Any]:
    """The DNS zone of the sample domains, as a table for `testing.name_server`."""
    policies = {
        "bank.example": "v=DMARC1; p=reject; sp=quarantine; np=reject; rua=mailto:dmarc@bank.example",
        "shop.example": "v=DMARC1; p=quarantine",
        "club.example": "v=DMARC1; p=none",
        "trial.example": "v=DMARC1; p=reject; t=y",
    }
    records: dict[str, dict[str, Any]] = {f"_dmarc.{name}": {"TXT": [text]} for name, text in policies.items()}
    for name in ("bank.example", LIST_DOMAIN):
        records[f"{SELECTOR}._domainkey.{name}"] = {"TXT": [_key_record()]}
    records["bank.example"] = {"TXT": [f"v=spf1 ip4:{BANK_SERVER} -all"]}
    records["branch.bank.example"] = {"A": [BANK_SERVER]}
    records["somewhere.example"] = {"TXT": ["v=spf1 -all"]}
    return records


def _message(sender: str, subject: str, *, more: str = "", body: str = BODY) -> bytes:
    return (
        f"From: {sender}\r\nTo: you@here.example\r\nSubject: {subject}\r\nDate: {formatdate()}\r\n"
        f"Message-ID: <{abs(hash((sender, subject)))}@demo.example>\r\n{more}\r\n{body}"
    ).encode()


def _signed(message: bytes) -> bytes:
    """The message with the bank's signature."""
    signature: bytes = dkim.sign(message, SELECTOR.encode(), b"bank.example", _private(), include_headers=SIGNED)
    return signature + message


def _through_a_list() -> bytes:
    """A message that the bank signed, and a mailing list changed and sealed."""
    original = _signed(_message("Bank <info@bank.example>", "Meeting"))
    changed = original.replace(b"Subject: Meeting", b"Subject: [members] Meeting")
    results = b"Authentication-Results: lists.example; arc=none; dmarc=pass header.from=bank.example\r\n"
    fields = authheaders.sign_message(
        results + changed,
        SELECTOR.encode(),
        LIST_DOMAIN.encode(),
        _private(),
        [b"from", b"to", b"subject", b"date", b"message-id"],
        sig="ARC",
        srv_id=LIST_DOMAIN.encode(),
        standardize=False,
    )
    return b"".join(fields) + changed


def samples(body: str = BODY) -> list[Sample]:
    spoof = "Bank <info@bank.example>"
    return [
        Sample("signed by its author", _signed(_message(spoof, "Statement", body=body)), client_ip=LIST_SERVER),
        Sample(
            "from its author's server",
            _message(spoof, "Notice"),
            client_ip=BANK_SERVER,
            helo="mail.bank.example",
            mail_from="bounce@bank.example",
        ),
        Sample("forged, p=reject", _message(spoof, "Your account")),
        Sample("forged, subdomain that exists: sp", _message("info@branch.bank.example", "Your account")),
        Sample("forged, subdomain that does not: np", _message("info@login.bank.example", "Your account")),
        Sample("forged, p=quarantine", _message("Shop <sales@shop.example>", "Your order")),
        Sample("forged, p=none", _message("news@club.example", "News")),
        Sample("forged, p=reject; t=y", _message("info@trial.example", "Trial")),
        Sample(
            "changed by a list that we trust (ARC)",
            _through_a_list(),
            client_ip=LIST_SERVER,
            mail_from=f"members-bounces@{LIST_DOMAIN}",
        ),
        Sample("changed by a list unknown to us", _message(spoof, "[all] Hi", more="List-Id: <all.club.example>\r\n")),
        Sample(
            "with a forged Authentication-Results",
            _message("news@club.example", "Trust me", more="Authentication-Results: mx.demo.example; dmarc=pass\r\n"),
        ),
        Sample("two From fields", b"From: news@club.example\r\n" + _message(spoof, "Which one?")),
        Sample("a domain without any policy", _message("me@nopolicy.example", "Hello")),
        Sample("a bounce (null sender)", _message("postmaster@nopolicy.example", "Undelivered"), mail_from=""),
    ]
