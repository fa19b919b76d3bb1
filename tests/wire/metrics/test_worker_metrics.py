"""What a worker counts of its DNS queries, with a real name server."""

import threading

import pytest

from dmarcmilter.dns.message_lookup import MessageLookup
from dmarcmilter.dns.observer import AnswerWord, Origin
from dmarcmilter.dns.resolver import Resolver
from dmarcmilter.metrics import metric_definitions as f
from dmarcmilter.metrics.metric_definitions import LATENCIES, place
from dmarcmilter.metrics.worker_metrics import WorkerTally
from dmarcmilter.testing.name_server import NameServer
from tests.support.worker_counters import observed

# --- the resolver


@pytest.fixture
def watched():
    """A name server, and how to look names up, by what is then counted."""
    zone = {"a.example": {"TXT": ["a"]}, "nodata.example": {"MX": [(1, "mx.example")]}}
    with NameServer(zone, ttl=60) as server:
        tally = WorkerTally()
        yield server, Resolver([("127.0.0.1", server.port)], timeout=0.4, observer=tally), tally


def of_dns(tally):
    asked = {str(origin): tally.row.words[place(f.DNS_LOOKUPS, origin)] for origin in Origin}
    ended = {str(word): tally.row.words[place(f.DNS_ANSWERS, word)] for word in AnswerWord}
    return {name: number for name, number in (asked | ended).items() if number}


def test_answers(watched):
    _, resolver, tally = watched
    first, second = MessageLookup(resolver, 5.0, 10), MessageLookup(resolver, 5.0, 10)
    for lookup in (first, second):
        for name in ("a.example", "a.example", "nodata.example", "none.example"):
            lookup(name, "TXT")
    assert of_dns(tally) == {"query": 3, "cache": 3, "found": 1, "nodata": 1, "nxdomain": 1}
    assert sum(tally.row.words[place(f.DNS_QUERY) : place(f.DNS_QUERY) + len(LATENCIES) + 1]) == 3


def test_an_answer_that_nobody_waited_for_has_no_latency(watched):
    server, resolver, tally = watched
    lookup = MessageLookup(resolver, 5.0, 10)
    lookup.start("a.example", "TXT")
    while not server.queries:
        pass
    threading.Event().wait(0.1)
    lookup("a.example", "TXT")
    assert of_dns(tally) == {"query": 1, "found": 1}
    assert sum(tally.row.words[place(f.DNS_QUERY) : place(f.DNS_QUERY) + f.DNS_QUERY.width]) == 0


def test_a_query_of_another_message(watched):
    server, resolver, tally = watched
    server.delay = 0.05
    first, second = MessageLookup(resolver, 5.0, 10), MessageLookup(resolver, 5.0, 10)
    first.start("a.example", "TXT")
    second("a.example", "TXT")
    first("a.example", "TXT")
    assert of_dns(tally) == {"query": 1, "other_message": 1, "found": 1}


def test_silence(watched):
    server, resolver, tally = watched
    server.delay = 5.0
    lookup = MessageLookup(resolver, 5.0, 10)
    lookup("a.example", "TXT")
    assert of_dns(tally) == {"query": 1, "timeout": 1}
    bucket, microseconds = observed(tally, f.DNS_QUERY)
    assert bucket == LATENCIES.index(0.5)
    assert 350_000 < microseconds < 500_000


@pytest.mark.parametrize(("rcode", "word"), [(2, "servfail"), (5, "rcode"), (4, "rcode")])
def test_servers_that_do_not_say(rcode, word):
    import socket

    tally = WorkerTally()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer():
            wire, peer = server.recvfrom(512)
            server.sendto(wire[:2] + bytes([0x81, 0x80 | rcode]) + wire[4:6] + bytes(6) + wire[12:-11], peer)

        thread = threading.Thread(target=answer)
        thread.start()
        MessageLookup(Resolver([server.getsockname()], timeout=2.0, observer=tally), 5.0, 10)("a.example", "TXT")
        thread.join()
    assert of_dns(tally) == {"query": 1, word: 1}


def test_nobody_listens():
    tally = WorkerTally()
    MessageLookup(Resolver([("127.0.0.1", 9)], timeout=0.5, observer=tally), 5.0, 10)("a.example", "TXT")
    assert of_dns(tally) == {"query": 1, "unreachable": 1}


def test_a_budget_that_is_spent(watched):
    _, resolver, _ = watched
    lookup = MessageLookup(resolver, 5.0, 1)
    lookup("a.example", "TXT")
    assert not lookup.spent
    lookup("b.example", "TXT")
    assert lookup.spent
