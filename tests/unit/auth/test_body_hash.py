import hashlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth import body_hash
from dmarcmilter.auth.body_hash import BodyHasher, BodyPlan
from tests.support import signing
from tests.support.build import counts_calls

SIMPLE = BodyPlan(relaxed=False, length=None)
RELAXED = BodyPlan(relaxed=True, length=None)
PIECES = st.sampled_from(
    [b" ", b"\t", b"\r", b"\n", b"\r\n", b"x", b" \r\n", b"  ", b"\r\n\r\n", b"a b", b"\x00\xff", b"\x0b"]
)
BODIES = st.lists(PIECES, max_size=30).map(b"".join)


def hashed(plans, *chunks):
    hasher = BodyHasher(plans)
    for chunk in chunks:
        hasher.feed(chunk)
    return hasher.finish()


def sha256(data):
    return hashlib.sha256(data).digest()


@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [
        # RFC 6376 3.4.3 and 3.4.4; the third row is the example of 3.4.5.
        (b"", b"\r\n", b""),
        (b"\r\n\r\n", b"\r\n", b""),
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n", b" C\r\nD E\r\n"),
        (b"text", b"text\r\n", b"text\r\n"),
        (b"text \t", b"text \t\r\n", b"text\r\n"),
        (b" \r\n\t\r\n", b" \r\n\t\r\n", b""),
        (b"a\r\n \r\n", b"a\r\n \r\n", b"a\r\n"),
        (b"a\r\n \r\nb\r\n", b"a\r\n \r\nb\r\n", b"a\r\n\r\nb\r\n"),
        (b"a \rb\r\n", b"a \rb\r\n", b"a \rb\r\n"),
        (b"a\n\r\n", b"a\n\r\n", b"a\n\r\n"),
        (b"a\r\r\n\r\n", b"a\r\r\n", b"a\r\r\n"),
        (b"a\r", b"a\r\r\n", b"a\r\r\n"),
        (b"a \r", b"a \r\r\n", b"a \r\r\n"),
        (b"\r\n\n\r\n", b"\r\n\n\r\n", b"\r\n\n\r\n"),
        (b"\xc3\xa4\x00\x0b \x0c\r\n", b"\xc3\xa4\x00\x0b \x0c\r\n", b"\xc3\xa4\x00\x0b \x0c\r\n"),
    ],
)
def test_canonical_body(body, simple, relaxed):
    hashes = hashed({SIMPLE, RELAXED}, body)
    assert (hashes[SIMPLE].digest, hashes[SIMPLE].length) == (sha256(simple), len(simple))
    assert (hashes[RELAXED].digest, hashes[RELAXED].length) == (sha256(relaxed), len(relaxed))


def test_the_empty_body_of_rfc_6376():
    """The values given in RFC 6376 3.4.3 and 3.4.4."""
    hashes = hashed({SIMPLE, RELAXED})
    assert hashes[SIMPLE].digest.hex() == "7eb70257593da06f682a3ddda54a9d260d4fc514f645237f5ca74b08f8da61a6"
    assert hashes[RELAXED].digest.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("length", [0, 1, 5, 6, 7, 8, 9, 10**75])
def test_length(length):
    """RFC 6376 3.7: the hash is of the first octets, the length that of all."""
    plan = BodyPlan(relaxed=False, length=length)
    found = hashed([plan, SIMPLE], b"123", b"456", b"\r\n")[plan]
    assert found.digest == sha256(b"123456\r\n"[:length])
    assert found.length == 8


def test_no_plan_no_work():
    assert hashed([], b"text") == {}


@settings(max_examples=300, deadline=None)
@given(BODIES, st.booleans())
def test_agrees_with_the_reference(body, relaxed):
    expected = signing.canonical_body(body, relaxed)
    found = hashed([BodyPlan(relaxed, None)], body)[BodyPlan(relaxed, None)]
    assert (found.digest, found.length) == (sha256(expected), len(expected))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(BODIES, st.data())
def test_chunk_boundaries_change_nothing(body, data):
    cuts = sorted(data.draw(st.sets(st.integers(0, len(body)), max_size=12)))
    lengths = data.draw(st.sets(st.integers(0, 40), max_size=4))
    plans = {BodyPlan(relaxed, length) for relaxed in (False, True) for length in [None, *lengths]}
    chunks = [body[start:end] for start, end in pairwise([0, *cuts, len(body)])]
    assert hashed(plans, *chunks) == hashed(plans, body)
    assert hashed(plans, *(bytes([octet]) for octet in body)) == hashed(plans, body)


@pytest.mark.parametrize("filler", [b" ", b"\t", b"\r\n", b"\r", b" \r\n", b"\r\n ", b"x ", b"\n\r"])
@pytest.mark.parametrize("end", [b"", b"x"])
def test_memory_is_that_of_a_chunk(filler, end):
    """However long a run is, nothing of it is kept but a count, and every octet is hashed once."""
    hasher = BodyHasher({SIMPLE, RELAXED})
    for _ in range(200):
        hasher.feed(filler * 500)
        for body in hasher._bodies.values():
            assert len(body._held) <= 2
    hasher.feed(end)
    hashes = hasher.finish()
    for plan in (SIMPLE, RELAXED):
        assert hashes[plan].length == len(signing.canonical_body(filler * 100_000 + end, plan.relaxed))


def test_work_is_linear(monkeypatch):
    """One canonicalization and one hash for each way, however many lengths are asked for (counted, not timed)."""
    seen = []
    original = body_hash.single_spaces
    monkeypatch.setattr(body_hash, "single_spaces", lambda data: seen.append(len(data)) or original(data))
    updates = []
    real = hashlib.sha256

    class Counting:
        def __init__(self):
            self._hash = real()

        def update(self, data):
            updates.append(len(data))
            self._hash.update(data)

        def digest(self):
            return self._hash.digest()

    monkeypatch.setattr(body_hash.hashlib, "sha256", Counting)
    chunk = b"some \t text  \r\n" * 100 + b"\r\n" * 100
    plans = [BodyPlan(relaxed=True, length=length) for length in [None, *range(0, 5000, 500)]]
    hashes = hashed(plans, *[chunk] * 50)
    assert sum(seen) <= 50 * (len(chunk) + 2)
    assert sum(updates) == hashes[RELAXED].length
    assert max(updates) <= len(chunk) + 2


@counts_calls
def test_a_flood_of_line_ends_is_hashed_in_blocks(monkeypatch):
    sizes = []
    original = body_hash._Body._update
    monkeypatch.setattr(body_hash._Body, "_update", lambda body, data: sizes.append(len(data)) or original(body, data))
    hashed([SIMPLE], *[b"\r\n" * 32768] * 20, b"x")
    assert max(sizes) <= 65536
    assert sum(sizes) == 20 * 65536 + 3


def test_finished_again_it_is_the_same():
    hasher = BodyHasher([SIMPLE, RELAXED, BodyPlan(relaxed=True, length=3)])
    hasher.feed(b"text \r\n\r\n ")
    assert hasher.finish() == dict(hasher.finish())
    assert hasher.finish()[RELAXED].digest == sha256(b"text\r\n")
