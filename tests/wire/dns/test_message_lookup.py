"""dmarcmilter.dns.message_lookup: what one message may use."""

import time

import pytest

from dmarcmilter.dns.lookup import Answer, Lookup, Status
from dmarcmilter.dns.message_lookup import MAX_AHEAD_OF_ONE, LimitedLookup, MessageLookup
from dmarcmilter.dns.resolver import Resolver
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.testing.name_server import NameServer
from tests.support.build import sets_limits

FOUND = Answer(Status.FOUND, (b"x",))
EVERYTHING = {"*.example": {"TXT": ["x"]}}


@pytest.fixture
def server():
    with NameServer(EVERYTHING) as running:
        yield running


def make(server, budget=5.0, max_queries=50, **options):
    return MessageLookup(Resolver([("127.0.0.1", server.port)], **options), budget, max_queries)


def test_is_a_lookup_and_counts(server):
    lookup: Lookup = make(server)
    assert lookup("a.example", "TXT") == lookup("A.example.", "TXT") == FOUND
    assert lookup("a.test", "A") == Answer(Status.NXDOMAIN)
    assert (lookup.queries, lookup.cache_hits, lookup.failures) == (2, 0, 0)
    assert 0 < lookup.milliseconds < 1000
    lookup.close()


def test_questions_asked_ahead_overlap(server):
    server.delay = 0.2
    lookup = make(server)
    names = [f"n{number}.example" for number in range(8)]
    began = time.monotonic()
    for name in names:
        lookup.start(name, "TXT")
        lookup.start(name, "TXT")
    assert time.monotonic() - began < 0.1
    assert [lookup(name, "TXT") for name in names] == [FOUND] * 8
    assert time.monotonic() - began < 0.5
    assert lookup.queries == len(server.queries) == 8
    lookup.close()


def test_answer_that_waits_costs_no_waiting(server):
    lookup = make(server)
    lookup.start("a.example", "TXT")
    time.sleep(0.1)
    assert lookup("a.example", "TXT") == FOUND
    assert lookup.milliseconds < 50
    lookup.close()


def test_unanswered_ahead_of_need_is_asked_again(server):
    server.load({"a.example": {"_": "timeout"}})
    lookup = make(server, timeout=0.6)
    lookup.start("a.example", "TXT")
    time.sleep(0.7)
    server.load(EVERYTHING)
    assert lookup("a.example", "TXT") == FOUND
    lookup.close()


@pytest.mark.parametrize("ahead", [False, True])
def test_queries_are_bounded(server, ahead):
    # ARC-09
    lookup = make(server, max_queries=3)
    for number in range(5):
        if ahead:
            lookup.start(f"n{number}.example", "TXT")
    answers = [lookup(f"n{number}.example", "TXT") for number in range(5)]
    assert answers[:3] == [FOUND] * 3
    assert [answer.status for answer in answers[3:]] == [Status.FAILED] * 2
    assert str(answers[3].reason) == "budget of 3 DNS queries spent"
    assert (lookup.queries, lookup.failures, len(server.queries)) == (3, 2, 3)
    lookup.close()


def test_waiting_is_bounded_for_the_message(server):
    # SPF-04
    server.load({"*.example": {"_": "timeout"}})
    lookup = make(server, budget=0.3, timeout=5.0)
    began = time.monotonic()
    answers = [lookup(f"n{number}.example", "TXT") for number in range(5)]
    assert 0.25 < time.monotonic() - began < 0.6
    assert {answer.status for answer in answers} == {Status.FAILED}
    assert {str(answer.reason) for answer in answers} == {"budget of 0.3 s for DNS spent"}
    assert lookup.failures == 5
    lookup.close()


def test_a_limited_lookup_waits_for_less_of_the_same_budget(server):
    server.load(
        {"dead.example": {"_": "timeout"}, "*.dead.example": {"_": "timeout"}, "*.live.example": {"TXT": ["x"]}}
    )
    lookup = make(server, budget=5.0, timeout=5.0)
    limited: Lookup = LimitedLookup(lookup, 0.3)
    for number in range(9):
        lookup.start(f"n{number}.dead.example", "TXT")
    lookup.start("early.live.example", "TXT")
    began = time.monotonic()
    assert limited("a.live.example", "TXT") == FOUND
    assert {limited(f"n{number}.dead.example", "TXT").status for number in range(9)} == {Status.FAILED}
    assert 0.25 < time.monotonic() - began < 0.7
    # What has arrived is taken, and the others' time is not spent.
    assert limited("early.live.example", "TXT") == FOUND
    assert lookup("b.live.example", "TXT") == FOUND
    assert lookup.milliseconds < 1000
    lookup.close()


def test_a_limited_lookup_is_bounded_by_the_message(server):
    server.load({"*.example": {"_": "timeout"}})
    lookup = make(server, budget=0.2, timeout=5.0)
    limited = LimitedLookup(lookup, 5.0)
    began = time.monotonic()
    assert [limited(f"n{number}.example", "TXT").status for number in range(5)] == [Status.FAILED] * 5
    assert time.monotonic() - began < 0.6
    lookup.close()


def test_spent_budget_still_takes_what_is_there(server):
    server.load({"a.example": {"TXT": ["x"]}, "t.example": {"_": "timeout"}})
    lookup = make(server, budget=0.2)
    lookup.start("a.example", "TXT")
    assert lookup("t.example", "TXT").status is Status.FAILED
    assert lookup("a.example", "TXT") == FOUND
    lookup.close()


