"""The names of a client that DNS confirms in both directions: its address has the name, and the name the address.

They are looked up here and not taken from the MTA, which may be set to look up nothing, and MTAs report names and
"unknown" in different ways. HELO and MAIL FROM are the client's own words and prove nothing.
"""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address

from dmarcmilter.dns.lookup import Answer, Lookup, Status
from dmarcmilter.mail import domain as domains
from dmarcmilter.mail.domain import Domain, is_within
from dmarcmilter.policy.facts import ClientNames

MAX_NAMES = 50
"""Names of one address that are compared with the trusted ones; further ones, of which anyone may publish any number,
are ignored."""
MAX_CONFIRMATIONS = 5
"""Names whose addresses are looked up; further ones are ignored. An honest client has one."""
MAX_ADDRESSES = 250
"""Addresses of one name that are compared with the client's; further ones are ignored."""


def confirmed(client: IPv4Address | IPv6Address, trusted: Collection[Domain], lookup: Lookup) -> ClientNames:
    """The client's confirmed names at or below one of the trusted domains. No other name is looked up."""
    answer = lookup(client.reverse_pointer, "PTR")
    if answer.status is Status.FAILED:
        return ClientNames(failed=True)
    rdtype = "A" if client.version == 4 else "AAAA"
    names, failed = [], False
    for name in _candidates(answer, trusted):
        forward = lookup(name, rdtype)
        failed = failed or forward.status is Status.FAILED
        if _has(forward, client):
            names.append(name)
    return ClientNames(tuple(names), failed)


def _candidates(answer: Answer, trusted: Collection[Domain]) -> list[Domain]:
    names = [domains.parse(record) for record in answer.records[:MAX_NAMES] if isinstance(record, str)]
    within = [name for name in names if name and any(is_within(name, domain) for domain in trusted)]
    return list(dict.fromkeys(within))[:MAX_CONFIRMATIONS]


def _has(answer: Answer, client: IPv4Address | IPv6Address) -> bool:
    return any(isinstance(record, str) and _is(record, client) for record in answer.records[:MAX_ADDRESSES])


def _is(text: str, client: IPv4Address | IPv6Address) -> bool:
    try:
        return ip_address(text) == client
    except ValueError:
        return False
