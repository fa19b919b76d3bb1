"""Networks in the conf file that are wider than the administrator can mean."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from dmarcmilter.mail.ip_types import IpNetwork

WIDE = {4: 15, 6: 31}
"""Longest prefix, by IP version, of a public network that is too wide: one organization may have a /16 or IPv6 /32."""
MAX_SHOWN = 3
"""Number of wide networks that a message names; further ones are left out."""


def too_wide(networks: Iterable[IpNetwork]) -> list[str]:
    """A text for each IP version whose networks are too wide, to follow the name of the key; empty when none are."""
    given = tuple(networks)
    # Merged first, so that two halves of the Internet count as all of it.
    merged4: list[IpNetwork] = list(collapse_addresses(each for each in given if isinstance(each, IPv4Network)))
    merged6: list[IpNetwork] = list(collapse_addresses(each for each in given if isinstance(each, IPv6Network)))
    texts = []
    for name, merged in (("IPv4", merged4), ("IPv6", merged6)):
        wide = [network for network in merged if network.prefixlen <= WIDE[network.version] and _is_public(network)]
        if any(network.prefixlen == 0 for network in merged):
            texts.append(f"holds all of {name}")
        elif wide:
            texts.append(f"holds much of the {name} Internet ({', '.join(map(str, wide[:MAX_SHOWN]))})")
    return texts


def _is_public(network: IpNetwork) -> bool:
    return not (network.is_private or network.is_loopback or network.is_link_local)
