"""Draws for pct (RFC 7489 6.6.4) and rollout_percent, which a sender cannot repeat by changing the message.

A draw is a keyed hash of the Author Domain's organization, the client's network and the day: a retry gets the same
answer, and all mail of one organization from one network is treated alike for a day. docs/threats.md says what a sender
with many networks can still do.
"""

import hmac
from collections.abc import Iterable
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_network

from dmarcmilter.mail.domain import Domain

Client = IPv4Address | IPv6Address | None

DRAW_SECONDS = 86_400
"""Seconds for which a draw holds. It changes at a time of day of its own for each organization and network."""
NETWORK_BITS = {4: 24, 6: 32}
"""Bits of the client's address that count. An IPv4 /24 has to be bought or rented; for the owner of a provider's IPv6
/32 a further /48 costs nothing."""


def pct_draw(organization: Domain, client: Client, at: datetime, key: bytes) -> int:
    """0 to 99; a message is selected when it is below pct. `at`: when the message came."""
    return _number("pct", organization, client, at, key)


def rollout_draw(organizations: Iterable[Domain], client: Client, at: datetime, key: bytes) -> int:
    """0 to 99 for rollout_percent, independent of pct's draw: the lowest of all organizations that From names.

    The lowest is the strictest, so that a further author takes no message out of the rollout. A message whose From
    names no domain has the network's draw.
    """
    return min(_number("rollout", organization, client, at, key) for organization in (*organizations,) or ("",))


def _number(use: str, organization: str, client: Client, at: datetime, key: bytes) -> int:
    """The draw. Its day begins at a secret time: at midnight, which all know, senders would try again."""
    pair = f"{use} {organization} {_network(client)}"  # no part has a space in it
    boundary = _hashed(f"boundary {pair}", key) % DRAW_SECONDS
    day = (int(at.timestamp()) + boundary) // DRAW_SECONDS
    return _hashed(f"draw {pair} {day}", key) % 100


def _hashed(text: str, key: bytes) -> int:
    return int.from_bytes(hmac.digest(key, text.encode(), "sha256")[:8], "big")


def _network(client: Client) -> str:
    return "-" if client is None else str(ip_network((client, NETWORK_BITS[client.version]), strict=False))
