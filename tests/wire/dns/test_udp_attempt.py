"""dmarcmilter.dns.udp_attempt: one datagram out, what comes back, and no socket left behind."""

import socket
import time
from pathlib import Path

import pytest

from dmarcmilter.dns.name_servers import Servers
from dmarcmilter.dns.udp_attempt import Edns, attempt, wait_for
from dmarcmilter.dns.wire_format import question
from dmarcmilter.dns.wire_names import name_to_wire

KEY = (name_to_wire("a.example"), 16)


@pytest.fixture
def server():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5.0)
        yield sock


def ranked(address):
    return Servers([address]).ranked()[0]


@pytest.mark.parametrize("edns", Edns)
def test_asks_and_receives(server, edns):
    tried = attempt(ranked(server.getsockname()), KEY, edns)
    wire, peer = server.recvfrom(4096)
    assert wire == question(tried.identifier, *KEY, edns=edns is Edns.YES)
    assert tried.receive() is None
    server.sendto(b"answer", peer)
    wait_for([tried], 5.0)
    assert tried.receive() == b"answer"
    tried.close()


def test_only_the_server_is_heard(server):
    tried = attempt(ranked(server.getsockname()), KEY, Edns.YES)
    _, peer = server.recvfrom(4096)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"answer", peer)
    wait_for([tried], 0.05)
    assert tried.receive() is None
    tried.close()


def test_nobody_listens(server):
    address = server.getsockname()
    server.close()
    tried = attempt(ranked(address), KEY, Edns.YES)
    wait_for([tried], 1.0)
    with pytest.raises(ConnectionRefusedError):
        tried.receive()
    tried.close()


def test_waiting_ends(server):
    tried = attempt(ranked(server.getsockname()), KEY, Edns.YES)
    began = time.monotonic()
    wait_for([tried], 0.1)
    wait_for([tried], -1.0)
    assert 0.09 < time.monotonic() - began < 0.9
    tried.close()


def test_unreachable_leaves_no_socket():
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert attempt(ranked(("255.255.255.255", 53)), KEY, Edns.YES) is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before
