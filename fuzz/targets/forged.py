"""Forged results (RFC 8601 5): what any lenient reader takes for ours is removed."""

import re
from collections.abc import Iterator

from dmarcmilter.auth import authentication_results_reader
from dmarcmilter.auth.forged_authentication_results import forged
from dmarcmilter.mail import domain
from fuzz.material import fields_of, message_of, octets, rows, vectors

OURS = ("mx.test.example", "xn--bcher-kva.example")

MAX_READ = 500
"""Octets that the readers here look at: nested comments take them long."""

_COMMENT = re.compile(r"\([^()]*\)")
_FIRST_WORD = re.compile(r"[^\s;()]+")
_SPACE = " \t\r\n\v\f\0"


def check(data: bytes) -> None:
    for value in (data, b" " + data):
        found = forged([value], OURS)
        assert found in ((), (1,))
        readings = set(_readings(value))
        assert found or not readings & set(OURS), readings
        # Fields beside it change nothing.
        number = len(found)
        assert forged([value, b" other.example; none", value], OURS) == (3, 1)[: 2 * number]
        assert forged([value], [identifier.upper() for identifier in OURS]) == found


def _readings(value: bytes) -> Iterator[str]:
    """Identifiers as readers of several habits would find them."""
    value = value[:MAX_READ]
    for text in (value.decode("utf-8", "replace"), value.decode("ascii", "ignore"), value.decode("latin-1")):
        unfolded = re.sub(r"\r?\n(?=[ \t])", "", text)
        bare = unfolded
        while bare != (less := _COMMENT.sub(" ", bare)):
            bare = less
        for one in (unfolded, bare, _COMMENT.sub("", unfolded)):
            yield _plain(one.partition(";")[0])
            yield _plain(next(iter(one.lstrip(_SPACE).split()), ""))
            yield _plain(word[0] if (word := _FIRST_WORD.match(one.lstrip(_SPACE))) else "")
    read = authentication_results_reader.parse(value)
    if read is not None:
        yield _plain(read.authserv_id)


def _plain(text: str) -> str:
    text = text.strip(_SPACE).strip('"').strip(_SPACE).rstrip(".").lower()
    return domain.parse(text) or text


def seeds() -> Iterator[bytes]:
    for row in rows("authres_forged"):
        yield octets(row, row["value"])
    for vector in vectors("attack"):
        yield from fields_of(message_of(vector), b"authentication-results")
