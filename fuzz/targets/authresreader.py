"""Results of others (RFC 8601 2.2): read within limits, and the same for the same meaning."""

import re
from collections.abc import Iterator

from dmarcmilter.auth.authentication_results_reader import MAX_PROPERTIES, MAX_RESULTS, ReadAuthenticationResults, parse
from dmarcmilter.auth.authentication_results_writer import MethodResult, render
from fuzz.material import fields_of, message_of, octets, rows, vectors

KEYWORD = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?")
_WRITTEN = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+")


def check(data: bytes) -> None:
    found = parse(data)
    if found is None:
        return
    assert len(found.results) <= MAX_RESULTS
    for result in found.results:
        assert KEYWORD.fullmatch(result.method)
        assert KEYWORD.fullmatch(result.result)
        # A result stands there in so many words.
        assert result.result.encode() in data.lower()
        assert len(result.properties) <= MAX_PROPERTIES
    assert parse(b" " + data + b"\r\n ") == found
    if not data.endswith(b"\\"):
        _check_commented(found, data)
    _check_written(found)


def _check_commented(found: ReadAuthenticationResults, data: bytes) -> None:
    commented = parse(b"(x)" + data + b"(; a=b)")
    assert commented is not None
    # Empty segments are left out, those of a comment count as unreadable: another one may be taken for the authserv-id.
    if commented.authserv_id == found.authserv_id:
        assert commented.results == found.results
        assert commented.may_hide_dmarc == found.may_hide_dmarc


def _check_written(found: ReadAuthenticationResults) -> None:
    """Written by our own writer it says the same, as far as that one writes such values."""
    results = [
        MethodResult(
            one.method, one.result, properties=tuple(pair for pair in one.properties if _WRITTEN.fullmatch(pair[0]))
        )
        for one in found.results[:10]
        if "_" not in one.method + one.result
    ]
    field = render("mx.test.example", results)
    read = parse(field.replace("\n", "\r\n").encode("ascii"))
    assert read is not None
    assert [(one.method, one.result) for one in read.results] == [(one.method, one.result) for one in results]


def seeds() -> Iterator[bytes]:
    yield b'mx 1; dkim/1=pass reason="a \\"b" header.d=a.example (c (d)) header.i="a b"@b.example; none; spf=pass'
    for row in rows("authres_render"):
        yield row["expected"].encode()
    for row in rows("authres_forged"):
        yield octets(row, row["value"])
    for vector in vectors("arc", "attack"):
        message = message_of(vector)
        yield from fields_of(message, b"authentication-results")
        yield from (value.partition(b";")[2] for value in fields_of(message, b"arc-authentication-results"))
