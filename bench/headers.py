"""From and Authentication-Results fields that cost the most time to read."""

from collections.abc import Callable, Iterator

from bench.case import Case
from dmarcmilter import pipeline
from dmarcmilter.auth import authentication_results_reader, authentication_results_writer, forged_authentication_results
from dmarcmilter.dmarc.author import author_domain
from dmarcmilter.mail import address_list
from dmarcmilter.mail import path as smtppath
from dmarcmilter.mail.domain import LabelBudget
from dmarcmilter.mail.message import Header
from dmarcmilter.milter.header_buffer import HeaderBuffer

FIELD = 1_048_576
"""Bytes of one field: libmilter's packet limit."""
FROM_FIELD = address_list.MAX_FIELD
HEADER = 4_194_304
"""Bytes of the whole header: [milter] max_header_bytes."""
FIELDS = 10_000
"""[milter] max_header_fields"""
U_LABEL_BYTES = 160
"""Bytes of a domain in U-labels, about the longest whose A-labels are still a domain name."""
ADDRESS = b"a@b.example"


def author(body: bytes) -> object:
    return authors((Header(b"From", body),))


def authors(headers: tuple[Header, ...]) -> object:
    with LabelBudget():
        return author_domain(headers)


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
    "bytes above 127": repeated(b"\xff", after=b" <a@b.example>"),
    "addresses, one domain": repeated(b"a@b.example,"),
    "addresses without commas": repeated(b"a@b.example "),
    "display names with addresses": repeated(b"a@b.example <a@b.example>,"),
    "encoded words with addresses": repeated(b"=?utf-8?q?=3Ca=40b.example=3E?= ", after=b"<a@b.example>"),
    "encoded words in encoded words": repeated(
        b"=3D=3Fa=3Fq=3F=3D3D=3F=3D", before=b"=?a?q?", after=b"?= <a@b.example>"
    ),
    "encoded words in base64": repeated(b"=?iso-2022-jp?B?GyRCJUAlQCVAGyhC?= ", after=b"<a@b.example>"),
    "encoded commas": repeated(b"a=40b.example=2C", before=b"=?a?q?", after=b"?= <a@b.example>"),
    "encoded combining marks": repeated(b"=CC=81=CC=96", before=b"=?utf-8?q?a=40b.", after=b"?= <a@b.example>"),
    "combining marks in a display name": repeated(b"\xcc\x81\xcc\x96", before=b"x@y", after=b" <a@b.example>"),
    "full-width signs": repeated(b"\xef\xbc\x9ca\xef\xbc\xa0b.example\xef\xbc\x9e", after=b" <a@b.example>"),
    "quoted quotes": repeated(b'\\"a@b.example,', before=b'"', after=b'" <a@b.example>'),
    "comments behind a long gap": repeated(b" ", before=b"<a@b.example>", after=b"()" * 4900),
    "comments with addresses": repeated(b"(a@b.example) ", after=ADDRESS),
}


def spellings(count: int) -> bytes:
    """One U-label domain, written in as many ways as there are addresses."""
    return b",".join(b"a@%b.example" % _with_case("\u00fcbcdefghijklmnop", number).encode() for number in range(count))


def _with_case(name: str, number: int) -> str:
    """The letters in upper case where the number has a bit."""
    return "".join(letter.upper() if number >> place & 1 else letter for place, letter in enumerate(name))


