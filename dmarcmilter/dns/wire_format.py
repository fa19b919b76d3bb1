"""DNS messages in wire format (RFC 1035 4): build a question, recognize its reply, read the answer from it.

Written for speed, since every message waits for several replies, and so that the cost of a hostile reply is bounded.
Tests compare it with dnspython.
"""

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

import dns.exception
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from dmarcmilter.dns.lookup import Record
from dmarcmilter.dns.wire_names import MAX_NAME, Known, name_to_text, read_name
from dmarcmilter.value import Value

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, REFUSED = 0, 1, 2, 3, 5  # RFC 1035 4.1.1
RDTYPES = {rdtype.name: int(rdtype) for rdtype in dns.rdatatype.RdataType}
EDNS_PAYLOAD = 1232
"""Bytes of a reply that fit into one packet everywhere (RFC 9715 3.2); longer ones come by TCP."""
MAX_RECORDS = 256
"""Records in a section of a reply (real ones hold fewer than 100; 4,000 cost a second); more make the query FAILED."""
MAX_CHAIN = 16
"""CNAMEs followed for one question (real chains have fewer than five); more make the query FAILED."""

_HEADER = struct.Struct("!HHHHHH")
_ASKED = struct.Struct("!HH")  # type and class of a question (RFC 1035 4.1.2)
_FIXED = struct.Struct("!HHIH")  # type, class, TTL, length of the data (RFC 1035 4.1.3)
_QUERY, _RECURSION_DESIRED = 0x0000, 0x0100
_RESPONSE, _OPCODE, _AUTHORITATIVE, _TRUNCATED, _RCODE = 0x8000, 0x7800, 0x0400, 0x0200, 0x000F
_OPT = struct.pack("!BHHIH", 0, RDTYPES["OPT"], EDNS_PAYLOAD, 0, 0)  # RFC 6891 6.1.2
_IN = int(dns.rdataclass.IN)
_A, _AAAA, _TXT, _MX = (RDTYPES[name] for name in ("A", "AAAA", "TXT", "MX"))
_CNAME, _NS, _PTR, _SOA, _OPT_TYPE = (RDTYPES[name] for name in ("CNAME", "NS", "PTR", "SOA", "OPT"))
_DNAME = RDTYPES["DNAME"]
_SOA_MINIMUM_AT = 22  # two names of at least one byte, then five numbers (RFC 1035 3.3.13)
_MAX_TTL = 0x7FFFFFFF
_COMPLETE = frozenset({NOERROR, NXDOMAIN})


class DnsReply(Value):
    """The content of a reply: records, or the name at which its CNAMEs end without any."""

    rcode: int
    truncated: bool = False
    records: tuple[Record, ...] = ()
    ttl: int = 0
    """Seconds; for an empty answer the negative TTL (RFC 2308 5)."""
    target: bytes = b""
    """The name at which the aliases end."""
    aliases: int = 0
    """Number of aliases (CNAME, DNAME) followed; more than MAX_CHAIN: treated as a loop."""
    denied: bool = False
    """An SOA record proves that the answer is empty (RFC 2308 2.2)."""
    overfull: bool = False
    """A section has more than MAX_RECORDS records; none of them was read."""

    @property
    def complete(self) -> bool:
        """Whether it answers the question, also with "no" (RFC 2308 2)."""
        return self.rcode in _COMPLETE and not self.truncated


class _Resource(NamedTuple):
    """Position of a record in the message; its data is read only when it is part of the answer."""

    owner: bytes
    rdtype: int
    rdclass: int
    ttl: int
    start: int
    end: int


def question(identifier: int, name: bytes, rdtype: int, *, edns: bool) -> bytes:
    """Build a query for one name (RFC 1035 4.1), with or without an OPT record."""
    header = _HEADER.pack(identifier, _QUERY | _RECURSION_DESIRED, 1, 0, 0, int(edns))
    return header + name + _ASKED.pack(rdtype, _IN) + (_OPT if edns else b"")


def rcode_to_text(rcode: int) -> str:
    return dns.rcode.to_text(dns.rcode.Rcode.make(rcode))


