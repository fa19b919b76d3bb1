"""ARC over whole messages: no chain passes over what its newest signature did not cover (RFC 8617 5.2)."""

from collections.abc import Iterator

from dmarcmilter.auth import arc
from dmarcmilter.auth.body_hash import BodyHasher
from dmarcmilter.auth.results import ArcResult, ArcWord
from dmarcmilter.mail import message_file
from dmarcmilter.mail.domain import parse
from fuzz import signed
from fuzz.material import message_of, vectors
from tests.support import signing

SIGNED = {signed.content(mail.headers, mail.body) for mail in map(message_file.parse, signed.by_arc())}
MAX_QUESTIONS = arc.MAX_SETS + arc.MAX_OLDER + 1


def check(data: bytes) -> None:
    """The input is a message with CRLF."""
    mail = message_file.parse(data)
    chain = arc.read(mail.headers)
    assert not (chain.sets and chain.fault)
    assert [one.instance for one in chain.sets] == list(range(1, len(chain.sets) + 1))
    assert len(arc.plans(chain)) <= 1
    names = arc.key_names(chain)
    assert len(names) <= MAX_QUESTIONS
    asked: list[str] = []
    hasher = BodyHasher(arc.plans(chain))
    hasher.feed(mail.body)
    lookup = signing.zone(signed.KEY_ZONE, asked=asked)
    result = arc.verify(chain, mail.headers, hasher.finish(), lookup, signed.AFTER_SIGNING)
    assert set(asked) <= set(names)
    _check_result(result)
    if result.result is ArcWord.PASS:
        assert signed.content(mail.headers, mail.body) in SIGNED
    # What is no part of the chain cannot break it.
    other = arc.read((*mail.headers, *signed.HEADERS[2:]))
    assert (other.fault, len(other.sets)) == (chain.fault, len(chain.sets))


def _check_result(result: ArcResult) -> None:
    passed = result.result is ArcWord.PASS
    assert passed == bool(result.sets) == (result.oldest_pass is not None)
    assert (result.result is ArcWord.FAIL) == bool(result.reason)
    assert [one.instance for one in result.sets] == list(range(len(result.sets), 0, -1))
    assert all(parse(one.sealer) == one.sealer for one in result.sets)
    assert result.oldest_pass is None or result.oldest_pass in {0, *range(2, len(result.sets) + 1)}


def seeds() -> Iterator[bytes]:
    yield from signed.by_arc()
    yield from map(message_of, vectors("arc"))
