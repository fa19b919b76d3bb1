"""dkimpy as a second opinion, where it is right."""

import re

import dkim
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dmarcmilter.mail.message import Header
from tests.support import signing

PIECES = [b" ", b"\t", b"\r\n", b"word", b"  ", b"\xe9", b".", b"\x0b", b" \r\n"]


def pem():
    return signing.rsa_key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def record(*_, **__):
    """A dnsfunc: every name has the one key."""
    return signing.key_record(signing.rsa_key())


def passes(message):
    try:
        return dkim.DKIM(message).verify(dnsfunc=record)
    except dkim.ValidationError:
        return False


def split(message):
    """Header fields and body of a message with CRLF."""
    head, _, body = message.partition(b"\r\n\r\n")
    return [Header(*line.split(b":", 1)) for line in re.split(rb"\r\n(?![ \t])", head)], body


def random_message(rng, ways):
    """A message that dkimpy signed, as often as not damaged since."""
    subject = b" Re:  some\r\n\t text " + rng.choice([b"", b"\t", b"!"])
    body = b"".join(rng.choice(PIECES) for _ in range(rng.randrange(20))) + b"\r\n"
    head = b"From: a@example.org\r\nSubject:" + subject + b"\r\nX: y\r\n"
    ways = tuple(way.encode() for way in ways.split("/"))
    field = dkim.sign(head + b"\r\n" + body, b"sel", b"example.org", pem(), canonicalize=ways)
    if rng.random() < 0.6:
        body = _damaged(rng, body[:-2]) + b"\r\n"
    if rng.random() < 0.3:
        head = head.replace(b"some", rng.choice([b"some ", b"SOME", b"so me"]))
    return field + head + b"\r\n" + body


def _damaged(rng, text):
    at = rng.randrange(len(text) + 1)
    text = text[:at] + rng.choice([b"", b" ", b"\t", b"x", b"\r\n", b"\r\n\r\n"]) + text[at + rng.randrange(2) :]
    return re.sub(rb"\r\n|\r|\n", b"\r\n", text)  # dkimpy takes a bare CR or LF for a line end


def sealed_message():
    """A message with one ARC Set of dkimpy's."""
    text = b"From: a@example.org\r\nSubject: Hi\r\nAuthentication-Results: mx.example; arc=none\r\n\r\nHello.\r\n"
    return b"".join(dkim.arc_sign(text, b"arc", b"hop1.example", pem(), b"mx.example")) + text


def chain_status(message):
    return dkim.arc_verify(message, dnsfunc=record)[0].decode()
