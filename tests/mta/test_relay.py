"""Reports through a real Postfix with TLS."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dmarcmilter.config.schema import StartTls
from dmarcmilter.reports.delivery.relay import DeliveryResult, Relay, SmtpRelay
from tests.support.mta.postfix import PostfixServer, missing_postfix
from tests.support.mta.smtp_sink import Sink
from tests.support.relays import sent
from tests.support.signing import rsa_key


def certificate(directory):
    key = rsa_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    both = directory / "both.pem"
    both.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM)
    )
    (directory / "ca.pem").write_bytes(made.public_bytes(Encoding.PEM))
    return both, directory / "ca.pem"


class PostfixWithTls(PostfixServer):
    def _write_configuration(self):
        super()._write_configuration()
        with (self.config / "master.cf").open("a") as services:
            services.write("tlsmgr    unix - - n 1000? 1 tlsmgr\n")


@pytest.mark.skipif(bool(missing_postfix()), reason=missing_postfix())
def test_a_real_postfix_with_tls(tmp_path):
    # AGG-11
    both, ca = certificate(tmp_path)
    settings = {
        "smtpd_tls_security_level": "may",
        "smtpd_tls_chain_files": str(both),
        "smtpd_tls_loglevel": "1",
    }
    with Sink() as sink, PostfixWithTls("", sink_port=sink.port, settings=settings) as server:

        def relay(starttls, ca_file=""):
            found = Relay("127.0.0.1", server.port, "mx.receiver.example", starttls, ca_file)
            return SmtpRelay(found, seconds=20)

        assert sent(relay(StartTls.REQUIRED, str(ca))) == (DeliveryResult.SENT, True)
        assert sent(relay(StartTls.OPPORTUNISTIC)) == (DeliveryResult.SENT, True)
        assert sent(relay(StartTls.REQUIRED)) == (DeliveryResult.UNAVAILABLE, False)
        assert sent(relay(StartTls.NEVER)) == (DeliveryResult.SENT, True)
        arrived = sink.wait(3)
        assert all(delivery.data.endswith(b"x\r\n.dot\r\n") for delivery in arrived)
        server.wait_for_log(r"TLS connection established from .*127.0.0.1")
