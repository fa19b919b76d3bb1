"""OpenDMARC's lists of hosts: addresses, networks and names, `!` before an exception."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from dmarcmilter.opendmarc.config_file import printable

MAX_FILE = 1_048_576
MAX_NETWORKS = 1_000
"""In the conf file. An exception cuts a network into as many as 128."""
MAX_ENTRY = 255

Network = IPv4Network | IPv6Network

LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"})
LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
"""What these names stand for (RFC 6761 6.3)."""


@dataclass(frozen=True, slots=True)
class Hosts:
    networks: tuple[str, ...]
    left_out: tuple[str, ...]
    """Names, and what is neither."""


def entries(raw: bytes) -> list[str]:
    """One a line, `#` begins a comment."""
    lines = raw[:MAX_FILE].decode("utf-8", "replace").split("\n")
    words = (printable(line.partition("#")[0]).strip()[: MAX_ENTRY + 1] for line in lines)
    return [word for word in words if word]


def parse(raw: bytes) -> Hosts:
    taken: dict[Network, None] = {}
    exceptions: list[Network] = []
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
    kept, uncut = _without(list(taken)[:MAX_NETWORKS], exceptions)
    return Hosts(tuple(map(str, kept)), (*left_out, *(f"!{network}" for network in uncut)))


def _networks(entry: str) -> tuple[Network, ...]:
    """The networks of an entry; none for a name that is not this machine's own."""
    if entry.lower().removesuffix(".") in LOCAL_NAMES:
        return LOOPBACK
    try:
        return (ip_network(entry.replace("[", "").replace("]", ""), strict=False),)
    except ValueError:
        return ()


def _without(networks: list[Network], exceptions: list[Network]) -> tuple[list[Network], list[Network]]:
    """What is left of the networks, and exceptions for which there is no room: their networks are left out then.

    To judge a host that was to be ignored is safe; to ignore one that was to be judged is not.
    """
    uncut = []
    for exception in exceptions:
        pieces: list[Network] = []
        for network in networks:
            pieces += _cut(network, exception)
        if len(pieces) > MAX_NETWORKS:
            uncut.append(exception)
            pieces = [network for network in networks if not _overlap(network, exception)]
        networks = pieces
    return networks, uncut


def _cut(network: Network, exception: Network) -> list[Network]:
    if not _overlap(network, exception):
        return [network]
    if network.prefixlen >= exception.prefixlen:
        return []
    return list(network.address_exclude(exception))  # type: ignore[arg-type]  # of one version, as they overlap


def _overlap(network: Network, exception: Network) -> bool:
    return network.version == exception.version and network.overlaps(exception)
