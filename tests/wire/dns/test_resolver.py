"""dmarcmilter.dns against a real name server on the loopback interface."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dmarcmilter.dns.cache import MAX_TTL
from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.dns.message_lookup import MAX_AHEAD, MAX_AHEAD_OF_ONE, MessageLookup
from dmarcmilter.dns.resolver import Resolver
from dmarcmilter.dns.shared_answers import SharedAnswers
from dmarcmilter.dns.wire_format import MAX_RECORDS
from dmarcmilter.reasons import Code, Reason, text_of
from dmarcmilter.testing.name_server import NameServer
from tests.support.build import sets_limits
from tests.support.cases import case_table

CASES = case_table("resolver")["case"]
TXT = {"a.example": {"TXT": ["x"]}}
FOUND = Answer(Status.FOUND, (b"x",))


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def resolver_for(*servers, **options):
    return Resolver([("127.0.0.1", server.port) for server in servers], **options)


def once(resolver, name="a.example", rdtype="TXT", budget=5.0):
    """What a message of its own is told."""
    session = MessageLookup(resolver, budget, 50)
    answer = session(name, rdtype)
    session.close()
    return answer


def descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case(case):
    with NameServer(case["zone"]) as server:
        before = descriptors()
        session = MessageLookup(resolver_for(server, timeout=2.0), 10.0, 50)
        began = time.monotonic()
        answer = session(*case["ask"])
        assert time.monotonic() - began < case.get("seconds", 4.0)
        session.close()
        time.sleep(0.01)  # the server closes its side of TCP
        assert descriptors() <= before
        if "queries" in case:
            assert len(server.queries) == case["queries"]
    assert answer.status.value == case["status"]
    assert case.get("reason", "") in text_of(answer.reason)
    assert answer.is_alias is case.get("alias", False)
    wanted = [tuple(record) if isinstance(record, list) else record for record in case.get("records", [])]
    shown = [record.decode() if isinstance(record, bytes) else record for record in answer.records]
    assert sorted(shown) == sorted(wanted)


@pytest.mark.parametrize("target", [{}, {"b.example": {"TXT": ["x"]}}], ids=["NXDOMAIN", "NODATA"])
def test_a_negative_answer_from_the_cache_is_still_that_of_an_alias(target):
    # RFC 6604 3: what the next message reads from the cache must not say that the asked name does not exist.
    with NameServer({"a.example": {"CNAME": ["b.example"]}} | target, ttl=60) as server:
        resolver = resolver_for(server)
        first = once(resolver, rdtype="A")
        assert (first.is_alias, first.missing, first.proves_existence) == (True, True, True)
        sent = len(server.queries)
        assert once(resolver, rdtype="A") == first
        assert len(server.queries) == sent


def test_slow_answer_is_taken_though_asked_again_meanwhile():
    with NameServer({"a.example": {"TXT": ["x"], "_": "slow"}}) as server:
        assert once(resolver_for(server, timeout=5.0)) == FOUND


def test_long_answer_over_tcp_is_whole():
    texts = [f"{number:04}" + "x" * 196 for number in range(MAX_RECORDS)]
    with NameServer({"a.example": {"TXT": texts}}) as server:
        answer = once(resolver_for(server))
        assert sorted(answer.texts) == sorted(text.encode() for text in texts)
        assert [transport for _, _, transport in server.queries] == ["udp", "tcp"]


@pytest.mark.parametrize("rdtype", ["TXT", "A", "MX", "PTR"])
def test_more_records_than_are_looked_at_is_a_failure(rdtype):
    data = {
        "TXT": [f"x{number}" for number in range(300)],
        "A": [f"192.0.2.{number % 256}" if number < 256 else f"198.51.100.{number - 256}" for number in range(300)],
        "MX": [[number, f"x{number}.example"] for number in range(300)],
        "PTR": [f"x{number}.example" for number in range(300)],
    }
    with NameServer({"a.example": {rdtype: data[rdtype]}}) as server:
        answer = once(resolver_for(server), rdtype=rdtype)
        assert answer == Answer(Status.FAILED, reason=Reason.of(Code.DNS_TOO_MANY_RECORDS, number=256))
        assert [transport for _, _, transport in server.queries] == ["udp", "tcp"]


def test_first_server_that_refuses_tcp_is_left_for_the_next():
    long = {"a.example": {"TXT": ["x" * 1500]}}
    with NameServer({"a.example": {"TXT": ["x" * 1500], "_": "truncate-notcp"}}) as first, NameServer(long) as second:
        began = time.monotonic()
        assert once(resolver_for(first, second, timeout=10.0)).texts == (b"x" * 1500,)
        assert time.monotonic() - began < 4.0
        assert [transport for _, _, transport in first.queries] == ["udp", "tcp"]
        assert [transport for _, _, transport in second.queries] == ["tcp"]


def test_no_server_by_tcp_is_a_failure():
    broken = {"a.example": {"TXT": ["x"], "_": "truncate-notcp"}}
    with NameServer(broken) as first, NameServer(broken) as second:
        began = time.monotonic()
        answer = once(resolver_for(first, second, timeout=10.0))
        assert (answer.status, "by TCP" in text_of(answer.reason)) == (Status.FAILED, True)
        assert time.monotonic() - began < 4.0


def test_ttl_is_honored_and_counts():
    clock = Clock()
    with NameServer(TXT, ttl=60) as server:
        resolver = resolver_for(server, clock=clock)
        assert once(resolver) == FOUND
        clock.now += 59
        session = MessageLookup(resolver, 5.0, 50)
        assert session("A.example", "TXT") == FOUND
        assert (session.queries, session.cache_hits) == (0, 1)
        clock.now += 2
        assert once(resolver) == FOUND
        assert len(server.queries) == 2


def test_ttl_is_clamped():
    clock = Clock()
    with NameServer(TXT, ttl=10**6) as server:
        resolver = resolver_for(server, clock=clock)
        once(resolver)
        clock.now += MAX_TTL + 1
        once(resolver)
        assert len(server.queries) == 2


def test_ttl_zero_serves_the_message_that_asked_and_no_other():
    with NameServer(TXT, ttl=0) as server:
        resolver = resolver_for(server)
        session = MessageLookup(resolver, 5.0, 50)
        assert session("a.example", "TXT") == FOUND
        server.load({})
        assert session("a.example", "TXT") == FOUND
        assert server.queries == []
        assert once(resolver).status is Status.NXDOMAIN


@pytest.mark.parametrize(
    ("ttl", "seconds", "queries"), [(60, 59, 1), (60, 61, 2), (3600, 299, 1), (3600, 301, 2), (0, 0, 2)]
)
def test_negative_answers_are_cached_by_the_soa_record(ttl, seconds, queries):
    clock = Clock()
    with NameServer({}, ttl=ttl) as server:
        resolver = resolver_for(server, clock=clock)
        assert once(resolver).status is Status.NXDOMAIN
        clock.now += seconds
        assert once(resolver).status is Status.NXDOMAIN
        assert len(server.queries) == queries


def test_failure_is_held_for_a_while():
    clock = Clock()
    with NameServer({"a.example": {"_": "servfail"}}) as server:
        resolver = resolver_for(server, clock=clock, failure_hold=5.0)
        assert once(resolver).status is Status.FAILED
        server.load(TXT)
        assert once(resolver).status is Status.FAILED
        clock.now += 6
        assert once(resolver) == FOUND


def test_failure_hold_may_be_none():
    with NameServer({"a.example": {"_": "servfail"}}) as server:
        resolver = resolver_for(server, failure_hold=0.0)
        assert once(resolver).status is Status.FAILED
        server.load(TXT)
        assert once(resolver) == FOUND


def test_clear_forgets():
    with NameServer(TXT, ttl=60) as server:
        resolver = resolver_for(server)
        once(resolver)
        resolver.clear()
        once(resolver)
        assert len(server.queries) == 2


def test_equal_questions_at_once_cost_one_query():
    with NameServer(TXT, delay=0.2) as server:
        resolver = resolver_for(server)
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: once(resolver), range(20)))
        assert answers == [FOUND] * 20
        assert len(server.queries) == 1
        assert len(resolver._in_flight) == 0


def test_one_message_on_many_threads():
    zone = {f"n{number}.example": {"TXT": ["x"]} for number in range(10)}
    with NameServer(zone, delay=0.05) as server:
        session = MessageLookup(resolver_for(server), 20.0, 50)
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda number: session(f"n{number % 10}.example", "TXT"), range(200)))
        session.close()
        assert answers == [FOUND] * 200
        assert session.queries == len(server.queries) == 10


def test_dead_first_server_is_left_for_the_next():
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    probe.bind(("127.0.0.1", 0))
    dead = probe.getsockname()
    probe.close()
    with NameServer(TXT) as server:
        resolver = Resolver([dead, ("127.0.0.1", server.port)], timeout=10.0)
        began = time.monotonic()
        assert once(resolver) == FOUND
        assert time.monotonic() - began < 2.0


def test_silent_first_server_costs_time_once():
    with (
        NameServer({"a.example": {"_": "timeout"}, "b.example": {"_": "timeout"}}) as silent,
        NameServer({"a.example": {"TXT": ["x"]}, "b.example": {"TXT": ["x"]}}) as server,
    ):
        resolver = resolver_for(silent, server, timeout=4.0)
        assert once(resolver) == FOUND
        began = time.monotonic()
        assert once(resolver, "b.example") == FOUND
        assert time.monotonic() - began < 0.8
        assert len(silent.queries) == 1


def test_first_server_that_fails_is_left_at_once():
    with NameServer({"a.example": {"_": "servfail"}}) as failing, NameServer(TXT) as server:
        began = time.monotonic()
        assert once(resolver_for(failing, server, timeout=10.0)) == FOUND
        assert time.monotonic() - began < 2.0


def test_all_servers_failing_is_known_at_once():
    with NameServer({"a.example": {"_": "servfail"}}) as one, NameServer({"a.example": {"_": "refused"}}) as two:
        began = time.monotonic()
        assert once(resolver_for(one, two, timeout=10.0)).status is Status.FAILED
        assert time.monotonic() - began < 2.0


def test_no_server_at_all_fails_before_the_timeout():
    began = time.monotonic()
    answer = once(Resolver([("127.0.0.1", 9)], timeout=5.0))
    assert answer.status is Status.FAILED
    assert "cannot be reached" in text_of(answer.reason)
    assert time.monotonic() - began < 4.0


def test_an_impatient_message_does_not_end_the_query_for_others():
    with NameServer(TXT, delay=0.4) as server:
        resolver = resolver_for(server)
        with ThreadPoolExecutor(2) as pool:
            hasty = pool.submit(once, resolver, budget=0.1)
            time.sleep(0.05)
            patient = pool.submit(once, resolver)
            assert hasty.result().status is Status.FAILED
            assert patient.result() == FOUND
        assert len(server.queries) == 1


@sets_limits
def test_no_place_means_waiting_within_the_budget(monkeypatch):
    monkeypatch.setattr("dmarcmilter.dns.message_lookup.MAX_IN_FLIGHT", 1)
    with NameServer({"a.example": {"TXT": ["x"]}, "b.example": {"_": "timeout"}}) as server:
        resolver = resolver_for(server, timeout=0.4, failure_hold=0.0)
        occupant = threading.Thread(target=once, args=(resolver, "b.example"))
        occupant.start()
        time.sleep(0.05)
        refused = once(resolver, budget=0.1)
        assert (refused.status, refused.reason) == (Status.FAILED, Reason.of(Code.DNS_TOO_MANY_AT_ONCE))
        assert once(resolver) == FOUND
        occupant.join()


def test_who_waits_is_not_starved_by_who_asks_ahead():
    names = [f"n{number}.example" for number in range(60)]
    zone = {"*.hole.example": {"_": "timeout"}} | {name: {"TXT": ["x"]} for name in names}
    with NameServer(zone) as server:
        resolver = resolver_for(server)
        fillers = [MessageLookup(resolver, 5.0, 50) for _ in range(20)]
        for number, filler in enumerate(fillers):
            for label in range(40):
                filler.start(f"x{label}.f{number}.hole.example", "TXT")
        assert len(resolver._in_flight) == MAX_AHEAD
        assert all(filler.queries <= MAX_AHEAD_OF_ONE for filler in fillers)
        began = time.monotonic()
        with ThreadPoolExecutor(30) as pool:
            answers = list(pool.map(lambda name: once(resolver, name), names))
        assert answers == [FOUND] * 60
        assert time.monotonic() - began < 3.0
        for filler in fillers:
            filler.close()
        assert len(resolver._in_flight) == 0


@pytest.mark.parametrize("activity", ["a session", "a lookup", "asking ahead"])
def test_what_was_asked_ahead_gives_its_place_and_socket_back_in_time(activity):
    with NameServer({"*.hole.example": {"_": "timeout"}, **TXT}, ttl=60) as server:
        resolver = resolver_for(server, timeout=0.2)
        active = MessageLookup(resolver, 5.0, 50)
        before = descriptors()
        idle = [MessageLookup(resolver, 5.0, 50) for _ in range(5)]
        for number, session in enumerate(idle):
            for label in range(10):
                session.start(f"x{label}.f{number}.hole.example", "TXT")
            session.start(f"f{number}.example", "TXT")
        assert descriptors() == before + 55
        time.sleep(0.25)
        server.load({"*.example": {"TXT": ["x"]}})
        if activity == "a session":
            MessageLookup(resolver, 5.0, 50)
        elif activity == "a lookup":
            assert active("a.example", "TXT") == FOUND
        else:
            active.start("a.example", "TXT")
        assert descriptors() <= before + 1
        assert len(resolver._in_flight) <= 1
        # An answer that had come is not asked for again, what had not is.
        assert idle[0]("f0.example", "TXT").status is Status.NXDOMAIN
        assert idle[0]("x1.f0.hole.example", "TXT") == FOUND
        assert [name for name, *_ in server.queries if name != "a.example"] == ["x1.f0.hole.example"]
        active.close()
        for session in idle:
            session.close()
        assert (len(resolver._in_flight), descriptors()) == (0, before)


def test_a_query_that_somebody_waits_for_is_not_dropped():
    with NameServer({"a.example": {"TXT": ["x"], "_": "slow"}}) as server:
        resolver = resolver_for(server, timeout=3.0)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(once, resolver)
            time.sleep(0.1)
            next(iter(resolver._in_flight.values())).begun -= 10.0
            MessageLookup(resolver, 5.0, 50)
            assert len(resolver._in_flight) == 1
            assert waiting.result() == FOUND


def test_nothing_stays_open():
    zone = {"a.example": {"TXT": ["x"]}, "t.example": {"_": "timeout"}, "c.example": {"TXT": ["x"], "_": "truncate"}}
    with NameServer(zone) as server:
        resolver = resolver_for(server, timeout=0.2)
        before = descriptors()
        for _ in range(20):
            session = MessageLookup(resolver, 0.1, 50)
            for name in ("a", "t", "c", "x", "y"):
                session.start(f"{name}.example", "TXT")
            session("c.example", "TXT")
            session("t.example", "TXT")
            session.close()
        time.sleep(0.05)
        assert descriptors() == before
        assert len(resolver._in_flight) == 0


@pytest.mark.parametrize("name", ["a.example", "none.example"])
def test_what_another_worker_has_asked_is_not_asked_again_while_its_ttl_lasts(name):
    clock = Clock()
    shared = SharedAnswers()
    with NameServer(TXT, ttl=60) as server:
        first = once(resolver_for(server, clock=clock, shared=shared), name)
        other = resolver_for(server, clock=clock, shared=shared)
        assert once(other, name) == first
        assert len(server.queries) == 1
        clock.now += 59
        assert once(other, name) == first
        assert once(resolver_for(server, clock=clock, shared=shared), name) == first
        assert len(server.queries) == 1
        clock.now += 1
        assert once(other, name) == first
        assert len(server.queries) == 2


def test_a_failure_of_another_worker_is_asked_again():
    shared = SharedAnswers()
    with NameServer(TXT | {"a.example": {"_": "servfail"}}) as server:
        assert once(resolver_for(server, shared=shared)).status is Status.FAILED
        sent = len(server.queries)
        assert once(resolver_for(server, shared=shared)).status is Status.FAILED
        assert len(server.queries) == 2 * sent
