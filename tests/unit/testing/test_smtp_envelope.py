"""What the tests' MTA tells a milter about a session."""

import pytest

from dmarcmilter.testing.smtp_envelope import SmtpEnvelope, connect_payload, macro_values, path_payload


@pytest.mark.parametrize(
    ("envelope", "payload"),
    [
        (SmtpEnvelope(), b"[192.0.2.1]\x004\x9c@192.0.2.1\x00"),
        (SmtpEnvelope(client_name="mx.example"), b"mx.example\x004\x9c@192.0.2.1\x00"),
        (SmtpEnvelope(client_ip="2001:db8::1"), b"[2001:db8::1]\x006\x9c@2001:db8::1\x00"),
        (SmtpEnvelope(client_ip="unknown"), b"[unknown]\x00U"),
        (SmtpEnvelope(client_ip="unix"), b"localhost\x00L\x00\x00/run/client\x00"),
    ],
)
def test_the_client_as_the_milter_protocol_has_it(envelope, payload):
    assert connect_payload(envelope) == payload


@pytest.mark.parametrize(
    ("address", "payload"),
    [
        ("", b"<>\x00"),
        ("a@b.example", b"<a@b.example>\x00"),
        ("\u00e4@b", b"<\xc3\xa4@b>\x00"),
        (b"\xff@b", b"<\xff@b>\x00"),
    ],
)
def test_paths_of_any_bytes(address, payload):
    assert path_payload(address) == payload


def test_macros_of_postfix():
    values = macro_values(SmtpEnvelope(client_ip="2001:db8::1", mail_from=b"\xff@b"), "4ABC")
    assert values["{client_addr}"] == "IPv6:2001:db8::1"
    assert (values["{client_name}"], values["i"], values["{mail_addr}"]) == ("unknown", "4ABC", "\ufffd@b")


def test_macros_that_a_test_replaces():
    assert macro_values(SmtpEnvelope(macros={"{auth_type}": "PLAIN", "i": ""}), "4ABC") | {} == (
        macro_values(SmtpEnvelope(), "4ABC") | {"{auth_type}": "PLAIN", "i": ""}
    )
