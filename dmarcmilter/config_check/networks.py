"""Networks in the conf file that hold more than their owner can mean."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

WIDE = {4: 15, 6: 31}
"""A public network with no longer prefix is more than one organisation's: a /16 or an IPv6 /32 is still one's own."""
MAX_SHOWN = 3

Network = IPv4Network | IPv6Network


def too_wide(networks: Iterable[Network]) -> list[str]:
    """What to say after the name of the key, for each version of IP."""
    given = tuple(networks)
    # Halves of the Internet, listed one by one, are the Internet, too.
    merged4: list[Network] = list(collapse_addresses(one for one in given if isinstance(one, IPv4Network)))
    merged6: list[Network] = list(collapse_addresses(one for one in given if isinstance(one, IPv6Network)))
    found = []
    for name, merged in (("IPv4", merged4), ("IPv6", merged6)):
        wide = [network for network in merged if network.prefixlen <= WIDE[network.version] and _is_public(network)]
        if any(network.prefixlen == 0 for network in merged):
            found.append(f"holds all of {name}")
        elif wide:
            found.append(f"holds much of the {name} Internet ({', '.join(map(str, wide[:MAX_SHOWN]))})")
    return found


def _is_public(network: Network) -> bool:
    return not (network.is_private or network.is_loopback or network.is_link_local)
