"""dmarcmilter.dns.name_servers: order, and the TCP exchange."""

import pytest

from dmarcmilter.dns import name_servers as dnsservers
from dmarcmilter.dns.name_servers import Servers


def test_the_silent_are_asked_last_until_they_answer_or_it_is_forgotten(monkeypatch):
    servers = Servers([("127.0.0.1", 1), ("::1", 2), ("127.0.0.1", 3)])
    one, two, three = servers.ranked()
    servers.was_silent(one)
    assert servers.ranked() == (two, three, one)
    servers.answered(one)
    assert servers.ranked() == (one, two, three)
    monkeypatch.setattr(dnsservers, "SILENCE_REMEMBERED", -1.0)
    servers.was_silent(one)
    assert servers.ranked() == (one, two, three)


def test_only_literal_addresses():
    with pytest.raises(OSError):
        Servers([("localhost", 53)])
