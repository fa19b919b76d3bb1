"""Header fields: From, Authentication-Results, DKIM and ARC fields as somebody would write them who wants our time."""

import base64
from collections.abc import Callable, Iterator

from bench.case import Case
from dmarcmilter import authres, authresreader
from dmarcmilter.checks import arc, dkim, taglist
from dmarcmilter.collector import HeaderCollector
from dmarcmilter.dmarc.author import author_domain
from dmarcmilter.message import Header

FIELD = 1_048_576
"""Octets of one field: libmilter's packet limit."""
HEADER = 4_194_304
"""Octets of the whole header: [milter] max_header_bytes."""
FIELDS = 10_000
"""[milter] max_header_fields"""
U_LABEL_OCTETS = 300
"""Of a domain in U-labels, with about as many characters as a domain name may have."""
ADDRESS = b"a@b.example"


def author(body: bytes) -> object:
    return author_domain((Header(b"From", body),))


def _repeated(unit: bytes, *, before: bytes = b"", after: bytes = b"") -> Callable[[int], bytes]:
    return lambda size: before + unit * ((size - len(before) - len(after)) // len(unit)) + after


FROM = {
    "spaces before the address": _repeated(b" ", after=ADDRESS),
    "folds before the address": _repeated(b"\r\n ", after=ADDRESS),
    "open comments": _repeated(b"("),
    "nested comments, closed": lambda size: b"(" * (size // 2) + b")" * (size // 2) + ADDRESS,
    "comments one after the other": _repeated(b"()", after=ADDRESS),
    "comments in the domain": _repeated(b"()", before=b"a@", after=b"b.example"),
    "commas": _repeated(b",", after=ADDRESS),
    "semicolons in a group": _repeated(b"a:;"),
    "left angles": _repeated(b"<"),
    "right angles": _repeated(b">", before=ADDRESS),
    "brackets": _repeated(b"[", after=b"]"),
    "at signs": _repeated(b"@"),
    "route of at signs": _repeated(b"@a,", before=b"<", after=b":a@b.example>"),
    "dots in the local-part": _repeated(b".", before=b"a", after=b"@b.example"),
    "labels in the domain": _repeated(b"b.", before=b"a@", after=b"example"),
    "one long word": _repeated(b"a", after=b" <a@b.example>"),
    "words": _repeated(b"a ", after=b"<a@b.example>"),
    "quotes": _repeated(b'"', after=ADDRESS),
    "quoted pairs": _repeated(b"\\a", before=b'"'),
    "backslashes": _repeated(b"\\"),
    "one long encoded word": _repeated(b"a", before=b"=?utf-8?q?", after=b"?= <a@b.example>"),
    "open encoded words": _repeated(b"=?utf-8?q?a"),
    "starts of encoded words": _repeated(b"=?"),
    "encoded words": _repeated(b"=?a?q?a?= ", after=b"<a@b.example>"),
    "loose encoded words": _repeated(b"=?a?q?(", after=ADDRESS),
    "octets above 127": _repeated(b"\xff", after=b" <a@b.example>"),
    "addresses, one domain": _repeated(b"a@b.example,"),
    "addresses without commas": _repeated(b"a@b.example "),
    "display names with addresses": _repeated(b"a@b.example <a@b.example>,"),
}


def spellings(count: int) -> bytes:
    """One U-label domain, written in as many ways as there are addresses."""
    return b",".join(b"a@%b.example" % _with_case("\u00fcbcdefghijklmnop", number).encode() for number in range(count))


def _with_case(name: str, number: int) -> str:
    """The letters in upper case where the number has a bit."""
    return "".join(letter.upper() if number >> place & 1 else letter for place, letter in enumerate(name))


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


def u_labels(octets: int) -> bytes:
    """A domain of U-labels that is mapped to its end: each label is valid and near its limit."""
    label = "\u00fcbcd\u00e4fgh\u00f6j".encode()
    return b".".join([label] * max(1, octets // (len(label) + 1)))


def header_cases() -> Iterator[Case]:
    for name, make in FROM.items():
        yield Case("author", name, FIELD, make, author)
    yield Case("author", "spellings of one U-label domain", 1000, spellings, author, "addresses")
    yield Case(
        "author",
        "From fields",
        FIELDS,
        lambda n: (Header(b"From", b" a@" + u_labels(400)),) * n,
        author_domain,
        "fields",
    )
    yield from dkim_cases()
    yield from arc_cases()
    yield from results_cases()
    yield Case("collector", "fields", FIELDS, lambda n: [(b"X", b" y")] * n, collect, "fields")
    yield Case("collector", "line ends in one field", FIELD, lambda n: [(b"X", b"\n " * (n // 2))], collect)
    yield Case(
        "collector",
        "late Authentication-Results",
        4 * FIELDS,
        lambda n: [(b"Authentication-Results", b" a")] * n,
        collect,
        "fields",
    )


def collect(fields: list[tuple[bytes, bytes]]) -> object:
    collector = HeaderCollector(FIELDS, HEADER, leading_space=True)
    for name, value in fields:
        collector.add(name, value)
    return collector.fields()


def dkim_cases() -> Iterator[Case]:
    lists = {
        "semicolons": b";",
        "tags without a name": b"=;",
        "one letter tags": b"a=;",
        "spaces": b" ",
        "folds": b"\r\n ",
    }
    for name, unit in lists.items():
        yield Case("taglist", name, FIELD, _repeated(unit, before=b"v=1;"), taglist.parse)
        yield Case("taglist", name + ", b= emptied", FIELD, _repeated(unit, before=b"b="), empty_b)
    yield Case("taglist", "spaces in base64", FIELD, _repeated(b" ", before=b"A", after=b"!"), taglist.base64)
    yield Case("taglist", "equals in base64", FIELD, _repeated(b"=", before=b"A"), taglist.base64)
    yield Case(
        "dkim.read",
        "spaces in b=",
        16_000,
        lambda n: signed(1000, b=b"A" + b" " * (n - 300) + b"!")[: HEADER // n],
        read_dkim,
    )
    yield Case("dkim.read", "names in h=", 15_000, lambda n: signed(250, h=b"from" + b":a" * (n // 2)), read_dkim)
    yield Case("dkim.read", "signatures", FIELDS, signed, read_dkim, "fields")
    yield Case(
        "dkim.read",
        "1,000 signatures, U-labels in d=, s=, i=",
        1000,
        lambda n: signed(1000, d=u_labels(n), s=u_labels(n), i=b"@" + u_labels(n)),
        read_dkim,
    )
    yield Case(
        "dkim.read",
        "signatures, 250 octets of U-labels each",
        4000,
        lambda n: signed(n, d=u_labels(250), s=u_labels(250), i=b"@" + u_labels(250)),
        read_dkim,
        "fields",
    )


def empty_b(value: bytes) -> object:
    return taglist.without_value(value, b"b")


def arc_cases() -> Iterator[Case]:
    def sets(count: int) -> tuple[Header, ...]:
        kinds = (b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results")
        return tuple(Header(kind, b" i=%d;" % number + signature()) for number in range(1, count + 1) for kind in kinds)

    def results(size: int) -> tuple[Header, ...]:
        return (Header(b"ARC-Authentication-Results", b"(a)" * (size // 3) + b"i=1;"), *sets(1)[:2])

    yield Case("arc.read", "sets", 200, sets, arc.read, "sets")
    yield Case(
        "arc.read",
        "seals with U-labels",
        50,
        lambda n: tuple(
            Header(
                kind,
                b" i=%d; cv=%b;" % (number, b"pass" if number > 1 else b"none")
                + signature(d=u_labels(250), s=u_labels(250)).replace(
                    b" h=from;", b"" if kind == b"ARC-Seal" else b" h=from;"
                ),
            )
            for number in range(1, n + 1)
            for kind in (b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results")
        ),
        arc.read,
        "sets",
    )
    yield Case("arc.read", "comments before i=", FIELD, results, arc.read)
    yield Case(
        "arc.read",
        "open comments before i=",
        FIELD,
        lambda n: (Header(b"ARC-Authentication-Results", b"(" * n),),
        arc.read,
    )
    yield Case(
        "arc.read",
        "pairs in a comment",
        FIELD,
        lambda n: (Header(b"ARC-Authentication-Results", b"(" + b"\\)" * (n // 2)),),
        arc.read,
    )


def results_cases() -> Iterator[Case]:
    ids = ("mx.test.example", "b\u00fccher.example")
    values = {
        "results": _repeated(b" dkim=pass header.d=x.example;", before=b"other.example;"),
        "open comments": _repeated(b"("),
        "nested comments": lambda size: b"(" * (size // 2) + b")" * (size // 2) + b"other.example; none",
        "comments": _repeated(b"()", after=b"other.example; none"),
        "quoted pairs": _repeated(b"\\a", before=b'"'),
        "long token": _repeated(b"a", after=b"/"),
        "spaces": _repeated(b" ", after=b"other.example; none"),
        "folds": _repeated(b"\r\n ", after=b"other.example; none"),
        "job": _repeated(b"/", before=b"a"),
        "octets above 127": _repeated(b"\xc3\xbc", after=b"; none"),
    }
    for name, make in values.items():
        yield Case("authres.forged", name, FIELD, make, lambda value: authres.forged([value], ids))
        yield Case("authresreader", name, authresreader.MAX_OCTETS, make, authresreader.parse)
    yield Case(
        "authres.forged",
        "fields",
        2 * FIELDS,
        lambda n: [b" other.example; none"] * n,
        lambda found: authres.forged(found, ids),
        "fields",
    )
    yield Case(
        "authres.forged",
        "fields, U-labels",
        4000,
        lambda n: [b" " + u_labels(900) + b"; none"] * n,
        lambda found: authres.forged(found, ids),
        "fields",
    )
    hostile = tuple((name, '"' * 255) for name in ("header.d", "header.i", "header.s", "header.a", "header.b"))
    yield Case(
        "authres.render",
        "signatures",
        400,
        lambda n: [authres.Result("dkim", "fail", properties=hostile)] * n,
        lambda found: authres.render("mx", found),
        "results",
    )
    yield Case(
        "authresreader",
        "one long list",
        authresreader.MAX_OCTETS,
        _repeated(b"; a=b", before=b"m"),
        authresreader.parse,
    )
