"""Paths of RCPT and MAIL (RFC 5321 4.1.2): one mailbox or none; what is plain is this address to every MTA."""

import re
from collections.abc import Iterator

from dmarcmilter.mail.domain import parse
from dmarcmilter.mail.path import MAX_PATH, MAX_PLAIN_LOCAL, Mailbox, folded, is_null, read, read_all
from fuzz.material import rows

_COMMENT = re.compile(r"\([^()]*\)")
_ROUTE = re.compile(r"^\s*@[^:]*:")


def check(data: bytes) -> None:
    found = read(data)
    assert read_all([data]) == [found]
    assert not (is_null(data) and found)
    if found is None:
        return
    assert len(data) <= MAX_PATH
    assert parse(found.domain) == found.domain
    assert found.key == folded(found.local) == folded(found.key)
    assert found.is_same(found)
    _check_plain(found, data.decode("utf-8", "surrogateescape"))
    _check_other_spellings(found, data)


def _check_plain(found: Mailbox, text: str) -> None:
    """No lenient reader finds another address in a plain path; an exact one is read again from what it stands for."""
    if found.plain:
        assert len(found.local.encode("utf-8", "surrogateescape")) <= MAX_PLAIN_LOCAL
        assert not set(found.local) & set('"\\ @%!:,;<>()[]\t\r\n\0')
        for reading in _readings(text):
            local, _, domain = reading.rpartition("@")
            assert (folded(local), parse(domain)) == (found.key, found.domain), reading
    if found.exact and not text.startswith('"'):
        assert text.rpartition("@")[0] == found.local


def _readings(text: str) -> Iterator[str]:
    """What MTAs may make of it: without quotes, backslashes, comments, source route or blanks."""
    for one in (text, _COMMENT.sub("", text), _ROUTE.sub("", text), _ROUTE.sub("", _COMMENT.sub("", text))):
        bare = re.sub(r"\\(.)", r"\1", one).replace('"', "").replace(" ", "").strip("<>")
        yield bare
        yield bare.partition("%")[0] + "@" + bare.rpartition("@")[2] if "%" in bare else bare


def _check_other_spellings(found: Mailbox, data: bytes) -> None:
    for other in (b" " + data, data + b" ", b"@relay.example:" + data.lstrip(b" ")):
        again = read(other)
        if again is not None:
            assert again.is_same(found)
            assert not again.plain
            assert not again.exact
    quoted = re.sub(r'(["\\])', r"\\\1", found.local)
    again = read(f'"{quoted}"@{found.domain}'.encode("utf-8", "surrogateescape"))
    assert again is None or again.is_same(found)
    assert again is not None or len(quoted) > MAX_PATH - MAX_PLAIN_LOCAL or not found.local.isprintable()
    for character in b"\0\r\n\t()<>":
        assert read(data + bytes([character])) is None


def seeds() -> Iterator[bytes]:
    for row in rows("paths"):
        yield row["path"].encode()
