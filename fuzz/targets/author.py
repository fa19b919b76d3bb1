"""From fields: one domain or one problem, whatever the octets (RFC 9989 5.3.1)."""

from collections.abc import Iterator

from dmarcmilter.dmarc.author import MAX_DOMAINS, AuthorProblem, author_domain
from dmarcmilter.mail.domain import parse
from dmarcmilter.mail.message import Header
from dmarcmilter.reasons import Code, text_of
from fuzz.material import BETWEEN, fields_of, message_of, octets, rows, vectors

OTHER = Header(b"Subject", b" From: ceo@bank.example")


def check(data: bytes) -> None:
    """Parts are the bodies of the From fields; one part is the usual message."""
    headers = [Header(b"From", body) for body in data.split(BETWEEN)]
    author = author_domain(headers)
    assert (author.domain is None) != (author.problem is None)
    assert len(author.domains) <= MAX_DOMAINS
    assert all(parse(domain) == domain for domain in author.domains)
    assert text_of(author.reason).isascii()
    assert text_of(author.reason).isprintable()
    if author.domain is not None:
        assert author.domains == (author.domain,)
        _check_text(author.domain, headers[0].value)
        # A comment at the end says nothing; behind it the shortcut for plain fields is not taken.
        assert author_domain([Header(b"From", headers[0].value + b" (x)")]).domain == author.domain
    if len(headers) > 1:
        # A third field, behind what some programs take for a line end, is the graver problem.
        is_hidden = author.reason is not None and author.reason.code is Code.FROM_AFTER_STRAY_LINE_END
        assert author.problem is (AuthorProblem.MALFORMED if is_hidden else AuthorProblem.SEVERAL_FIELDS)
    # Where the MTA writes the field anew, a domain may count as misread, but no other domain is read.
    rewritten = author_domain(headers, rewrites=True)
    assert rewritten.domain == author.domain
    assert rewritten.misreading or not author.misreading
    # Neither other fields nor the letter case of the name may matter.
    assert author_domain([OTHER, *headers]) == author
    assert author_domain([Header(b"fROM", header.value) for header in headers]) == author
    assert author_domain([*headers, Header(b"From ", b"")]).domain is None


def _check_text(domain: str, body: bytes) -> None:
    """An ASCII domain is made of letters that stand there in this order, behind an `@`."""
    if not body.isascii():
        return
    text = iter(body.decode("ascii").lower().partition("@")[2])
    assert all(char in text for char in domain)


def seeds() -> Iterator[bytes]:
    for row in rows("author"):
        fields = row["from"] if isinstance(row["from"], list) else [row["from"]]
        yield BETWEEN.join(octets(row, field) for field in fields)
    for vector in vectors("attack", "dmarc"):
        yield BETWEEN.join(fields_of(message_of(vector), b"from"))
