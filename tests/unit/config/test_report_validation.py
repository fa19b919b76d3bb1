"""What [reports] must be when reports are on. (The values of single keys: unit/config/test_load.py.)"""

import pytest

from dmarcmilter.config.report_validation import parse_relay, problem
from dmarcmilter.config.schema import ReportsSection


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"email": "a@example.net"}, ""),
        ({}, "email: needed"),
        ({"email": "a@example.net", "sign_domain": "example.net"}, "sign_domain, sign_selector, sign_key: all"),
        ({"email": "a@mx.example.net", "sign_domain": "example.net", "sign_selector": "s", "sign_key": "k"}, ""),
        (
            {"email": "a@example.net", "sign_domain": "example.com", "sign_selector": "s", "sign_key": "k"},
            "sign_domain",
        ),
        ({"email": "a@example.net", "relay": ""}, ""),
        ({"email": "a@example.net", "exclude": ("x@example.com", "example.org")}, ""),
        ({"email": "a@example.net", "bounce_address": "b+{token}@example.net"}, ""),
    ],
)
def test_enabled(keys, expected):
    found = problem(ReportsSection(enabled=True, **keys))
    assert found.startswith(expected)
    assert bool(found) == bool(expected)


def test_what_is_off_needs_nothing():
    assert not problem(ReportsSection())


def test_relay():
    assert parse_relay("mx.example.net") == ("mx.example.net", 25)
    assert parse_relay("127.0.0.1:587") == ("127.0.0.1", 587)
    assert parse_relay("[::1]:26") == ("::1", 26)
    for wrong in ("", "::1", "a b:25", "host:99999"):
        with pytest.raises(ValueError):
            parse_relay(wrong)
