"""Name servers from the conf file or from the system. (Questions and answers: wire/dns/test_resolver.py.)"""

import pytest

from dmarcmilter.dns import resolver as module
from dmarcmilter.dns.resolver import Resolver, system_nameservers


def test_no_name_servers_is_a_mistake():
    with pytest.raises(ValueError):
        Resolver([])


def test_system_nameservers(monkeypatch):
    def broken(*_args, **_options):
        raise module.dns.resolver.NoResolverConfiguration

    assert all(isinstance(address, str) and port == 53 for address, port in system_nameservers())
    monkeypatch.setattr(module.dns.resolver, "Resolver", broken)
    assert system_nameservers() == [("127.0.0.1", 53)]
