"""Checks of each name server: it answers, also by TCP, recurses, says NXDOMAIN, and is fast enough.

The resolver hides such faults: it asks another server when one is silent, and uses TCP when a reply is truncated.
"""

import contextlib
import secrets
import socket
import time
from collections.abc import Iterable, Iterator

from dmarcmilter.config.finding import Finding, error, ok, warning
from dmarcmilter.dns.name_servers import Server, Servers, exchange
from dmarcmilter.dns.wire_format import NXDOMAIN, RDTYPES, DnsReply, is_reply, question, rcode_to_text, read_reply
from dmarcmilter.dns.wire_names import name_to_wire
from dmarcmilter.value import Value

KNOWN_NAME = "example.com"
"""Domain that is queried: reserved (RFC 2606 3), has TXT records, and has no names like those of _wildcard below it."""
TRIES = 2
"""Number of UDP queries before a server counts as silent, because a datagram can get lost."""
SLOW_SECONDS = 0.5
"""Seconds above which an answer that caches hold is reported as slow: a message needs about ten queries."""
MAX_SERVERS = 16
"""Number of name servers that are checked; further ones are not."""
MAX_STRAYS = 32
"""Number of datagrams read for one query; if none of them is its reply, the server counts as silent."""
_RECURSION_AVAILABLE = 0x80
"""Bit RA, in the fourth byte of a reply (RFC 1035 4.1.1)."""
_DATAGRAM = 4096
"""Bytes read of one datagram; more than our EDNS size asks for."""


class Probe(Value):
    """The result of one query to one server."""

    reply: DnsReply | None
    """None: the server sent no reply to the query."""
    recursive: bool
    """The server offers recursion."""
    seconds: float
    """Seconds until the reply, or until the wait ended."""


def findings(nameservers: Iterable[tuple[str, int]], timeout: float) -> list[Finding]:
    """The findings on each server. `timeout`: seconds to wait for one server's answer to one question."""
    result: list[Finding] = []
    answering = 0
    for server in Servers(tuple(nameservers)[:MAX_SERVERS]).ranked():
        probe = _ask(server, KNOWN_NAME, timeout)
        if probe.reply is None:
            result.append(error(f"[dns] {server.label}: no answer within {timeout:g} s, tried {TRIES} times"))
            continue
        faults = [*_answer_faults(server, probe), *_wildcard(server, timeout), *_tcp(server, timeout)]
        answering += 1
        result += faults or [ok(f"[dns] {server.label} answers in {probe.seconds * 1000:.0f} ms, recursive, TCP too")]
    if not answering:
        result.append(error("[dns] no name server answers: SPF, DKIM and DMARC all end in temperror"))
    return result


def unreachable(nameservers: Iterable[tuple[str, int]]) -> list[Finding]:
    """Warnings about servers that this machine has no route to, such as IPv6 ones without IPv6. Sends nothing."""
    return [
        warning(f"[dns] {server.label} cannot be reached from this machine: {reason}")
        for server in Servers(tuple(nameservers)[:MAX_SERVERS]).ranked()
        if (reason := _routing_error(server))
    ]


def _routing_error(server: Server) -> str:
    """Why datagrams cannot be sent to the server; empty: they can."""
    try:
        with socket.socket(server.family, socket.SOCK_DGRAM) as sock:
            sock.connect(server.address)
    except OSError as problem:
        return problem.strerror or str(problem)
    return ""


def _answer_faults(server: Server, probe: Probe) -> list[Finding]:
    """What is wrong with the answer to a query for a name that exists."""
    reply = probe.reply
    assert reply is not None
    faults = []
    if not reply.complete and not reply.truncated:
        return [error(f"[dns] {server.label} answers {rcode_to_text(reply.rcode)} to a name that exists")]
    if reply.truncated:
        faults.append(warning(f"[dns] {server.label} truncates even a small answer, so each query is repeated by TCP"))
    elif not reply.records:
        faults.append(error(f"[dns] {server.label} does not know {KNOWN_NAME}, which exists"))
    if not probe.recursive:
        faults.append(error(f"[dns] {server.label} offers no recursion: it knows its own zones only"))
    if probe.seconds > SLOW_SECONDS:
        faults.append(
            warning(f"[dns] {server.label} is slow: {probe.seconds * 1000:.0f} ms for a name that any cache holds")
        )
    return faults


def _wildcard(server: Server, timeout: float) -> list[Finding]:
    """Check that the server says NXDOMAIN. If it has records for all names, np never applies (RFC 9989 4.7)."""
    name = f"{secrets.token_hex(8)}.{KNOWN_NAME}"
    reply = _ask(server, name, timeout).reply
    if reply is None:
        return [warning(f"[dns] {server.label} does not answer queries for names that do not exist")]
    if reply.rcode == NXDOMAIN:
        return []
    answer = "answers for" if reply.records else f"answers {rcode_to_text(reply.rcode)} for"
    return [
        error(
            f"[dns] {server.label} {answer} a name that does not exist: it has to say NXDOMAIN, or domains that do "
            "not exist seem to exist"
        )
    ]


def _tcp(server: Server, timeout: float) -> list[Finding]:
    """Check that the server answers by TCP, which long answers (SPF, DKIM keys) need (RFC 7766 5)."""
    name = name_to_wire(KNOWN_NAME)
    assert name is not None
    identifier = secrets.randbits(16)
    rdtype = RDTYPES["TXT"]
    wire = exchange(server, question(identifier, name, rdtype, edns=False), time.monotonic() + timeout)
    reply = _read(wire, identifier, name, rdtype) if wire is not None else None
    if reply is not None and reply.complete:
        return []
    return [warning(f"[dns] {server.label} gives no answer by TCP: answers too long for a datagram never arrive")]


def _ask(server: Server, name: str, timeout: float) -> Probe:
    """Query by UDP with EDNS, as the filter does; TRIES times if the server is silent."""
    probe = Probe(None, recursive=False, seconds=timeout)
    for _ in range(TRIES):
        probe = _ask_once(server, name, timeout / TRIES)
        if probe.reply is not None:
            break
    return probe


def _ask_once(server: Server, name: str, timeout: float) -> Probe:
    wire_name, rdtype, identifier = name_to_wire(name), RDTYPES["TXT"], secrets.randbits(16)
    assert wire_name is not None
    start = time.monotonic()
    with contextlib.suppress(OSError), socket.socket(server.family, socket.SOCK_DGRAM) as sock:
        sock.connect(server.address)
        sock.send(question(identifier, wire_name, rdtype, edns=True))
        for wire in _datagrams(sock, start + timeout):
            reply = _read(wire, identifier, wire_name, rdtype)
            if reply is not None:
                return Probe(reply, bool(wire[3] & _RECURSION_AVAILABLE), time.monotonic() - start)
    return Probe(None, recursive=False, seconds=time.monotonic() - start)


def _datagrams(sock: socket.socket, until: float) -> Iterator[bytes]:
    """The datagrams that arrive until `until` (time.monotonic); OSError when no more do."""
    for _ in range(MAX_STRAYS):
        sock.settimeout(max(0.001, until - time.monotonic()))
        yield sock.recv(_DATAGRAM)


def _read(wire: bytes, identifier: int, name: bytes, rdtype: int) -> DnsReply | None:
    return read_reply(wire, name, rdtype) if is_reply(wire, identifier, name, rdtype) else None
