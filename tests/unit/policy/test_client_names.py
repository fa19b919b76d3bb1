from ipaddress import ip_address

import pytest

from dmarcmilter.mail.domain import Domain
from dmarcmilter.policy import client_names
from dmarcmilter.policy.facts import ClientNames
from tests.support.zone import Zone

CLIENT = ip_address("192.0.2.7")
PTR = "7.2.0.192.in-addr.arpa"
TRUSTED = (Domain("forward.example"),)


def asked(records, failed=(), client=CLIENT):
    zone = Zone(records, failed)
    return client_names.confirmed(client, TRUSTED, zone), zone


def test_confirmed_in_both_directions():
    found, _ = asked({PTR: {"PTR": ("mx.Forward.example.",)}, "mx.forward.example": {"A": ("192.0.2.7",)}})
    assert found == ClientNames(("mx.forward.example",))


def test_confirmed_over_ipv6():
    client = ip_address("2001:db8::7")
    records = {client.reverse_pointer: {"PTR": ("forward.example",)}, "forward.example": {"AAAA": ("2001:DB8:0::7",)}}
    assert asked(records, client=client)[0] == ClientNames(("forward.example",))


@pytest.mark.parametrize(
    "records",
    [
        {},
        {PTR: {"PTR": ("mx.forward.example",)}},
        {PTR: {"PTR": ("mx.forward.example",)}, "mx.forward.example": {"A": ("192.0.2.8",)}},
        {PTR: {"PTR": ("mx.forward.example",)}, "mx.forward.example": {"A": ("not an address",)}},
        {PTR: {"PTR": ("evilforward.example",)}, "evilforward.example": {"A": ("192.0.2.7",)}},
        {PTR: {"PTR": ("a b.forward.example", "..", "")}},
    ],
    ids=["no name", "no address", "another's address", "no address at all", "a stranger", "no names at all"],
)
def test_not_confirmed(records):
    # The owner of an address can give it any name: only the name's owner can confirm it.
    assert asked(records)[0] == ClientNames()


def test_names_of_strangers_are_not_asked_about():
    names = tuple(f"mx{n}.attacker.example" for n in range(40))
    found, zone = asked({PTR: {"PTR": (*names, "forward.example")}, "forward.example": {"A": ("192.0.2.7",)}})
    assert found == ClientNames(("forward.example",))
    assert zone.asked == [(PTR, "PTR"), ("forward.example", "A")]


def test_only_so_many_names_and_addresses():
    names = tuple(f"mx{n}.forward.example" for n in range(100))
    found, zone = asked({PTR: {"PTR": names}})
    assert found == ClientNames()
    assert len(zone.asked) == 1 + client_names.MAX_CONFIRMATIONS
    beyond = (*[f"mx{n}.attacker.example" for n in range(client_names.MAX_NAMES)], "forward.example")
    assert len(asked({PTR: {"PTR": beyond}})[1].asked) == 1
    addresses = tuple(f"10.0.{n // 250}.{n % 250}" for n in range(client_names.MAX_ADDRESSES))
    records = {PTR: {"PTR": ("forward.example",)}, "forward.example": {"A": (*addresses, "192.0.2.7")}}
    assert asked(records)[0] == ClientNames()


@pytest.mark.parametrize("failed", [PTR, "mx.forward.example"])
def test_what_dns_did_not_say(failed):
    records = {PTR: {"PTR": ("mx.forward.example",)}, "mx.forward.example": {"A": ("192.0.2.7",)}}
    assert asked(records, (failed,))[0] == ClientNames(failed=True)
