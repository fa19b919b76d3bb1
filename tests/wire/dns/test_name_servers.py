"""Exchanges with a name server over TCP: whole, cut, slow."""

import socket
import threading
import time

import pytest

from dmarcmilter.dns.name_servers import Servers, exchange


@pytest.fixture
def peer():
    """A TCP server that sends what it is told, one piece at a time."""
    listener = socket.create_server(("127.0.0.1", 0))
    pieces = []

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(65535)
            for piece in pieces:
                try:
                    connection.sendall(piece)
                except OSError:
                    return
                time.sleep(0.02)

    thread = threading.Thread(target=serve)
    thread.start()
    yield Servers([listener.getsockname()]).ranked()[0], pieces
    thread.join()
    listener.close()


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ([b"\0\3abc"], b"abc"),
        ([b"\0", b"\3a", b"bc"], b"abc"),
        ([b"\0\0"], b""),
        ([b"\0\3ab"], None),
        ([], None),
        ([b"\xff\xff"], None),
    ],
)
def test_exchange(peer, sent, received):
    server, pieces = peer
    pieces.extend(sent)
    assert exchange(server, b"question", time.monotonic() + 1.0) == received


def test_exchange_ends_in_time_though_octets_drip(peer):
    server, pieces = peer
    pieces.extend([b"\0\x40", *[b"x"] * 40])
    began = time.monotonic()
    assert exchange(server, b"question", began + 0.2) is None
    assert time.monotonic() - began < 0.4


def test_exchange_without_time_or_server():
    server = Servers([("127.0.0.1", 9)]).ranked()[0]
    assert exchange(server, b"", time.monotonic() + 1.0) is None
    assert exchange(server, b"", time.monotonic() - 1.0) is None
