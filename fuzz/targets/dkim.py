"""DKIM over whole messages: whatever is done to a signed message, what passes is what was signed (RFC 6376 6.1)."""

from collections.abc import Iterator

from dmarcmilter.auth import dkim
from dmarcmilter.auth.body_hash import BodyHasher
from dmarcmilter.auth.results import DkimResult, DkimWord
from dmarcmilter.mail import message_file
from dmarcmilter.mail.domain import Domain, parse
from fuzz import signed
from fuzz.material import message_of, vectors
from tests.support import signing

SIGNED = {
    signed.content(mail.headers, mail.body) for mail in map(message_file.parse, [signed.from_rfc(), *signed.by_dkim()])
}
NEAR = Domain("example.org")


def check(data: bytes) -> None:
    """The input is a message with CRLF."""
    mail = message_file.parse(data)
    asked: list[str] = []
    found = dkim.read(mail.headers, NEAR)
    names = dkim.key_names(found, NEAR)
    assert sum(one.signature is not None for one in found) <= dkim.MAX_SIGNATURES
    assert len(found) <= dkim.MAX_SIGNATURES + dkim.MAX_UNVERIFIED
    hasher = BodyHasher(dkim.plans(found))
    hasher.feed(mail.body)
    lookup = signing.zone(signed.KEY_ZONE, asked=asked)
    results = dkim.verify(found, mail.headers, hasher.finish(), lookup, signed.AFTER_SIGNING)
    assert len(results) == len(found)
    assert set(asked) <= set(names)
    for result in results:
        _check_result(result)
        if result.result is DkimWord.PASS:
            assert signed.content(mail.headers, mail.body) in SIGNED


def _check_result(result: DkimResult) -> None:
    assert result.result is not DkimWord.NONE
    assert (result.result is DkimWord.PASS) == (not result.reason)
    for name in (result.domain, result.selector):
        assert name is None or parse(name) == name
    assert result.result is not DkimWord.PASS or (result.domain and result.selector and result.algorithm)
    assert result.signature.isascii()
    assert result.identity is None or result.identity.isprintable()


def seeds() -> Iterator[bytes]:
    yield signed.from_rfc()
    yield from signed.by_dkim()
    yield from map(message_of, vectors("dkim"))
