"""From fields with an Author Domain: no program that knows less than the grammar finds another (RFC 9989 11.5)."""

import re
import unicodedata
from collections.abc import Iterator

from dmarcmilter.dmarc.author import author_domain
from dmarcmilter.mail.domain import parse
from dmarcmilter.mail.encoded_words import View, decoded
from dmarcmilter.mail.header_tokens import unfold
from dmarcmilter.mail.message import Header
from fuzz.material import fields_of, message_of, octets, rows, vectors
from tests.support.lenient_readers import ADDRESS, QUOTED, READERS
from tests.support.lenient_readers import decoded as decoded_by_python

MAX_READ = 500
"""Bytes that the readers here look at: some are slow."""
MAX_GROWTH = 4
"""Characters that one byte of an encoded word may become."""

_AROUND = ".'\u2018\u2019"
_BEYOND_READERS = re.compile(r"@[^>]*:|[\u200b-\u200d\u3002\uff0e\uff61\ufeff]")
"""Not known to the readers here: source routes (RFC 5322 4.4), full stops of other scripts, zero-width characters."""


def check(data: bytes) -> None:
    body = data[:MAX_READ]
    text = unfold(body).decode("utf-8", "replace")
    for view in View:
        assert len(decoded(text, view)) <= MAX_GROWTH * len(text)
    assert decoded(text, View.RAW) == text
    author = author_domain([Header(b"From", b" " + body)])
    if author.domain is None:
        assert not author.misreading
    elif not author.misreading and not _is_beyond_readers(text):
        # What has no dot is nobody's domain.
        names = {name.strip(_AROUND).lower() for name in _read_by_others(text)}
        domains = {parse(name) for name in names if "." in name}
        assert domains - {None} <= {author.domain}, names


def _is_beyond_readers(text: str) -> bool:
    """Whether the readers here cannot read the domain.

    They stop at a combining mark, which many scripts need for their names: a field that has one cannot be refused for
    it. (A program that knows ASCII alone stops at any character of such names.)
    """
    return bool(_BEYOND_READERS.search(text)) or any(unicodedata.category(char).startswith("M") for char in text)


def _read_by_others(text: str) -> Iterator[str]:
    """Domains that careless programs would show, whether they decode encoded words first or not."""
    shown = QUOTED.sub("x", text)
    for one in (shown, decoded_by_python(shown)):
        for reader in READERS:
            for found in reader(one):
                yield from ADDRESS.findall(found)


def seeds() -> Iterator[bytes]:
    for row in rows("author"):
        fields = row["from"] if isinstance(row["from"], list) else [row["from"]]
        yield from (octets(row, field) for field in fields)
    for vector in vectors("attack", "dmarc"):
        yield from fields_of(message_of(vector), b"from")
