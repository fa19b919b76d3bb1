"""Texts that a session makes of what the MTA says. (Sessions: wire/milter/test_session.py.)"""

import pytest

from dmarcmilter.mail.message import address_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("IPv6:2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("IPv6:::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.256", None),
        ("", None),
        ("somewhere", None),
    ],
)
def test_address_text(text, expected):
    found = address_of(text)
    assert (str(found) if found else None) == expected
