"""Each name server by itself: does it answer, recurse, say "no such name", and by TCP? And how fast?

The resolver would hide what is found here: it asks another server when one is silent, and by TCP when a reply is cut.
"""

import contextlib
import secrets
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dmarcmilter.config.finding import Finding, error, ok, warning
from dmarcmilter.dns.name_servers import Server, Servers, exchange
from dmarcmilter.dns.names import name_to_wire
from dmarcmilter.dns.wire_format import NXDOMAIN, RDTYPES, Reply, is_reply, question, rcode_to_text, read_reply

KNOWN_NAME = "example.com"
"""There for ever (RFC 2606 3), with TXT records, and without what is asked for below it."""
TRIES = 2
"""Datagrams get lost."""
SLOW_SECONDS = 0.5
"""For an answer that a cache should hold: each message asks some ten questions."""
MAX_SERVERS = 16
MAX_STRAYS = 32
"""Datagrams that are no reply to our question, passed over."""
_RECURSION_AVAILABLE = 0x80  # of the fourth octet (RFC 1035 4.1.1)
_DATAGRAM = 4096


@dataclass(frozen=True, slots=True)
class Probe:
    """One question to one server: what came back."""

    reply: Reply | None
    """None: nothing that answers the question."""
    recursive: bool
    seconds: float


def findings(nameservers: Iterable[tuple[str, int]], timeout: float) -> list[Finding]:
    found: list[Finding] = []
    answering = 0
    for server in Servers(tuple(nameservers)[:MAX_SERVERS]).ranked():
        probe = _ask(server, KNOWN_NAME, timeout)
        if probe.reply is None:
            found.append(error(f"[dns] {server.label}: no answer within {timeout:g} s, tried {TRIES} times"))
            continue
        faults = [*_answer(server, probe), *_wildcard(server, timeout), *_tcp(server, timeout)]
        answering += 1
        found += faults or [ok(f"[dns] {server.label} answers in {probe.seconds * 1000:.0f} ms, recursive, TCP too")]
    if not answering:
        found.append(error("[dns] no name server answers: SPF, DKIM and DMARC all end in temperror"))
    return found


def unreachable(nameservers: Iterable[tuple[str, int]]) -> list[Finding]:
    """Those to which no way leads from here, as an IPv6 address on a host without. Nothing is sent for it."""
    return [
        warning(f"[dns] {server.label} cannot be reached from this machine: {reason}")
        for server in Servers(tuple(nameservers)[:MAX_SERVERS]).ranked()
        if (reason := _no_way(server))
    ]


def _no_way(server: Server) -> str:
    try:
        with socket.socket(server.family, socket.SOCK_DGRAM) as sock:
            sock.connect(server.address)
    except OSError as problem:
        return problem.strerror or str(problem)
    return ""


def _answer(server: Server, probe: Probe) -> list[Finding]:
    reply = probe.reply
    assert reply is not None
    found = []
    if not reply.complete and not reply.truncated:
        return [error(f"[dns] {server.label} answers {rcode_to_text(reply.rcode)} to a name that exists")]
    if reply.truncated:
        found.append(warning(f"[dns] {server.label} cuts short even a small answer: all is asked twice, by TCP"))
    elif not reply.records:
        found.append(error(f"[dns] {server.label} does not know {KNOWN_NAME}, which exists"))
    if not probe.recursive:
        found.append(error(f"[dns] {server.label} offers no recursion: it knows its own zones only"))
    if probe.seconds > SLOW_SECONDS:
        found.append(
            warning(f"[dns] {server.label} is slow: {probe.seconds * 1000:.0f} ms for a name that any cache holds")
        )
    return found


def _wildcard(server: Server, timeout: float) -> list[Finding]:
    """Some servers answer for names that do not exist: every domain then seems to be there (RFC 9989 4.7, np)."""
    name = f"{secrets.token_hex(8)}.{KNOWN_NAME}"
    reply = _ask(server, name, timeout).reply
    if reply is None:
        return [warning(f"[dns] {server.label} is silent about names that do not exist")]
    if reply.rcode == NXDOMAIN:
        return []
    what = "answers for" if reply.records else f"says {rcode_to_text(reply.rcode)} of"
    return [
        error(
            f"[dns] {server.label} {what} a name that does not exist: it has to say NXDOMAIN, or domains that are "
            "not there seem to be there"
        )
    ]


def _tcp(server: Server, timeout: float) -> list[Finding]:
    """RFC 7766 5: longer answers (SPF, DKIM keys) come by TCP only."""
    name = name_to_wire(KNOWN_NAME)
    assert name is not None
    identifier = secrets.randbits(16)
    rdtype = RDTYPES["TXT"]
    wire = exchange(server, question(identifier, name, rdtype, edns=False), time.monotonic() + timeout)
    reply = _read(wire, identifier, name, rdtype) if wire is not None else None
    if reply is not None and reply.complete:
        return []
    return [warning(f"[dns] {server.label} gives no answer by TCP: answers too long for a datagram are never had")]


def _ask(server: Server, name: str, timeout: float) -> Probe:
    """By UDP, with EDNS as the filter does."""
    probe = Probe(None, recursive=False, seconds=timeout)
    for _ in range(TRIES):
        probe = _ask_once(server, name, timeout / TRIES)
        if probe.reply is not None:
            break
    return probe


def _ask_once(server: Server, name: str, timeout: float) -> Probe:
    wire_name, rdtype, identifier = name_to_wire(name), RDTYPES["TXT"], secrets.randbits(16)
    assert wire_name is not None
    begun = time.monotonic()
    with contextlib.suppress(OSError), socket.socket(server.family, socket.SOCK_DGRAM) as sock:
        sock.connect(server.address)
        sock.send(question(identifier, wire_name, rdtype, edns=True))
        for wire in _datagrams(sock, begun + timeout):
            reply = _read(wire, identifier, wire_name, rdtype)
            if reply is not None:
                return Probe(reply, bool(wire[3] & _RECURSION_AVAILABLE), time.monotonic() - begun)
    return Probe(None, recursive=False, seconds=time.monotonic() - begun)


def _datagrams(sock: socket.socket, until: float) -> Iterator[bytes]:
    """What arrives until then; OSError when nothing more does."""
    for _ in range(MAX_STRAYS):
        sock.settimeout(max(0.001, until - time.monotonic()))
        yield sock.recv(_DATAGRAM)


def _read(wire: bytes, identifier: int, name: bytes, rdtype: int) -> Reply | None:
    return read_reply(wire, name, rdtype) if is_reply(wire, identifier, name, rdtype) else None
