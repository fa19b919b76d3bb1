"""From and Authentication-Results fields as somebody would write them who wants our time."""

from collections.abc import Callable, Iterator

from bench.case import Case
from dmarcmilter import authres, authresreader
from dmarcmilter.collector import HeaderCollector
from dmarcmilter.dmarc.author import author_domain
from dmarcmilter.message import Header

FIELD = 1_048_576
"""Octets of one field: libmilter's packet limit."""
HEADER = 4_194_304
"""Octets of the whole header: [milter] max_header_bytes."""
FIELDS = 10_000
"""[milter] max_header_fields"""
U_LABEL_OCTETS = 160
"""Of a domain in U-labels, about the longest whose A-labels are a domain name."""
ADDRESS = b"a@b.example"


def author(body: bytes) -> object:
    return author_domain((Header(b"From", body),))


def repeated(unit: bytes, *, before: bytes = b"", after: bytes = b"") -> Callable[[int], bytes]:
    return lambda size: before + unit * ((size - len(before) - len(after)) // len(unit)) + after


FROM = {
    "spaces before the address": repeated(b" ", after=ADDRESS),
    "folds before the address": repeated(b"\r\n ", after=ADDRESS),
    "open comments": repeated(b"("),
    "nested comments, closed": lambda size: b"(" * (size // 2) + b")" * (size // 2) + ADDRESS,
    "comments one after the other": repeated(b"()", after=ADDRESS),
    "comments in the domain": repeated(b"()", before=b"a@", after=b"b.example"),
    "commas": repeated(b",", after=ADDRESS),
    "semicolons in a group": repeated(b"a:;"),
    "left angles": repeated(b"<"),
    "right angles": repeated(b">", before=ADDRESS),
    "brackets": repeated(b"[", after=b"]"),
    "at signs": repeated(b"@"),
    "route of at signs": repeated(b"@a,", before=b"<", after=b":a@b.example>"),
    "dots in the local-part": repeated(b".", before=b"a", after=b"@b.example"),
    "labels in the domain": repeated(b"b.", before=b"a@", after=b"example"),
    "one long word": repeated(b"a", after=b" <a@b.example>"),
    "words": repeated(b"a ", after=b"<a@b.example>"),
    "quotes": repeated(b'"', after=ADDRESS),
    "quoted pairs": repeated(b"\\a", before=b'"'),
    "backslashes": repeated(b"\\"),
    "one long encoded word": repeated(b"a", before=b"=?utf-8?q?", after=b"?= <a@b.example>"),
    "open encoded words": repeated(b"=?utf-8?q?a"),
    "starts of encoded words": repeated(b"=?"),
    "encoded words": repeated(b"=?a?q?a?= ", after=b"<a@b.example>"),
    "loose encoded words": repeated(b"=?a?q?(", after=ADDRESS),
    "octets above 127": repeated(b"\xff", after=b" <a@b.example>"),
    "addresses, one domain": repeated(b"a@b.example,"),
    "addresses without commas": repeated(b"a@b.example "),
    "display names with addresses": repeated(b"a@b.example <a@b.example>,"),
}


def spellings(count: int) -> bytes:
    """One U-label domain, written in as many ways as there are addresses."""
    return b",".join(b"a@%b.example" % _with_case("\u00fcbcdefghijklmnop", number).encode() for number in range(count))


def _with_case(name: str, number: int) -> str:
    """The letters in upper case where the number has a bit."""
    return "".join(letter.upper() if number >> place & 1 else letter for place, letter in enumerate(name))


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
        lambda n: (Header(b"From", b" a@" + u_labels(U_LABEL_OCTETS)),) * n,
        author_domain,
        "fields",
    )
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


def results_cases() -> Iterator[Case]:
    ids = ("mx.test.example", "b\u00fccher.example")
    values = {
        "results": repeated(b" dkim=pass header.d=x.example;", before=b"other.example;"),
        "open comments": repeated(b"("),
        "nested comments": lambda size: b"(" * (size // 2) + b")" * (size // 2) + b"other.example; none",
        "comments": repeated(b"()", after=b"other.example; none"),
        "quoted pairs": repeated(b"\\a", before=b'"'),
        "long token": repeated(b"a", after=b"/"),
        "spaces": repeated(b" ", after=b"other.example; none"),
        "folds": repeated(b"\r\n ", after=b"other.example; none"),
        "job": repeated(b"/", before=b"a"),
        "octets above 127": repeated(b"\xc3\xbc", after=b"; none"),
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
        lambda n: [b" " + u_labels(U_LABEL_OCTETS) + b"; none"] * n,
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
        repeated(b"; a=b", before=b"m"),
        authresreader.parse,
    )
