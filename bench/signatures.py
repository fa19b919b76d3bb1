"""DKIM and ARC fields as an attacker writes them who wants to use up our time."""

import base64
from collections.abc import Iterator

from bench.case import Case
from bench.headers import FIELD, FIELDS, HEADER, U_LABEL_BYTES, repeated, u_labels
from dmarcmilter.auth import arc, dkim, tag_list
from dmarcmilter.auth import signature_verification as signatures
from dmarcmilter.mail.message import Header

SIGNATURE = signatures.MAX_FIELD
RESULTS = b"ARC-Authentication-Results"
KINDS = (b"ARC-Seal", b"ARC-Message-Signature", RESULTS)


def signature(**tags: bytes) -> bytes:
    values = {
        "v": b"1",
        "a": b"rsa-sha256",
        "c": b"relaxed/relaxed",
        "d": b"example.org",
        "s": b"sel",
        "h": b"from",
        "bh": base64.b64encode(bytes(32)),
        "b": base64.b64encode(bytes(256)),
    } | tags
    return b" " + b"; ".join(name.encode() + b"=" + value for name, value in values.items())


def signed(count: int, **tags: bytes) -> tuple[Header, ...]:
    return tuple(Header(b"DKIM-Signature", signature(**tags)) for _ in range(count))


def read_dkim(headers: tuple[Header, ...]) -> object:
    return dkim.read(headers, None)


def signature_cases() -> Iterator[Case]:
    yield from _tag_list_cases()
    yield from _dkim_cases()
    yield from _arc_cases()


def _tag_list_cases() -> Iterator[Case]:
    units = {
        "semicolons": b";",
        "tags without a name": b"=;",
        "one letter tags": b"a=;",
        "spaces": b" ",
        "folds": b"\r\n ",
    }
    for name, unit in units.items():
        yield Case("taglist", name, SIGNATURE, repeated(unit, before=b"v=1;"), tag_list.parse)
        yield Case("taglist", name + ", b= emptied", SIGNATURE, repeated(unit, before=b"b="), _empty_b)
    yield Case("taglist", "spaces in base64", SIGNATURE, repeated(b" ", before=b"A", after=b"!"), tag_list.base64)
    yield Case("taglist", "equals in base64", SIGNATURE, repeated(b"=", before=b"A"), tag_list.base64)


def _empty_b(value: bytes) -> object:
    return tag_list.without_b(value)


def _dkim_cases() -> Iterator[Case]:
    def spaces(size: int) -> tuple[Header, ...]:
        return signed(HEADER // SIGNATURE, b=b"A" + b" " * (size - 300) + b"!")

    def mapped(size: int) -> tuple[Header, ...]:
        return signed(1000, d=u_labels(size), s=u_labels(size), i=b"@" + u_labels(size))

    yield Case("dkim.read", "spaces in b=", SIGNATURE, spaces, read_dkim)
    yield Case("dkim.read", "names in h=", SIGNATURE, lambda n: signed(250, h=b"from" + b":a" * (n // 2)), read_dkim)
    yield Case("dkim.read", "signatures", FIELDS, signed, read_dkim, "fields")
    yield Case("dkim.read", "1,000 signatures, U-labels in d=, s=, i=", U_LABEL_BYTES, mapped, read_dkim)


def _arc_cases() -> Iterator[Case]:
    def comments(size: int) -> tuple[Header, ...]:
        return (Header(RESULTS, b"(a)" * (size // 3) + b"i=1;"), *_sets(1)[:2])

    def unclosed(size: int) -> tuple[Header, ...]:
        return (Header(RESULTS, b"(" * size),)

    def pairs(size: int) -> tuple[Header, ...]:
        return (Header(RESULTS, b"(" + b"\\)" * (size // 2)),)

    yield Case("arc.read", "sets", 50, _sets, arc.read, "sets")
    yield Case("arc.read", "sets, too many", 200, _sets, arc.read, "sets")
    yield Case("arc.read", "comments before i=", FIELD, comments, arc.read)
    yield Case("arc.read", "open comments before i=", FIELD, unclosed, arc.read)
    yield Case("arc.read", "pairs in a comment", FIELD, pairs, arc.read)


def _sets(count: int) -> tuple[Header, ...]:
    """A chain that has to be read to its end, with names that need mapping."""
    name = u_labels(U_LABEL_BYTES)
    return tuple(_arc_field(kind, number, name) for number in range(1, count + 1) for kind in KINDS)


def _arc_field(kind: bytes, instance: int, name: bytes) -> Header:
    tags = signature(d=name, s=name)
    if kind == b"ARC-Seal":
        tags = tags.replace(b" h=from;", b"")
    return Header(kind, b" i=%d; cv=%b;%b" % (instance, b"pass" if instance > 1 else b"none", tags))
