"""Our reports pass DMARC: signed so that dkimpy and our own filter verify them."""

import base64
from datetime import UTC, datetime

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dmarcmilter.config.schema import ReportFormat
from dmarcmilter.mail import message_file
from dmarcmilter.mail.message import Message
from dmarcmilter.pipeline import read
from dmarcmilter.reports.aggregate.mail_message import Attachment, compose
from dmarcmilter.reports.delivery.dkim_signing import KeyUnusableError, ReportSigner, private_key, signed
from dmarcmilter.reports.sender import Sender
from tests.support import outcomes
from tests.support.signing import ed25519_key, key_record, rsa_key
from tests.support.zone import Zone

NOW = datetime(2027, 1, 17, 1, 2, 3, tzinfo=UTC)
SENDER = Sender("Example Receiver", "dmarc@receiver.example")


def attachment(content=b"x" * 3000):
    return Attachment("a" * 32, "example.com", 0, 86_399, ReportFormat.RFC9990, "receiver.example", content, 3)


def judged(raw, zone):
    """By the whole of our own filter, as any message that comes."""
    found = message_file.parse(raw)
    reading = read(found.headers)
    reading.body.feed(found.body)
    envelope = outcomes.envelope(mail_from=b"", received_at=datetime.now(UTC))
    made = outcomes.processed(Message(envelope, found.headers, size=len(raw)), reading, zone, outcomes.settings())
    return made.record().dmarc.result


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_it_passes_dmarc(kind):
    # AGG-12
    key = rsa_key() if kind == "rsa" else ed25519_key()
    text = pkcs8(key) if kind == "rsa" else base64.b64encode(key.private_bytes_raw())
    message = signed(
        compose(attachment(), SENDER, "rua@example.com", NOW), ReportSigner("receiver.example", "dmarc", text)
    )
    zone = Zone(
        {
            "dmarc._domainkey.receiver.example": key_record(key).decode(),
            "_dmarc.receiver.example": "v=DMARC1; p=reject; adkim=s",
        }
    )
    assert judged(message, zone) == "pass"
    assert judged(message.replace(b"Report Domain", b"report Domain"), zone) == "fail"
    assert judged(message.replace(b"From: Ex", b"From: x@example.org\r\nFrom: Ex"), zone) != "pass"
    assert judged(message[:-100], zone) == "fail"


@pytest.mark.parametrize("kind", ["rsa", "ed25519", "ed25519 pem"])
@pytest.mark.parametrize("body", [b"", b"a  b \t \r\n\r\n\r\n", b"no line end", b"\r\n"])
def test_dkimpy_verifies_it(kind, body):
    key = rsa_key() if kind == "rsa" else ed25519_key()
    text = base64.b64encode(key.private_bytes_raw()) if kind == "ed25519" else pkcs8(key)
    head = compose(attachment(), SENDER, "rua@example.com", NOW).partition(b"\r\n\r\n")[0]
    message = signed(head + b"\r\n\r\n" + body, ReportSigner("receiver.example", "s", text))
    assert dkim.verify(message, dnsfunc=lambda name, timeout=5: key_record(key))
    assert not dkim.verify(message.replace(b"Auto-", b"X-Auto-"), dnsfunc=lambda name, timeout=5: key_record(key))
    assert max(map(len, message.partition(b"\r\n\r\n")[0].split(b"\r\n"))) < 200


def pkcs8(key):
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


@pytest.mark.parametrize(
    "key",
    [
        b"", b"x", b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n",
        pkcs8(ec.generate_private_key(ec.SECP256R1())),
        pkcs8(ed25519_key()).replace(b"PRIVATE", b"PUBLIC"),
    ],
)  # fmt: skip
def test_what_is_no_key(key):
    with pytest.raises(KeyUnusableError):
        private_key(key)