def u_labels(size: int) -> bytes:
    """A domain of U-labels that is mapped to its end: each label is valid and near its limit."""
    label = "\u00fcbcd\u00e4fgh\u00f6j".encode()
    return b".".join([label] * max(1, size // (len(label) + 1)))


def mixed_cases(size: int) -> bytes:
    """Addresses in one domain of 30 U-labels, each time spelled otherwise."""
    spelled = (
        "a@" + ".".join("\u00e9\u00c9"[number >> place & 1] for place in range(30)) + ".x"
        for number in range(size // 93)
    )
    return ",".join(spelled).encode()


def many(count: int, body: bytes) -> tuple[Header, ...]:
    return (Header(b"From", body),) * count


def signatures_of_u_labels(count: int) -> Iterator[Header]:
    """DKIM signatures and ARC seals whose names are all different."""
    for number in range(count):
        name = b".".join([_with_case("\u00fcbcdefghij", number).encode()] * 10)
        tags = b"a=rsa-sha256; d=%b; s=%b; b=AAAA; bh=AAAA; h=from; i=@%b" % (name, name, name)
        yield Header(b"DKIM-Signature", b" v=1; " + tags)
        yield Header(b"ARC-Seal", b" i=%d; cv=pass; " % (number % 50 + 1) + tags)
        yield Header(b"ARC-Message-Signature", b" i=%d; " % (number % 50 + 1) + tags)


def header_cases() -> Iterator[Case]:
    for name, make in FROM.items():
        yield Case("author", name, FROM_FIELD, make, author)
    yield Case("author", "spellings of one U-label domain", 1000, spellings, author, "addresses")
    yield Case("author", "four From fields of U-labels", 75_000, lambda n: many(4, mixed_cases(n)), authors)
    yield Case("author", "from behind bare CRs", HEADER, lambda n: (Header(b"X", b"\rfrom " * (n // 6)),), authors)
    yield Case(
        "pipeline.read",
        "U-labels in From, signatures and seals",
        1000,
        lambda n: (Header(b"From", mixed_cases(75_000)), *signatures_of_u_labels(n)),
        pipeline.read,
        "fields",
    )
    yield Case(
        "author",
        "From fields",
        FIELDS,
        lambda n: (Header(b"From", b" a@" + u_labels(U_LABEL_BYTES)),) * n,
        authors,
        "fields",
    )
    yield from results_cases()
    yield from path_cases()
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


PATHS = {
    "combining marks": "a\u0301\u0316".encode(),
    "quoted pairs": b"\\a",
    "international letters": "\u00fc".encode(),
    "dots": b".",
}


def path_cases() -> Iterator[Case]:
    """Recipients with local-parts of the largest size, each compared with entries."""
    for name, piece in PATHS.items():
        text = (piece * smtppath.MAX_PATH)[: smtppath.MAX_PATH - 40].decode("utf-8", "ignore").rstrip("\\")
        form = '"{}{}"@b.example' if "\\" in text else "{}{}@b.example"

        def make(count: int, text: str = text, form: str = form) -> list[str]:
            return [form.format(text, number) for number in range(count)]

        yield Case("smtppath", name, 1000, make, paths, "paths")


def paths(written: list[str]) -> object:
    smtppath._read_ascii.cache_clear()  # noqa: SLF001  a message's paths are new
    mailboxes = smtppath.read_all([path.encode() for path in written])
    return [{mailbox.key for mailbox in mailboxes if mailbox} for _ in range(50)]


def collect(fields: list[tuple[bytes, bytes]]) -> object:
    collector = HeaderBuffer(FIELDS, HEADER, leading_space=True)
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
        "bytes above 127": repeated(b"\xc3\xbc", after=b"; none"),
    }
    for name, make in values.items():
        yield Case(
            "authres.forged", name, FIELD, make, lambda value: forged_authentication_results.forged([value], ids)
        )
        yield Case(
            "authresreader", name, authentication_results_reader.MAX_PAYLOAD, make, authentication_results_reader.parse
        )
    yield Case(
        "authres.forged",
        "fields",
        2 * FIELDS,
        lambda n: [b" other.example; none"] * n,
        lambda fields: forged_authentication_results.forged(fields, ids),
        "fields",
    )
    yield Case(
        "authres.forged",
        "fields, U-labels",
        4000,
        lambda n: [b" " + u_labels(U_LABEL_BYTES) + b"; none"] * n,
        lambda fields: forged_authentication_results.forged(fields, ids),
        "fields",
    )
    hostile = tuple((name, '"' * 255) for name in ("header.d", "header.i", "header.s", "header.a", "header.b"))
    yield Case(
        "authres.render",
        "signatures",
        400,
        lambda n: [authentication_results_writer.MethodResult("dkim", "fail", properties=hostile)] * n,
        lambda fields: authentication_results_writer.render("mx", fields),
        "results",
    )
    yield Case(
        "authresreader",
        "one long list",
        authentication_results_reader.MAX_PAYLOAD,
        repeated(b"; a=b", before=b"m"),
        authentication_results_reader.parse,
    )