def is_reply(wire: bytes, identifier: int, name: bytes, rdtype: int) -> bool:
    """Whether the bytes are a reply to that question: all that a spoofer would have to guess agrees (RFC 5452 9.1).

    A server that refuses may leave the question out (RFC 6891 7); such a reply counts only as a failure.
    """
    if len(wire) < _HEADER.size:
        return False
    answered, flags, questions = struct.unpack_from("!HHH", wire)
    if answered != identifier or not flags & _RESPONSE or flags & _OPCODE:
        return False
    if questions == 0:
        return flags & _RCODE not in _COMPLETE
    end = _HEADER.size + len(name)
    # lower() does not change the lengths of labels: they are below "A".
    same_name = wire[_HEADER.size : end].lower() == name
    return questions == 1 and same_name and wire[end : end + _ASKED.size] == _ASKED.pack(rdtype, _IN)


def read_reply(wire: bytes, name: bytes, rdtype: int) -> DnsReply | None:
    """Read the answer from a reply for which `is_reply` is true; None when it does not parse."""
    try:
        return _read(wire, name, rdtype)
    except (IndexError, ValueError, struct.error, dns.exception.DNSException):
        return None


def _read(wire: bytes, name: bytes, rdtype: int) -> DnsReply:
    _, flags, _, *counts = _HEADER.unpack_from(wire)
    rcode = flags & _RCODE
    if rcode not in _COMPLETE:
        return DnsReply(rcode)
    if flags & _TRUNCATED:
        return DnsReply(rcode, truncated=True)
    if max(counts) > MAX_RECORDS:
        return DnsReply(rcode, overfull=True)
    known: Known = {_HEADER.size: (name, _HEADER.size + len(name))}  # most owners point at the question
    resources = _resources(wire, _HEADER.size + len(name) + _ASKED.size, sum(counts), known)
    answers = [next(resources) for _ in range(counts[0])]
    authority = [next(resources) for _ in range(counts[1])]
    # The OPT record holds the upper bits of the RCODE (RFC 6891 6.1.3).
    upper = max((extra.ttl >> 24 for extra in resources if extra.rdtype == _OPT_TYPE), default=0)
    if upper:
        return DnsReply(upper << 4 | rcode)
    reply = _follow(wire, answers, name, rdtype, known)
    if reply.records and rcode == NOERROR:
        return reply
    if _is_referral(flags, answers, authority):
        return DnsReply(REFUSED)
    return _denial(wire, rcode, reply, authority)


def _follow(wire: bytes, answers: list[_Resource], name: bytes, rdtype: int, known: Known) -> DnsReply:
    """Follow the CNAMEs to the records (RFC 1034 3.6.2); their TTL is the smallest on the way.

    A DNAME is used where the CNAME that should come with it (RFC 6672 3.1) is missing.
    """
    # Keyed by the raw data: the same record twice is one (RFC 2181 5).
    records: dict[bytes, dict[bytes, _Resource]] = {}
    aliases: dict[bytes, _Resource] = {}
    redirected: dict[bytes, _Resource] = {}
    ttls: dict[bytes, int] = {}
    for answer in answers:
        if answer.rdclass != _IN or answer.rdtype not in (rdtype, _CNAME, _DNAME):
            continue
        if answer.rdtype == _DNAME and rdtype != _DNAME:
            redirected.setdefault(answer.owner, answer)
            continue
        ttls[answer.owner] = min(answer.ttl, ttls.get(answer.owner, _MAX_TTL))
        if answer.rdtype == rdtype:
            records.setdefault(answer.owner, {}).setdefault(wire[answer.start : answer.end], answer)
        else:
            aliases.setdefault(answer.owner, answer)
    ttl, followed = _MAX_TTL, 0
    while name not in records and followed <= MAX_CHAIN:
        if name in aliases:
            ttl = min(ttl, ttls[name])
            name = _name_in(wire, aliases[name], aliases[name].start, known)
        elif length := _redirected_at(name, redirected):
            above = redirected[name[length:]]
            ttl = min(ttl, above.ttl)
            name = name[:length] + _name_in(wire, above, above.start, known)
            if len(name) > MAX_NAME:
                raise ValueError("DNAME makes the name too long")  # RFC 6672 2.2
        else:
            break
        followed += 1
    data = tuple([_record(wire, resource, known) for resource in records.get(name, {}).values()])
    return DnsReply(NOERROR, records=data, ttl=min(ttl, ttls.get(name, ttl)), target=name, aliases=followed)


