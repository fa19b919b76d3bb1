"""dmarcmilter.testing.name_server seen through dnspython's own client."""

import socket
import threading
import time

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from dmarcmilter.testing.name_server import NameServer


def udp(server, name="a.example", rdtype="TXT", timeout=0.3, **options):
    query = dns.message.make_query(name, rdtype, **{"use_edns": 0, "payload": 1232, **options})
    return dns.query.udp(query, "127.0.0.1", port=server.port, timeout=timeout)


def tcp(server, name="a.example", rdtype="TXT"):
    return dns.query.tcp(dns.message.make_query(name, rdtype), "127.0.0.1", port=server.port, timeout=1.0)


def misbehaving(behavior):
    return NameServer({"a.example": {"TXT": ["x"], "_": behavior}})


def test_serves_both_transports_and_remembers_queries():
    with NameServer({"a.example": {"TXT": ["x"]}}, ttl=7) as server:
        assert udp(server).answer[0].to_text() == 'a.example. 7 IN TXT "x"'
        assert tcp(server).answer[0].to_text() == 'a.example. 7 IN TXT "x"'
        assert server.queries == [("a.example", "TXT", "udp"), ("a.example", "TXT", "tcp")]


def test_load_replaces_the_zone_and_forgets():
    with NameServer({"a.example": {"TXT": ["x"]}}) as server:
        udp(server)
        server.load({}, ttl=5)
        assert server.queries == []
        response = udp(server)
        assert response.rcode() == dns.rcode.NXDOMAIN
        assert (response.authority[0].ttl, response.authority[0][0].minimum) == (5, 5)


@pytest.mark.parametrize("rcode", ["servfail", "refused", "formerr", "notimp"])
def test_rcodes(rcode):
    with misbehaving(rcode) as server:
        response = udp(server)
        assert (dns.rcode.to_text(response.rcode()).lower(), response.answer) == (rcode, [])


@pytest.mark.parametrize("behavior", ["timeout", "garbage", "short", "wrongid", "wrongquestion"])
def test_no_usable_reply(behavior):
    with misbehaving(behavior) as server, pytest.raises((dns.exception.DNSException, dns.query.BadResponse)):
        udp(server)


def test_wrong_case():
    with misbehaving("wrongcase") as server:
        response = udp(server)
        assert response.question[0].name.to_text() == "A.EXAMPLE."
        assert response.answer[0][0].strings == (b"x",)


def test_slow():
    with misbehaving({"TXT": "slow"}) as server:
        began = time.monotonic()
        udp(server, rdtype="A")
        assert time.monotonic() - began < 1.9
        udp(server, timeout=3.0)
        assert time.monotonic() - began > 1.9


def test_truncated():
    with misbehaving("truncate") as server:
        response = udp(server)
        assert response.flags & dns.flags.TC
        assert not response.answer
        assert tcp(server).answer


def test_truncated_without_tcp():
    with misbehaving("truncate-notcp") as server:
        assert udp(server).flags & dns.flags.TC
        with pytest.raises(EOFError):
            tcp(server)


@pytest.mark.parametrize(
    ("length", "edns", "truncated"), [(400, 0, False), (700, 0, False), (700, False, True), (1300, 0, True)]
)
def test_long_answers_are_truncated(length, edns, truncated):
    with NameServer({"a.example": {"TXT": ["x" * length]}}) as server:
        assert bool(udp(server, use_edns=edns, payload=4096 if edns == 0 else None).flags & dns.flags.TC) == truncated
        assert sum(map(len, tcp(server).answer[0][0].strings)) == length


def test_delay_does_not_hold_up_others():
    with NameServer({"a.example": {"TXT": ["x"]}}, delay=0.2) as server:
        threads = [threading.Thread(target=udp, args=(server,), kwargs={"timeout": 2.0}) for _ in range(10)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 0.2 <= time.monotonic() - began < 1.9


def test_rubbish_is_survived():
    with NameServer({"a.example": {"TXT": ["x"]}}) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for octets in (b"", b"x", b"\xff" * 50):
                sock.sendto(octets, ("127.0.0.1", server.port))
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(b"\0")
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(b"\0\5abcde\0\0")
        assert udp(server).answer


def test_close_frees_the_port_and_ends_open_connections():
    server = NameServer({})
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        assert tcp(server).rcode() == dns.rcode.NXDOMAIN
        server.close()
        server.close()
        assert sock.recv(1) == b""
    NameServer({}, port=server.port).close()


def test_port_in_use_is_said():
    with NameServer({}) as server, pytest.raises(OSError):
        NameServer({}, port=server.port)
