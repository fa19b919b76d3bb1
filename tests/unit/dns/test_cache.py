"""dmarcmilter.dns.cache: bounds and expiry."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dns.cache import AnswerCache
from dmarcmilter.dns.lookup import Answer, Status


def key(number):
    return (b"%d" % number, 16)


def answer(size=1):
    return Answer(Status.FOUND, (b"x" * size, "text", (10, "host")))


def test_least_recently_used_goes_first():
    cache = AnswerCache(2, 10**6, lambda: 0.0)
    cache.put(key(1), answer(), 9)
    cache.put(key(2), answer(), 9)
    cache.get(key(1))
    cache.put(key(3), answer(), 9)
    assert [cache.get(key(number)) is not None for number in (1, 2, 3)] == [True, False, True]


def test_expires():
    now = [0.0]
    cache = AnswerCache(2, 10**6, lambda: now[0])
    cache.put(key(1), answer(), 9)
    now[0] = 9.0
    assert cache.get(key(1)) is None
    assert (len(cache), cache.size) == (0, 0)


def test_zero_seconds_and_too_large_are_not_kept():
    cache = AnswerCache(9, 5000, lambda: 0.0)
    cache.put(key(1), answer(), 0)
    cache.put(key(2), answer(6000), 9)
    assert len(cache) == 0


def test_clear():
    cache = AnswerCache(9, 5000, lambda: 0.0)
    cache.put(key(1), answer(), 9)
    cache.clear()
    assert (len(cache), cache.size) == (0, 0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3000), st.integers(-1, 5)), max_size=60))
def test_bounds_hold_whatever_comes(puts):
    now = [0.0]
    cache = AnswerCache(10, 20_000, lambda: now[0])
    for number, size, seconds in puts:
        now[0] += 0.5
        cache.put(key(number), answer(size), seconds)
        cache.get(key(number + 1))
        assert len(cache) <= 10
        assert 0 <= cache.size <= 20_000
        assert (cache.size == 0) == (len(cache) == 0)