def _redirected_at(name: bytes, redirected: dict[bytes, _Resource]) -> int:
    """Bytes of a name before the owner of a DNAME that applies to it, which is always above the name; 0: none does."""
    at = 0
    while redirected and name[at]:
        at += 1 + name[at]
        if name[at:] in redirected:
            return at
    return 0


def _is_referral(flags: int, answers: list[_Resource], authority: list[_Resource]) -> bool:
    """Whether the reply is a referral of a server that does not recurse (RFC 2308 2.2): no answer, and no "no"."""
    types = {resource.rdtype for resource in authority}
    return not answers and not flags & _AUTHORITATIVE and _NS in types and _SOA not in types


def _denial(wire: bytes, rcode: int, reply: DnsReply, authority: list[_Resource]) -> DnsReply:
    """A negative answer; its TTL is the smaller of the SOA record's TTL and MINIMUM, or 0 without SOA (RFC 2308 5)."""
    soa = next((resource for resource in authority if resource.rdtype == _SOA and resource.rdclass == _IN), None)
    # CNAMEs that lead out of the reply are no negative answer: they keep their own TTL.
    ttl = reply.ttl if reply.aliases and rcode == NOERROR and soa is None else 0
    if soa is not None and soa.end - soa.start >= _SOA_MINIMUM_AT:
        ttl = min(reply.ttl, soa.ttl, int.from_bytes(wire[soa.end - 4 : soa.end], "big"))
    return DnsReply(rcode, ttl=ttl, target=reply.target, aliases=reply.aliases, denied=soa is not None)


def _resources(wire: bytes, at: int, count: int, known: Known) -> Iterator[_Resource]:
    """Read resource records one after the other; ValueError when malformed."""
    for _ in range(count):
        owner, at = read_name(wire, at, known)
        rdtype, rdclass, ttl, length = _FIXED.unpack_from(wire, at)
        start = at + _FIXED.size
        at = start + length
        if at > len(wire):
            raise ValueError("data runs over the end")
        if rdtype != _OPT_TYPE and ttl > _MAX_TTL:
            ttl = 0  # RFC 2181 8
        yield _Resource(owner, rdtype, rdclass, ttl, start, at)


def _record(wire: bytes, resource: _Resource, known: Known) -> Record:
    rdtype, start, end = resource.rdtype, resource.start, resource.end
    if rdtype == _TXT:
        return b"".join(_strings(wire[start:end]))
    if rdtype == _A:
        return socket.inet_ntop(socket.AF_INET, wire[start:end])
    if rdtype == _AAAA:
        return socket.inet_ntop(socket.AF_INET6, wire[start:end])
    if rdtype == _MX:
        return int.from_bytes(wire[start : start + 2], "big"), name_to_text(_name_in(wire, resource, start + 2, known))
    if rdtype in (_PTR, _CNAME, _NS):
        return name_to_text(_name_in(wire, resource, start, known))
    other = dns.rdatatype.RdataType.make(rdtype)
    return dns.rdata.from_wire(dns.rdataclass.IN, other, wire, start, end - start).to_text()


def _strings(data: bytes) -> Iterator[bytes]:
    """Read one or more character-strings (RFC 1035 3.3.14); ValueError when there is none."""
    if not data:
        raise ValueError("no character-string")
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        if end > len(data):
            raise ValueError("character-string runs over the end")
        yield data[at + 1 : end]
        at = end


def _name_in(wire: bytes, resource: _Resource, at: int, known: Known) -> bytes:
    """Read the name that fills the rest of a record's data; ValueError when it does not."""
    name, after = read_name(wire, at, known)
    if after != resource.end:
        raise ValueError("name does not fill its record")
    return name
