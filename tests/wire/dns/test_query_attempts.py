"""dmarcmilter.dns.query_attempts against servers that send exactly what a test tells them."""

import socket
import threading
import time

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dns.lookup import Status
from dmarcmilter.dns.name_servers import Servers
from dmarcmilter.dns.query_attempts import MAX_STRAYS, Query
from dmarcmilter.dns.wire_names import name_to_wire
from dmarcmilter.reasons import text_of
from dmarcmilter.testing.name_server import NameServer

KEY = (name_to_wire("a.example"), 16)


class Scripted:
    """A UDP server: `script(query, raw)` yields the datagrams to send back."""

    def __init__(self, script):
        self.script = script
        self.asked = []
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self.address = self._sock.getsockname()
        self._thread = threading.Thread(target=self._serve)

    def _serve(self):
        while True:
            wire, peer = self._sock.recvfrom(65535)
            if not wire:
                return
            query = dns.message.from_wire(wire)
            self.asked.append((query, peer))
            for datagram in self.script(query, wire):
                self._sock.sendto(datagram, peer)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self.address)
        self._thread.join()
        self._sock.close()


def answer(query, *rrsets, rcode=0, flags=0):
    response = dns.message.make_response(query)
    response.set_rcode(rcode)
    response.flags |= flags
    response.answer = [dns.rrset.from_text(*rrset) for rrset in rrsets]
    return response.to_wire()


def right(query, *_):
    name = query.question[0].name
    return [answer(query, (name, 9, "IN", "TXT", '"x"'))]


def ask(*scripted, timeout=0.5):
    query = Query(KEY, "message", Servers([server.address for server in scripted]), timeout)
    with query.lock:
        query.send()
        query.collect(time.monotonic() + 5.0)
        query.close()
    return query


def test_spoofed_replies_are_ignored_and_counted():
    def script(query, raw):
        (good,) = right(query)
        other = dns.message.make_response(dns.message.make_query("b.example", "TXT", id=query.id)).to_wire()
        yield bytes([good[0] ^ 1]) + good[1:]
        yield other
        yield raw
        yield raw[:5]
        yield b""
        yield good[:-3]
        yield good[:2] + b"\xff" * 40
        yield good

    with Scripted(script) as server:
        query = ask(server)
    assert query.result.answer.texts == (b"x",)
    assert query.ignored == 7


def test_each_attempt_has_its_own_port_and_identifier():
    with Scripted(lambda *_: []) as server:
        assert ask(server, timeout=0.2).result.answer.status is Status.FAILED
        assert len({query.id for query, _ in server.asked}) > 1
        assert len({peer for _, peer in server.asked}) == len(server.asked) == 3


def test_lost_datagram_is_sent_again():
    with Scripted(lambda query, _: right(query) if len(server.asked) > 1 else []) as server:
        assert ask(server).result.answer.texts == (b"x",)


def test_server_without_edns_is_asked_without():
    def script(query, _):
        return right(query) if query.edns < 0 else [answer(query, rcode=dns.rcode.FORMERR)]

    with Scripted(script) as server:
        assert ask(server).result.answer.texts == (b"x",)
        assert [query.edns for query, _ in server.asked] == [0, -1]


def test_bare_header_is_enough_to_refuse():
    with Scripted(lambda _, raw: [raw[:2] + b"\x80\x05" + bytes(8)]) as server:
        answered = ask(server).result.answer
    assert (answered.status, "REFUSED" in text_of(answered.reason)) == (Status.FAILED, True)


def test_referral_is_a_failure():
    def script(query, _):
        response = dns.message.make_response(query)
        response.authority = [dns.rrset.from_text("example.", 9, "IN", "NS", "ns.example.")]
        return [response.to_wire()]

    with Scripted(script) as server:
        assert ask(server).result.answer.status is Status.FAILED


def test_cname_out_of_the_reply_is_asked_for():
    def script(query, _):
        name = query.question[0].name.to_text()
        return right(query) if name == "b.test." else [answer(query, (name, 4, "IN", "CNAME", "b.test."))]

    with Scripted(script) as server:
        result = ask(server).result
    assert (result.answer.texts, result.ttl) == ((b"x",), 4)
    assert [query.question[0].name.to_text() for query, _ in server.asked] == ["a.example.", "b.test."]


def test_an_alias_to_a_name_that_fails_is_an_alias():
    def script(query, _):
        name = query.question[0].name.to_text()
        return [answer(query, rcode=2) if name == "b.test." else answer(query, (name, 4, "IN", "CNAME", "b.test."))]

    with Scripted(script) as server:
        answered = ask(server).result.answer
    assert (answered.status, answered.is_alias, answered.proves_existence) == (Status.FAILED, True, True)


