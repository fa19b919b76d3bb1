"""The envelope of a message in a file: options first, then fields that the receiver's own hosts wrote, then guesses."""

from ipaddress import ip_address, ip_network

import pytest

from dmarcmilter.cli.check_envelope import Given, envelope_of
from dmarcmilter.mail import message_file, received
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.mbox import Stored

OWN = (Domain("mx.example.net"),)
INNER = ip_network("10.0.0.0/8")
RETURN_PATH = "Return-Path: <news@bank.example>\r\n"
NOTHING = Given(client=None, helo=None, mail_from=None, recipients=(), queue_id="")


def hop(client="192.0.2.1", by="mx.example.net", helo="mail.bank.example", more=""):
    return f"Received: from {helo} (unknown [{client}])\r\n\tby {by} (Postfix) with ESMTP{more}; date\r\n"


def envelope(header, separator=None, **given):
    values = {name: getattr(NOTHING, name) for name in Given.__slots__} | given
    raw = f"{header}From: a@bank.example\r\n\r\nbody\r\n".encode()
    return envelope_of(
        message_file.parse(raw),
        Stored(raw, separator),
        Given(**values),
        own_names=OWN,
        is_own=lambda address: address.version == 4 and address in INNER,
    )


def summary(header, separator=None, **given):
    made, source = envelope(header, separator, **given)
    return str(made.client_ip), made.helo.decode(), made.mail_from.decode(), source.client, source.mail_from


KNOWN = ("192.0.2.1", "mail.bank.example", "news@bank.example")


def test_all_from_fields_of_the_receivers_own_host():
    assert summary(RETURN_PATH + hop()) == (*KNOWN, "received", "return_path")


def test_fields_of_other_hosts_are_guesses():
    assert summary(RETURN_PATH + hop(by="mx.elsewhere.example")) == (*KNOWN, "guess", "return_path")


def test_hops_within_the_network_are_passed_over():
    inner = hop("10.0.0.7", by="store.example.net", helo="mx.example.net")
    assert summary(RETURN_PATH + inner + hop() + hop("198.51.100.9")) == (*KNOWN, "received", "return_path")


def test_a_return_path_below_the_receivers_field_may_be_the_senders():
    *_, mail_from = summary(hop() + RETURN_PATH)
    assert mail_from == "guess"


def test_without_a_return_path_the_sender_that_exim_recorded_counts():
    field = hop().replace("(Postfix)", "with esmtp\r\n\t(envelope-from <x@y.example>)")
    assert summary(field)[2:] == ("x@y.example", "received", "received")


@pytest.mark.parametrize(
    ("separator", "sender"),
    [(b"joe@bank.example", "joe@bank.example"), (b"MAILER-DAEMON", ""), (b"<>", "")],
)
def test_the_sender_in_an_mbox_separator(separator, sender):
    assert summary(hop(), separator)[2:] == (sender, "received", "mbox")


def test_a_null_return_path_is_a_sender():
    made, source = envelope("Return-Path: <>\r\n" + hop())
    assert (made.mail_from, str(made.client_ip), source.mail_from) == (b"", "192.0.2.1", "return_path")


def test_options_win_over_the_message():
    made, source = envelope(
        RETURN_PATH + hop(),
        client=ip_address("192.0.2.1"),
        helo="",
        mail_from="<other@example.org>",
        recipients=("<joe@example.net>",),
        queue_id="4ABC",
    )
    assert (made.helo, made.mail_from, made.recipients) == (b"", b"other@example.org", (b"joe@example.net",))
    assert (made.queue_id, source.client, source.mail_from, source.text) == ("4ABC", "option", "option", "")


def test_a_field_about_another_client_than_the_option_names_is_not_used():
    """Its HELO name and sender belong to the other client."""
    made, source = envelope(hop(), client=ip_address("198.51.100.9"))
    assert (made.helo, source.client, source.mail_from) == (b"", "option", "unknown")


def test_without_a_sender_spf_has_no_client_to_check():
    made, source = envelope(hop())
    assert (made.client_ip, made.mail_from, source.mail_from) == (None, b"", "unknown")
    assert source.text.endswith("MAIL FROM unknown: there is no Return-Path; give --mail-from.\nSPF is not checked.")


def test_nothing_is_known():
    made, source = envelope("")
    assert (made.client_ip, source.client, source.mail_from) == (None, "unknown", "unknown")
    assert source.text.startswith("Client unknown: no Received field names one outside of [ignore] networks; ")


def test_what_is_printed_of_hostile_fields_is_printable():
    """HELO and the sender are whatever the peer wrote."""
    hostile = "\x1b]0;pwned\x07\u202e"
    _, source = envelope(f"Return-Path: <{hostile}@bank.example>\r\n" + hop(helo=hostile))
    assert source.client == "received"
    assert all(line.isprintable() and line.isascii() for line in source.text.splitlines())


def test_more_fields_than_are_read_hide_the_client():
    flood = hop("10.0.0.7") * received.MAX_HOPS
    assert summary(RETURN_PATH + flood + hop())[3] == "unknown"