def test_spent_budget_takes_all_that_has_arrived(server):
    server.load({"*.example": {"TXT": ["x"]}, "t.test": {"_": "timeout"}, "late.test": {"TXT": ["x"], "_": "slow"}})
    lookup = make(server, budget=0.2)
    for number in range(20):
        lookup.start(f"n{number}.example", "TXT")
    lookup.start("late.test", "TXT")
    assert lookup("t.test", "TXT").status is Status.FAILED
    began = time.monotonic()
    assert [lookup(f"n{number}.example", "TXT") for number in range(20)] == [FOUND] * 20
    assert lookup("late.test", "TXT") == Answer(Status.FAILED, reason=Reason.of(Code.DNS_TIME_SPENT, seconds="0.2"))
    assert time.monotonic() - began < 0.1
    lookup.close()


def test_one_message_asks_ahead_so_many_at_once(server):
    lookup = make(server)
    for number in range(MAX_AHEAD_OF_ONE + 10):
        lookup.start(f"n{number}.example", "TXT")
    assert lookup.queries == MAX_AHEAD_OF_ONE
    for number in range(5):
        assert lookup(f"n{number}.example", "TXT") == FOUND
    for number in range(MAX_AHEAD_OF_ONE + 10):
        lookup.start(f"n{number}.example", "TXT")
    assert lookup.queries == MAX_AHEAD_OF_ONE + 5
    lookup.close()


def test_what_others_asked_does_not_count(server):
    resolver = Resolver([("127.0.0.1", server.port)])
    others = [MessageLookup(resolver, 5.0, 50) for _ in range(2)]
    for number, other in enumerate(others):
        for label in range(MAX_AHEAD_OF_ONE):
            other.start(f"n{label}.x{number}.example", "TXT")
    lookup = MessageLookup(resolver, 5.0, 50)
    for number in range(2):
        for label in range(MAX_AHEAD_OF_ONE):
            lookup.start(f"n{label}.x{number}.example", "TXT")
    lookup.start("a.example", "TXT")
    assert (lookup.queries, lookup.cache_hits) == (1, 2 * MAX_AHEAD_OF_ONE)
    for session in (*others, lookup):
        session.close()
    assert len(resolver._in_flight) == 0


def test_close_keeps_what_was_paid_for():
    with NameServer(EVERYTHING, ttl=60) as server:
        resolver = Resolver([("127.0.0.1", server.port)])
        first = MessageLookup(resolver, 5.0, 50)
        first.start("a.example", "TXT")
        time.sleep(0.1)
        first.close()
        second = MessageLookup(resolver, 5.0, 50)
        assert second("a.example", "TXT") == FOUND
        assert (second.queries, second.cache_hits, len(server.queries)) == (0, 1, 1)


def test_close_leaves_a_query_that_another_message_waits_for(server):
    server.delay = 0.2
    resolver = Resolver([("127.0.0.1", server.port)])
    first, second = MessageLookup(resolver, 5.0, 50), MessageLookup(resolver, 5.0, 50)
    first.start("a.example", "TXT")
    second.start("a.example", "TXT")
    first.close()
    assert len(resolver._in_flight) == 1
    assert second("a.example", "TXT") == FOUND
    assert (second.queries, second.cache_hits, len(server.queries)) == (0, 1, 1)
    second.close()
    assert len(resolver._in_flight) == 0


def test_after_close_nothing_is_asked(server):
    lookup = make(server)
    lookup("a.example", "TXT")
    lookup.close()
    lookup.close()
    lookup.start("b.example", "TXT")
    assert lookup("b.example", "TXT") == Answer(Status.FAILED, reason=Reason.of(Code.DNS_MESSAGE_ENDED))
    assert lookup("a.example", "TXT") == FOUND
    assert len(server.queries) == 1


@sets_limits
def test_ahead_of_need_only_while_there_is_room(server, monkeypatch):
    monkeypatch.setattr("dmarcmilter.dns.message_lookup.MAX_AHEAD", 2)
    server.delay = 0.1
    lookup = make(server)
    for number in range(4):
        lookup.start(f"n{number}.example", "TXT")
    assert lookup.queries == 2
    assert lookup("n3.example", "TXT") == FOUND
    lookup.close()


def test_names_that_dns_cannot_carry_cost_nothing(server):
    lookup = make(server, budget=0.0, max_queries=0)
    for name in ("", ".", "a..b", "x" * 64, "a." * 127 + "b", "\ud800"):
        lookup.start(name, "TXT")
        assert lookup(name, "TXT") == Answer(Status.NXDOMAIN)


def test_others_may_work_while_a_lookup_waits(server):
    server.delay = 0.1
    calls = []
    lookup = MessageLookup(
        Resolver([("127.0.0.1", server.port)]),
        budget=5.0,
        max_queries=50,
        before_wait=lambda: calls.append("wait"),
        after_lookup=lambda: (calls.append("answer"), time.sleep(0.3)),
        observe=lambda name, *_: calls.append(name),
    )
    assert lookup("a.example", "TXT") == lookup("a.example", "TXT") == FOUND
    assert calls == ["wait", "answer", "a.example"]
    assert lookup.milliseconds < 250  # without the time of the calls
    lookup.close()
