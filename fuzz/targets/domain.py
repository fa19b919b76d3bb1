"""Domain names: one normal form, and parsing it changes nothing (RFC 1035 2.3.4, RFC 5891)."""

import re
from collections.abc import Iterator

from dmarcmilter.mail import domain as domains
from fuzz.material import octets, rows, vectors

FORM = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


def check(data: bytes) -> None:
    found = domains.parse(data)
    _check_normal(found)
    if data.isascii():
        text = data.decode("ascii")
        assert domains.parse(text) == found
        assert domains.parse(text.upper()) == found
        assert domains.parse(text.lower()) == found
    if found is not None and not data.endswith(b".") and len(data) < domains.MAX_INPUT:
        assert domains.parse(data + b".") == found
        assert domains.parse(data + b"..") is None
    try:
        _check_normal(domains.parse(data.decode("utf-8", "surrogateescape")))
    except UnicodeError as error:  # a value is asked for, not an exception
        raise AssertionError from error


def _check_normal(found: domains.Domain | None) -> None:
    if found is None:
        return
    assert FORM.fullmatch(found)
    assert len(found) <= domains.MAX_NAME
    assert domains.parse(found) == domains.parse(found.encode("ascii")) == found
    assert ".".join(domains.labels(found)) == found
    assert domains.is_within(found, found)


def seeds() -> Iterator[bytes]:
    for row in rows("domain"):
        yield octets(row, row["raw"])
    for vector in vectors("dmarc", "attack"):
        yield from (name.encode("latin-1", "replace") for name in vector["zone"])
