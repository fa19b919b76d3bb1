"""Parse addresses in the conf file: milter socket, metrics endpoint, name servers. ValueError if one is invalid."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from dmarcmilter.value import Value

MAX_SOCKET_PATH = 107
"""Longest path of a unix socket, in bytes: Linux's sun_path without its final NUL."""


class Socket(Value):
    """The address of a socket: a path, or a host and port."""

    family: str
    """unix, inet or inet6"""
    path: str = ""
    host: str = ""
    port: int = 0


def parse_socket(text: str) -> Socket:
    """`unix:PATH`, `inet:PORT@HOST` or `inet6:PORT@HOST` (the spelling of libmilter); HOST is a literal address."""
    family, _, rest = text.partition(":")
    if family in ("unix", "local") and rest.startswith("/"):
        if len(rest) > MAX_SOCKET_PATH:
            raise ValueError(f"a socket path has at most {MAX_SOCKET_PATH} bytes")
        return Socket("unix", path=rest)
    port, at, host = rest.partition("@")
    if family in ("inet", "inet6") and at and port.isdigit() and 0 < int(port) < 65_536:
        address = ip_address(host.strip("[]"))
        if (address.version == 6) == (family == "inet6"):
            return Socket(family, host=str(address), port=int(port))
    raise ValueError(f"{text!r} is not unix:/PATH, inet:PORT@ADDRESS or inet6:PORT@ADDRESS")


def parse_listen(text: str) -> Socket:
    """The metrics endpoint: `unix:/PATH`, `ADDRESS:PORT` or `[IPv6]:PORT`."""
    if text.startswith("unix:"):
        return parse_socket(text)
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})", text)
    if not match or not 0 < int(match[3]) < 65_536:
        raise ValueError(f"{text!r} is not unix:/PATH, ADDRESS:PORT or [IPv6]:PORT")
    if match[1]:
        return Socket("inet6", host=str(IPv6Address(match[1])), port=int(match[3]))
    return Socket("inet", host=str(IPv4Address(match[2])), port=int(match[3]))


def parse_nameserver(text: str) -> tuple[str, int]:
    """IP, IP:PORT or [IPv6]:PORT; ValueError otherwise."""
    match = re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::(\d{1,5}))?|([0-9.]+)(?::(\d{1,5}))?|([0-9a-fA-F:.]+)", text)
    if not match:
        raise ValueError(f"{text!r} is not IP, IP:PORT or [IPv6]:PORT")
    address = match[1] or match[3] or match[5]
    port = int(match[2] or match[4] or 53)
    if not 0 < port < 65_536:
        raise ValueError(f"{text!r}: port out of range")
    return str(ip_address(address)), port