def test_cnames_without_end_are_a_failure():
    def script(query, _):
        name = query.question[0].name.to_text()
        return [answer(query, (name, 4, "IN", "CNAME", f"x{len(server.asked)}.test."))]

    with Scripted(script) as server:
        answered = ask(server).result.answer
        assert answered.status is Status.FAILED
        assert len(server.asked) <= 20


def test_collecting_in_vain_leaves_the_query_open():
    with Scripted(lambda *_: []) as server:
        query = Query(KEY, "message", Servers([server.address]), 5.0)
        with query.lock:
            query.send()
            query.collect(time.monotonic() + 0.05)
            assert query.result is None
            server.script = right
            query.collect(time.monotonic() + 5.0)
            assert query.result.answer.texts == (b"x",)


@pytest.mark.parametrize("patient", [False, True])
def test_impatience_with_tcp_is_not_a_failure(patient):
    with Scripted(lambda query, _: [answer(query, flags=dns.flags.TC)]) as server, socket.create_server(server.address):
        query = Query(KEY, "message", Servers([server.address]), 0.4)
        with query.lock:
            query.send()
            query.collect(time.monotonic() + (5.0 if patient else 0.1))
            query.close()
    assert (query.result is not None) == patient
    assert not patient or query.result.answer.status is Status.FAILED


def test_server_silent_by_tcp_leaves_time_for_the_next():
    def cut(query, _):
        return [answer(query, flags=dns.flags.TC)]

    with (
        Scripted(cut) as first,
        socket.create_server(first.address),
        NameServer({"a.example": {"TXT": ["x"]}}) as next_,
    ):
        query = Query(KEY, "message", Servers([first.address, ("127.0.0.1", next_.port)]), 0.6)
        query.collect(time.monotonic() + 5.0)
    assert query.result.answer.texts == (b"x",)


def test_impatience_with_tcp_keeps_the_silent_server_for_others():
    cut = {"a.example": {"TXT": ["x"], "_": "truncate-notcp"}}
    with Scripted(lambda query, _: [answer(query, flags=dns.flags.TC)]) as slow, NameServer(cut) as refusing:
        with socket.create_server(slow.address):
            query = Query(KEY, "message", Servers([slow.address, ("127.0.0.1", refusing.port)]), 5.0)
            query.collect(time.monotonic() + 0.2)
            assert query.result is None
        query.collect(time.monotonic() + 5.0)
    assert query.result.answer.status is Status.FAILED


def test_what_has_arrived_is_taken_without_time_even_behind_strays():
    def script(query, raw):
        return [raw, b"", *right(query)]

    with Scripted(script) as server:
        query = Query(KEY, "message", Servers([server.address]), 5.0)
        query.send()
        time.sleep(0.1)
        query.collect(time.monotonic() - 1.0)
    assert (query.result.answer.texts, query.ignored) == ((b"x",), 2)


def test_a_flood_of_strays_does_not_outlast_the_deadline():
    with Scripted(lambda _, raw: [raw] * 300) as server:
        began = time.monotonic()
        query = ask(server, timeout=0.3)
    assert query.result.answer.status is Status.FAILED
    assert time.monotonic() - began < 2.0
    assert query.ignored > 3 * MAX_STRAYS


def test_dropped_before_it_was_sent_stays_silent():
    with Scripted(right) as server:
        query = Query(KEY, "message", Servers([server.address]), 5.0)
        query.drop()
        query.send()
        time.sleep(0.05)
        assert server.asked == []


def test_dropped_without_result():
    with Scripted(lambda *_: []) as server:
        query = Query(KEY, "message", Servers([server.address]), 5.0)
        query.send()
        query.drop()
    assert (query.dropped, query.result) == (True, None)


def test_dropped_with_result():
    with Scripted(right) as server:
        query = ask(server)
        query.drop()
    assert (query.dropped, query.result.answer.texts) == (False, (b"x",))


def test_no_socket_is_a_failure(monkeypatch):
    servers = Servers([("127.0.0.1", 9)])

    def exhausted(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("dmarcmilter.dns.udp_attempt.socket.socket", exhausted)
    query = Query(KEY, "message", servers, 0.2)
    query.send()
    query.collect(time.monotonic() + 5.0)
    assert query.result.answer.status is Status.FAILED


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=80), min_size=1, max_size=5), st.integers(0, 20))
def test_any_datagrams_before_the_right_one_change_nothing(tails, keep):
    def script(query, _):
        (good,) = right(query)
        wrong = bytes([good[0] ^ 0x80]) + good[1:keep]
        return [*(wrong[:keep] + tail for tail in tails), *tails, good]

    with Scripted(script) as server:
        status = ask(server, timeout=0.5).result.answer.status
    assert status is Status.FOUND
