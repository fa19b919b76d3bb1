"""Reads OpenDMARC's lists of hosts: addresses, networks and names, with `!` before an exception."""

from ipaddress import ip_network

from dmarcmilter.mail.ip_types import IpNetwork
from dmarcmilter.opendmarc.config_file import printable
from dmarcmilter.value import Value

MAX_FILE = 1_048_576
"""Bytes of a list that are read; the rest is ignored."""
MAX_NETWORKS = 1_000
"""Number of networks taken over; further ones are left out. An exception can split a network into 128."""
MAX_ENTRY = 255
"""Characters of an entry; a longer one is cut off and names no host."""

LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"})
LOOPBACK: tuple[IpNetwork, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
"""Addresses that LOCAL_NAMES stand for (RFC 6761 6.3)."""


class Hosts(Value):
    """A list of hosts as networks."""

    networks: tuple[str, ...]
    left_out: tuple[str, ...]
    """Entries that are not taken over: names, and what is neither name nor network."""


def entries(raw: bytes) -> list[str]:
    """The entries of a list: one a line, `#` begins a comment."""
    lines = raw[:MAX_FILE].decode("utf-8", "replace").split("\n")
    words = (printable(line.partition("#")[0]).strip()[: MAX_ENTRY + 1] for line in lines)
    return [word for word in words if word]


def parse(raw: bytes) -> Hosts:
    """The networks of a list without its exceptions."""
    taken: dict[IpNetwork, None] = {}
    exceptions: list[IpNetwork] = []
    left_out = []
    for entry in entries(raw):
        networks = _networks(entry.removeprefix("!").strip())
        if not networks:
            left_out.append(entry)
        elif entry.startswith("!"):
            exceptions += networks
        else:
            taken |= dict.fromkeys(networks)
    left_out += [str(network) for network in list(taken)[MAX_NETWORKS:]]
    kept, unsplit = _without(list(taken)[:MAX_NETWORKS], exceptions)
    return Hosts(tuple(map(str, kept)), (*left_out, *(f"!{network}" for network in unsplit)))


def _networks(entry: str) -> tuple[IpNetwork, ...]:
    """The networks of an entry; none for a name other than LOCAL_NAMES."""
    if entry.lower().removesuffix(".") in LOCAL_NAMES:
        return LOOPBACK
    try:
        return (ip_network(entry.replace("[", "").replace("]", ""), strict=False),)
    except ValueError:
        return ()


def _without(networks: list[IpNetwork], exceptions: list[IpNetwork]) -> tuple[list[IpNetwork], list[IpNetwork]]:
    """The networks without the exceptions, and the exceptions that would split networks into too many.

    Networks with such an exception are left out: evaluating a host that was to be ignored is safe, the reverse is not.
    """
    unsplit = []
    for exception in exceptions:
        pieces: list[IpNetwork] = []
        for network in networks:
            pieces += _split(network, exception)
        if len(pieces) > MAX_NETWORKS:
            unsplit.append(exception)
            pieces = [network for network in networks if not _overlap(network, exception)]
        networks = pieces
    return networks, unsplit


def _split(network: IpNetwork, exception: IpNetwork) -> list[IpNetwork]:
    """The networks that hold all addresses of a network but those of the exception."""
    if not _overlap(network, exception):
        return [network]
    if network.prefixlen >= exception.prefixlen:
        return []
    return list(network.address_exclude(exception))  # type: ignore[arg-type]  # they overlap, so their versions agree


def _overlap(network: IpNetwork, exception: IpNetwork) -> bool:
    return network.version == exception.version and network.overlaps(exception)
