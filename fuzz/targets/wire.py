"""DNS replies (RFC 1035 4): bounded, never believed for another question, and as dnspython reads them."""

from collections.abc import Iterator

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from dmarcmilter.dns import wire_format
from dmarcmilter.dns.wire_names import name_to_text, name_to_wire, read_name

NAME = b"\x01a\x07example\x00"
ID = 7
TYPES = [wire_format.RDTYPES[word] for word in ("TXT", "A", "AAAA", "MX", "PTR", "SRV", "SOA")]
START = 12
"""Octets of a header."""


def check(data: bytes) -> None:
    """A type, then a reply's flags and counts, then all that follows the question."""
    rdtype = TYPES[data[0] % len(TYPES)] if data else TYPES[0]
    head, rest = data[1:9].ljust(8, b"\0"), data[9:]
    _check_names(data)
    asked = NAME + rdtype.to_bytes(2, "big") + b"\0\1"
    reply = ID.to_bytes(2, "big") + bytes((head[0] | 0x80, head[1])) + b"\0\1" + head[2:] + asked + rest
    if not wire_format.is_reply(reply, ID, NAME, rdtype):
        return
    assert not wire_format.is_reply(reply, ID + 1, NAME, rdtype)
    assert not wire_format.is_reply(reply, ID, b"\x01b\x07example\x00", rdtype)
    found = wire_format.read_reply(reply, NAME, rdtype)
    if found is None:
        return
    assert 0 <= found.ttl <= 0x7FFFFFFF
    assert 0 <= found.aliases <= wire_format.MAX_CHAIN + 1
    assert len(found.records) * 12 <= len(reply)
    assert not found.records or (found.complete and found.rcode == wire_format.NOERROR)
    _check_against_dnspython(reply, rdtype, found)


def _check_names(data: bytes) -> None:
    try:
        name, after = read_name(data, 0)
    except (IndexError, ValueError):
        return
    assert len(name) <= 255
    assert 0 < after <= len(data)
    assert read_name(name, 0) == (name, len(name))
    name_to_text(name)
    name_to_wire(data.decode("latin-1"))


def _check_against_dnspython(reply: bytes, rdtype: int, found: wire_format.DnsReply) -> None:
    """Addresses only: what both can read must be the same."""
    if rdtype not in (wire_format.RDTYPES["A"], wire_format.RDTYPES["AAAA"]) or not found.records or found.aliases:
        return
    try:
        parsed = dns.message.from_wire(reply)
    except dns.exception.DNSException:
        return
    asked = parsed.get_rrset(parsed.answer, dns.name.from_wire(NAME, 0)[0], 1, dns.rdatatype.RdataType.make(rdtype))
    assert asked is not None
    assert sorted(found.records) == sorted(rdata.address for rdata in asked)


def seeds() -> Iterator[bytes]:
    data = {
        "TXT": '"v=spf1 -all" "x"',
        "A": "192.0.2.1",
        "AAAA": "2001:db8::1",
        "MX": "10 mx.example.",
        "PTR": "host.a.example.",
        "SRV": "0 1 2 srv.example.",
        "CNAME": "c.example.",
        "SOA": "ns.example. h.example. 1 2 3 4 77",
    }
    for word, text in data.items():
        for section in ("answer", "authority"):
            yield _seed(word, text, section)
    yield b"\0\x81\x80\0\1\0\0\0\0" + b"\xc0\x0c\0\x10\0\1\0\0\0\1\0\2\xc0\x0c"


def _seed(word: str, text: str, section: str) -> bytes:
    asked = word if wire_format.RDTYPES[word] in TYPES else "TXT"
    message = dns.message.make_response(dns.message.make_query("a.example", asked, use_edns=0, id=ID))
    chain = [dns.rrset.from_text("a.example.", 300, "IN", "CNAME", "b.example.")] if section == "authority" else []
    message.answer = chain if word != "CNAME" else []
    getattr(message, section).append(
        dns.rrset.from_text("b.example." if chain else "a.example.", 300, "IN", word, text)
    )
    octets = message.to_wire()
    after = START + len(NAME) + 4
    return bytes((TYPES.index(wire_format.RDTYPES[asked]),)) + octets[2:4] + octets[6:12] + octets[after:]
