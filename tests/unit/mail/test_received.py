"""Received fields as MTAs write them, and as senders forge them."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmarcmilter.mail import received
from dmarcmilter.mail.message import Header, address_of

FORMS = {
    "Postfix": (
        (
            b" from mail.example.org (mail.example.org [192.0.2.1])\r\n\tby mx.example.net with SMTP id 4A\r\n"
            b"\tfor <joe@example.net>; Fri, 15 Jan 2027 08:00:00 +0000 (UTC)"
        ),
        ("192.0.2.1", b"mail.example.org", "mx.example.net"),
    ),
    "Postfix, TLS": (
        (
            b" from mail.example.org (mail.example.org [192.0.2.1])\r\n"
            b"\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\r\n"
            b"\t key-exchange X25519 server-signature RSA-PSS (2048 bits))\r\n\t(No client certificate requested)\r\n"
            b"\tby mx.example.net (Postfix) with ESMTPS id 4ABC; Fri, 15 Jan 2027 08:00:00 +0000 (UTC)"
        ),
        ("192.0.2.1", b"mail.example.org", "mx.example.net"),
    ),
    "Postfix, IPv6": (
        b" from h (unknown [IPv6:2001:db8::1])\r\n\tby mx.example.net (Postfix) with SMTP; date",
        ("2001:db8::1", b"h", "mx.example.net"),
    ),
    "an address as HELO": (
        b" from [198.51.100.9] (mail.example.org [192.0.2.1])\r\n\tby mx.example.net (Postfix) with SMTP; date",
        ("192.0.2.1", b"[198.51.100.9]", "mx.example.net"),
    ),
    "Postfix, local": (
        b" by mx.example.net (Postfix, from userid 33)\r\n\tid 4ABC; date",
        (None, b"", "mx.example.net"),
    ),
    "Sendmail": (
        (
            b" from helo.example (rdns.example.org [192.0.2.1] (may be forged))\r\n\tby mx.example.net (8.17.1) with "
            b"ESMTP id 30F8;\r\n\tdate"
        ),
        ("192.0.2.1", b"helo.example", "mx.example.net"),
    ),
    "Sendmail, ident": (
        b" from helo.example (joe@rdns.example.org [IPv6:2001:db8::1])\r\n\tby mx.example.net with ESMTP;\r\n\tdate",
        ("2001:db8::1", b"helo.example", "mx.example.net"),
    ),
    "Exim": (
        (
            b" from rdns.example.org ([192.0.2.1] helo=helo.example)\r\n\tby mx.example.net with esmtps (Exim 4.96)\r\n"
            b"\t(envelope-from <a@b.example>)\r\n\tid 1q-0; date"
        ),
        ("192.0.2.1", b"helo.example", "mx.example.net"),
    ),
    "Exim, no name, an address as HELO": (
        b" from [192.0.2.1] (helo=[198.51.100.9])\r\n\tby mx.example.net with esmtp; date",
        ("192.0.2.1", b"[198.51.100.9]", "mx.example.net"),
    ),
    "qmail": (
        b" from unknown (HELO helo.example) (192.0.2.1)\r\n  by mx.example.net with SMTP; date",
        ("192.0.2.1", b"helo.example", "mx.example.net"),
    ),
    "Dovecot": (
        b" from mx.example.net\r\n\tby mx.example.net with LMTP\r\n\tid abc\r\n\t(envelope-from <a@b.example>); date",
        (None, b"mx.example.net", "mx.example.net"),
    ),
    "all on one line": (
        b" from mail.example.org (mail.example.org [192.0.2.1]) by mx.example.net (Postfix) with ESMTP id 4ABC; date",
        ("192.0.2.1", b"mail.example.org", "mx.example.net"),
    ),
    "LF at the ends of lines": (
        b" from mail.example.org (mail.example.org [192.0.2.1])\n\tby MX.example.net. (Postfix) with ESMTP; date",
        ("192.0.2.1", b"mail.example.org", "mx.example.net"),
    ),
    "no name server knows the client": (
        b" from h (unknown [192.0.2.1])\r\n\tby mx.example.net; date",
        ("192.0.2.1", b"h", "mx.example.net"),
    ),
    "mapped": (b" from h (unknown [IPv6:::ffff:192.0.2.1])\r\n\tby mx; date", ("192.0.2.1", b"h", "mx")),
    "nothing": (b"", (None, b"", None)),
    "nonsense": (b" once upon a time [in brackets] by", (None, b"", None)),
}
FORGED = {
    "HELO with an address": b"good.example (good.example [198.51.100.1])",
    "HELO with a host": b"good.example (good.example [198.51.100.1]) by mx.other.example (Postfix) with ESMTP; date",
    "HELO with Exim's word": b"helo=(x [198.51.100.1])",
    "HELO with a bracket": b"a ([198.51.100.1",
    "HELO with parentheses": b"((((([198.51.100.1]",
    "HELO with an address of IPv6": b"[IPv6:2001:db8::9]",
}


@pytest.mark.parametrize(("value", "expected"), FORMS.values(), ids=FORMS)
def test_forms(value, expected):
    hop = received.parse(value)
    address, helo, by = expected
    assert (hop.client, hop.helo, hop.by) == (address and ip_address(address), helo, by)
    assert hop.has_client is value.startswith(b" from")


def test_the_reverse_path_of_exim():
    assert received.parse(FORMS["Exim"][0]).mail_from == b"a@b.example"
    assert received.parse(FORMS["Postfix"][0]).mail_from is None


@pytest.mark.parametrize("helo", FORGED.values(), ids=FORGED)
def test_a_helo_name_cannot_name_another_client(helo):
    hop = received.parse(b" from %b (evil.example [192.0.2.66])\r\n\tby mx.example.net (Postfix); date" % helo)
    assert (hop.client, hop.by) == (ip_address("192.0.2.66"), "mx.example.net")


def test_the_name_in_a_client_certificate_cannot_either():
    hop = received.parse(
        b" from h (evil.example [192.0.2.66])\r\n\t(using TLSv1.3)\r\n"
        b'\t(Client CN "by x (y [198.51.100.1])", Issuer "(envelope-from <a@b.example>)" (not verified))\r\n'
        b"\tby mx.example.net (Postfix); date"
    )
    assert (hop.client, hop.by, hop.mail_from) == (ip_address("192.0.2.66"), "mx.example.net", None)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40), st.ip_addresses())
def test_whatever_the_helo_name_the_client_is_the_one_that_the_mta_saw(helo, address):
    written = f"IPv6:{address}" if address.version == 6 else address
    field = f" from {helo} (unknown [{written}])\r\n\tby mx.example.net (Postfix) with ESMTP id 4A; date".encode()
    hop = received.parse(field)
    assert (hop.client, hop.by) == (address_of(str(address)), "mx.example.net")


@given(st.binary(max_size=200))
def test_any_bytes(value):
    hop = received.parse(value)
    assert hop.client is None or hop.client.version in (4, 6)


OURS = {"mx.example.net"}


def inner(address):
    return address.version == 4 and address in ip_network("10.0.0.0/8")


def hop(client, by, helo=b"h"):
    return Header(b"Received", b" from %b (unknown [%b])\r\n\tby %b; date" % (helo, client.encode(), by.encode()))


OUTER = hop("192.0.2.1", "mx.example.net")
FORGED_OURS = hop("198.51.100.1", "mx.example.net")
LMTP = Header(b"received", b" from mx.example.net\r\n\tby mx.example.net with LMTP; date")
PICKUP = Header(b"Received", b" by mx.example.net (Postfix, from userid 33); date")
ENTRIES = {
    "ours on top": ([OUTER, FORGED_OURS], (0, True)),
    "other fields above": ([Header(b"Return-Path", b" <>"), OUTER], (1, True)),
    "delivered by LMTP": ([LMTP, OUTER, FORGED_OURS], (1, True)),
    "through an inner host": ([hop("10.0.0.2", "store.example.net"), OUTER], (1, True)),
    "not ours": ([hop("192.0.2.1", "mx.elsewhere.example"), FORGED_OURS], (0, False)),
    "handed in by a program here": ([PICKUP, FORGED_OURS], (1, False)),
    "only inner hosts": ([hop("10.0.0.2", "mx.example.net")], None),
    "none": ([Header(b"From", b" a@b.example")], None),
    "too many": ([LMTP] * received.MAX_HOPS + [OUTER], None),
}


@pytest.mark.parametrize(("headers", "expected"), ENTRIES.values(), ids=ENTRIES)
def test_entry(headers, expected):
    found = received.entry(headers, OURS, inner)
    assert (found and (found.index, found.is_ours)) == expected
