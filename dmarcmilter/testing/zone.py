"""A DNS zone as a table, `{owner: {TYPE: [data, ...], "_": behavior}}`, and its answers.

TXT data is a string or a list of character-strings, MX data `[preference, host]`, everything else text. A character
U+0000 to U+00FF is one byte. `*.name` is a wildcard. The behavior is a word, or a table from type to word: timeout,
slow, servfail, refused, formerr, notimp, garbage, short, truncate, truncate-notcp, wrongid, wrongquestion, wrongcase.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

MAX_ALIASES = 12
"""Length of a CNAME chain that is followed in one answer; the answer ends there."""

_MAX_STRING = 255
"""Bytes of one character-string (RFC 1035 3.3); longer text is divided."""


class Zone:
    def __init__(self, table: Mapping[str, Any], ttl: int) -> None:
        self._ttl = ttl
        self._nodes: dict[dns.name.Name, dict[str, Any]] = {}
        for owner, node in table.items():
            name = _name(owner)
            if name is not None:
                self._nodes.setdefault(name, {}).update(_node(node))
        self._inner = {above for name in self._nodes for above in _ancestors(name)}
        self._soa = dns.rrset.from_text(".", ttl, "IN", "SOA", f"ns.invalid. hostmaster.invalid. 1 1 1 1 {ttl}")

    def respond(self, query: dns.message.Message) -> tuple[dns.message.Message, str]:
        """The response to a query (RFC 1034 4.3.2), and the behavior of the last node on the way to it."""
        response = dns.message.make_response(query, recursion_available=True)
        name, rdtype = query.question[0].name, dns.rdatatype.to_text(query.question[0].rdtype)
        behavior = ""
        for _ in range(MAX_ALIASES + 1):
            node = self._find(name)
            behavior = _behavior(node, rdtype) or behavior
            alias = None if node is None or rdtype == "CNAME" else node.get("CNAME")
            if not alias:
                self._end(response, name, rdtype, node)
                break
            response.answer.append(self._rrset(name, alias[:1]))
            name = alias[0].target
        return response, behavior

    def _end(
        self, response: dns.message.Message, name: dns.name.Name, rdtype: str, node: dict[str, Any] | None
    ) -> None:
        if node is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        if node and node.get(rdtype):
            response.answer.append(self._rrset(name, node[rdtype]))
        else:
            response.authority.append(self._soa)

    def _find(self, name: dns.name.Name) -> dict[str, Any] | None:
        """The node of a name, perhaps by a wildcard below its closest encloser (RFC 4592 3.3.1); None: NXDOMAIN."""
        name = name.canonicalize()
        if name in self._nodes:
            return self._nodes[name]
        if name in self._inner:
            return {}
        for above in _ancestors(name):
            wildcard = self._nodes.get(_child(b"*", above))
            if wildcard is not None:
                return wildcard
            if above in self._nodes or above in self._inner:
                return None
        return None

    def _rrset(self, owner: dns.name.Name, data: list[dns.rdata.Rdata]) -> dns.rrset.RRset:
        return dns.rrset.from_rdata_list(owner, self._ttl, data)


def _node(table: Mapping[str, Any]) -> dict[str, Any]:
    """Parse the data of each type at once, so that a mistake in a zone raises when it is loaded. "NONE": no data."""
    node = {}
    for rdtype, values in table.items():
        listed = values if isinstance(values, list) else [values]
        node[rdtype] = values if rdtype == "_" else [_rdata(rdtype, value) for value in listed if value != "NONE"]
    return node


def _behavior(node: dict[str, Any] | None, rdtype: str) -> str:
    wanted = (node or {}).get("_", "")
    return str(wanted.get(rdtype, "")) if isinstance(wanted, dict) else str(wanted)


def _rdata(rdtype: str, value: Any) -> dns.rdata.Rdata:
    if rdtype in ("TXT", "SPF"):
        wire = b"".join(bytes([len(string)]) + string for string in _strings(value))
        return dns.rdata.from_wire("IN", rdtype, wire, 0, len(wire))
    if rdtype == "MX" and not isinstance(value, str):
        value = f"{value[0]} {value[1]}"
    if rdtype in ("MX", "CNAME", "PTR", "NS"):
        value = value.removesuffix(".") + "."
    return dns.rdata.from_text("IN", rdtype, value)


def _strings(value: str | list[str]) -> Iterator[bytes]:
    """Divide text into character-strings of at most 255 bytes; a TXT record has at least one."""
    for text in [value] if isinstance(value, str) else value or [""]:
        data = text.encode("latin-1")
        for start in range(0, len(data) or 1, _MAX_STRING):
            yield data[start : start + _MAX_STRING]


def _name(text: str) -> dns.name.Name | None:
    """Parse a name byte by byte, without IDNA; None: DNS cannot carry it."""
    escaped = "".join(char if char.isascii() else f"\\{ord(char):03d}" for char in text)
    try:
        return dns.name.from_text(escaped.removesuffix(".") + ".").canonicalize()
    except dns.exception.DNSException:
        return None


def _ancestors(name: dns.name.Name) -> Iterator[dns.name.Name]:
    while len(name) > 1:
        name = name.parent()
        yield name


def _child(label: bytes, parent: dns.name.Name) -> dns.name.Name:
    """The name `label.parent`; the empty name where that is too long for DNS."""
    try:
        return dns.name.Name((label, *parent.labels))
    except dns.exception.DNSException:
        return dns.name.empty
