"""DNS data as an attacker sends it who owns the zone, or the wire: records and replies."""

import struct
from collections.abc import Callable, Iterator
from functools import partial

from bench.case import Case
from bench.headers import U_LABEL_BYTES, u_labels
from dmarcmilter.auth import key_record, spf
from dmarcmilter.dmarc import record, tree_walk
from dmarcmilter.dns import wire_format, wire_names
from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.mail import domain
from tests.support import outcomes

TXT = 65_000
"""Bytes of the largest TXT data that a DNS message can carry."""
NAME = b"\x01a\x07example\x00"
A, TYPE_TXT, CNAME, MX, NULL, OPT = 1, 16, 5, 15, 10, 41
OWNER = b"\xc0\x0c"
"""A pointer to the name in the question."""
DATA = 12 + len(NAME) + 4 + 12
"""Where the data of the first record begins."""

Ask = Callable[[str, str], Answer]


def record_cases() -> Iterator[Case]:
    units = {
        "tags": b"; p=none",
        "unknown tags": b"; a=b",
        "semicolons": b";",
        "spaces": b" ",
        "commas in rua": b",",
        "marks in rua": b"!",
        "one long value": b"a",
        "addresses in rua": b",mailto:a@b.example",
        "bytes above 127": b"\xff",
    }
    for name, unit in units.items():
        start = b"v=DMARC1; p=reject; rua=mailto:a@b.example"
        yield Case("dmarc.record", name, TXT, partial(_filled, start, unit), record.parse)
    yield Case("dmarc.record", "spaces before v", TXT, partial(_filled, b"", b" "), record.is_policy_record)
    yield Case("dmarc.record", "near miss", TXT, partial(_filled, b"v=dmarc1", b";a"), record.near_miss)
    for name, unit in {"semicolons": b";", "tags": b"a=;", "spaces in p=": b" ", "colons in s=": b":"}.items():
        yield Case("keyrecord", name, key_record.MAX_RECORD, partial(_filled, b"p=", unit), _parse_key)
    yield Case("domain", "labels", 20_000, lambda n: b"a." * n, domain.parse, "labels")
    mapped = {
        "U-labels": (U_LABEL_BYTES, u_labels),
        "one U-label": (500, lambda n: "\u00fc".encode() * (n // 2)),
        "signs that are mapped to many": (750, lambda n: "\ufdfa".encode() * (n // 3)),
        "marks that are put in order": (420, lambda n: "a\u0301\u0323".encode() * (n // 5)),
        "right to left": (420, lambda n: "\u05d0\u05d1.".encode() * (n // 5)),
        "full stops of other scripts": (750, lambda n: "\u3002".encode() * (n // 3)),
    }
    for name, (largest, make) in mapped.items():
        yield Case("domain", name, largest, make, domain.parse)
    yield Case("treewalk", "labels", 126, _labels, lambda name: tree_walk.walk(name, _nothing), "labels")
    yield Case("suffixes", "labels", 126, _labels, outcomes.SUFFIXES.organizational_domain, "labels")
    yield from wire_cases()
    yield from spf_cases()


def _parse_key(text: bytes) -> object:
    key_record._parse.cache_clear()  # noqa: SLF001  it is the first reading that is measured
    return key_record.parse(text)


def _filled(start: bytes, unit: bytes, size: int) -> bytes:
    return start + unit * ((size - len(start)) // len(unit))


def _labels(count: int) -> domain.Domain:
    return domain.Domain(".".join("a" * count))


def _nothing(_name: str, _rdtype: str) -> Answer:
    return Answer(Status.NXDOMAIN)


def wire_cases() -> Iterator[Case]:
    long_name = b"".join(b"\x07abcdefg" for _ in range(31)) + b"\0"
    chain = b"\x01a\0\0" + b"".join(
        b"\x01a" + _pointer(DATA + 4 * number) for number in range(wire_names.MAX_POINTERS - 2)
    )
    makers: dict[str, tuple[int, Callable[[int], bytes]]] = {
        "addresses": (A, lambda n: _answers(n, OWNER, A, b"\xc0\0\2\1")),
        "different addresses": (A, lambda n: _many(n, A, lambda number: struct.pack("!I", number))),
        "one long TXT": (
            TYPE_TXT,
            lambda n: _reply(1, _rr(OWNER, TYPE_TXT, (b"\xff" + b"x" * 255) * (n // 256)), TYPE_TXT),
        ),
        "empty strings": (TYPE_TXT, lambda n: _reply(1, _rr(OWNER, TYPE_TXT, b"\0" * n), TYPE_TXT)),
        "long owner names": (A, lambda n: _answers(n, long_name, A, b"\xc0\0\2\1")),
        "long names by pointer": (MX, lambda n: _pointing(n, long_name, DATA)),
        "chains of pointers": (MX, lambda n: _pointing(n, chain, DATA + 4 * (wire_names.MAX_POINTERS - 2))),
        "pointers to themselves": (A, lambda n: _reply(n // 16, b"\xc0\x1b" * (n // 2), A)),
        "CNAMEs": (A, lambda n: _reply(n // 20, b"".join(_alias(number) for number in range(n // 20)), A)),
        "CNAME loop": (A, lambda n: _reply(n // 14, _rr(OWNER, CNAME, OWNER) * (n // 14), A)),
        "additional records": (A, lambda n: _reply(0, _rr(b"\0", OPT, b"") * (n // 11), A, additional=n // 11)),
        "zeros": (A, lambda n: _reply(65535, b"\0" * n, A)),
    }
    for name, (rdtype, make) in makers.items():
        yield Case("wire.read_reply", name, TXT, make, partial(_read, rdtype))
    yield Case("names", "labels to ask for", 1_000_000, lambda n: "a." * (n // 2), wire_names.name_to_wire)


def _read(rdtype: int, reply: bytes) -> object:
    return wire_format.is_reply(reply, 7, NAME, rdtype) and wire_format.read_reply(reply, NAME, rdtype)


def _rr(owner: bytes, rdtype: int, data: bytes) -> bytes:
    return owner + struct.pack("!HHIH", rdtype, 1, 300, len(data)) + data


def _name(number: int) -> bytes:
    return NAME if not number else b"\x04%04x\0" % number


def _alias(number: int) -> bytes:
    return _rr(_name(number), CNAME, _name(number + 1))


def _answers(size: int, owner: bytes, rdtype: int, data: bytes) -> bytes:
    """The same record up to the size."""
    one = _rr(owner, rdtype, data)
    return _reply(size // len(one), one * (size // len(one)), rdtype)


def _many(size: int, rdtype: int, data: Callable[[int], bytes]) -> bytes:
    """Different records up to the size."""
    count = size // 16
    return _reply(count, b"".join(_rr(OWNER, rdtype, data(number)) for number in range(count)), rdtype)


def _pointing(size: int, first: bytes, at: int) -> bytes:
    """A record of another type, and as many MX as there is room for, whose names are pointers into its data."""
    count = size // 16
    return _reply(1 + count, _rr(OWNER, NULL, first) + _rr(OWNER, MX, b"\0\1" + _pointer(at)) * count, MX)


def _pointer(at: int) -> bytes:
    return struct.pack("!H", 0xC000 + at)


def _reply(count: int, records: bytes, rdtype: int, *, additional: int = 0) -> bytes:
    header = struct.pack("!HHHHHH", 7, 0x8180, 1, min(count, 65535), 0, additional)
    return header + NAME + struct.pack("!HH", rdtype, 1) + records


def spf_cases() -> Iterator[Case]:
    text = {
        "macros": ("exists:", "%{i}"),
        "macros in labels": ("exists:", "%{s}."),
        "reversed macros": ("exists:", "%{dr}."),
        "broken macros": ("exists:", ".a%"),
        "percent signs": ("exists:", "%%."),
        "labels": ("a:", "a."),
        "hyphens": ("a:", "a-"),
        "digits": ("a:.", "0"),
        "length of a prefix": ("a/", "1"),
        "digits of a macro": ("exists:%{d", "1"),
        "ip4 terms": ("", "ip4:10.0.0.0/24 "),
        "ip6 terms": ("", "ip6:2001:db8::/32 "),
        "terms that ask": ("", "a "),
        "unknown modifiers": ("", "x=y "),
        "modifier of macros": ("x=", "%{s}"),
        "spaces": ("", " "),
    }
    for name, (start, unit) in text.items():
        for largest, limit in ((spf.MAX_TERM, "a term"), (spf.MAX_RECORD, "a record"), (TXT, "64 kB")):
            make = partial(_spf_text, start, unit)
            yield Case("spf", f"{name}, {limit}", largest, make, _check_text)
    few = " ".join(["exists:" + "%{s}." * 100] * 7)
    yield Case("spf", "terms of 500 bytes of macros", 8, lambda n: " ".join(few.split()[:n]), _check_text, "terms")
    yield Case("spf", "addresses of each of 10 x 10 MX", spf.MAX_ADDRESSES, _mx_fan, _check_zone, "addresses")
    yield Case("spf", "addresses of each of 10 x 10 MX, too many", 4000, _mx_fan, _check_zone, "addresses")
    yield Case("spf", "names of a client", 4000, _ptr_fan, _check_zone, "names")
    yield Case("spf", "addresses of a name", 4000, partial(_a_fan, "a"), _check_zone, "addresses")


def _spf_text(start: str, unit: str, size: int) -> str:
    return start + unit * ((size - len(start) - len("v=spf1  -all")) // len(unit))


def _check_text(text: str) -> object:
    local = b"l" * 64

    def ask(name: str, rdtype: str) -> Answer:
        if name == "e.test" and rdtype == "TXT":
            return Answer(Status.FOUND, (f"v=spf1 {text} -all".encode(),))
        return Answer(Status.FOUND, ("192.0.2.9",)) if rdtype == "A" else Answer(Status.NODATA)

    return spf.check(outcomes.envelope(mail_from=local + b"@e.test"), ask, receiver="mx.test.example")


def _addresses(count: int) -> tuple[str, ...]:
    return tuple(f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}" for i in range(count))


def _zone(text: str, answers: dict[str, tuple[object, ...]]) -> Ask:
    def ask(name: str, rdtype: str) -> Answer:
        if rdtype == "TXT":
            return (
                Answer(Status.FOUND, (f"v=spf1 {text} -all".encode(),)) if name == "e.test" else Answer(Status.NODATA)
            )
        records = answers.get(rdtype, ())
        return Answer(Status.FOUND, records) if records else Answer(Status.NODATA)  # type: ignore[arg-type]

    return ask


def _mx_fan(count: int) -> Ask:
    hosts = tuple((10, f"m{i}.e.test") for i in range(10))
    return _zone(" ".join(f"mx:m{i}.e.test" for i in range(10)), {"MX": hosts, "A": _addresses(count)})


def _ptr_fan(count: int) -> Ask:
    return _zone(
        "ptr:" + " ptr:".join(f"x{i}.test" for i in range(10)),
        {"PTR": tuple(f"p{i}.test" for i in range(count)), "A": _addresses(spf.MAX_ADDRESSES)},
    )


def _a_fan(term: str, count: int) -> Ask:
    return _zone(" ".join([term] * 10), {"A": _addresses(count)})


def _check_zone(ask: Ask) -> object:
    return spf.check(outcomes.envelope(mail_from=b"a@e.test"), ask, receiver="mx.test.example")
