"""Networks that are wider than an administrator can mean."""

from ipaddress import ip_network

import pytest

from dmarcmilter.config_check.wide_networks import MAX_SHOWN, too_wide


def said(*networks):
    return too_wide(map(ip_network, networks))


@pytest.mark.parametrize(
    "networks",
    [
        (),
        ("198.51.0.0/16", "2001:db8::/32"),
        ("10.0.0.0/8", "fc00::/7", "fe80::/10", "127.0.0.0/8"),
        ("198.50.0.0/16", "198.53.0.0/16"),
    ],
)
def test_networks_of_one_organization(networks):
    assert said(*networks) == []


def test_one_prefix_bit_shorter_is_too_wide():
    assert said("198.50.0.0/15") == ["holds much of the IPv4 Internet (198.50.0.0/15)"]
    assert said("2600::/31") == ["holds much of the IPv6 Internet (2600::/31)"]


def test_neighbors_count_together():
    assert said("198.50.0.0/16", "198.51.0.0/16") == ["holds much of the IPv4 Internet (198.50.0.0/15)"]
    assert said("0.0.0.0/1", "128.0.0.0/1") == ["holds all of IPv4"]


def test_all_of_one_version_is_said_once_and_the_other_by_itself():
    assert said("::/0", "0.0.0.0/0", "2600::/16") == ["holds all of IPv4", "holds all of IPv6"]


def test_so_many_networks_are_named():
    [text] = said(*(f"{first}.0.0.0/8" for first in range(20, 50, 2)))
    assert text.count("/8") == MAX_SHOWN
