"""Faults of DNS: it stops, is silent, is slow."""

import contextlib
from collections.abc import Iterator

from chaos.mail import ZONE
from chaos.stand import Stand
from dmarcmilter.testing.name_server import NameServer

SLOW_SECONDS = 0.4
"""For each answer; a query may take 1 s, a message 4 s of them."""
FOR_EVER = 3600.0


@contextlib.contextmanager
def dns_stopped(stand: Stand) -> Iterator[None]:
    """Nobody listens at the port: the kernel says so at once."""
    port = stand.dns.port
    stand.dns.close()
    try:
        yield
    finally:
        stand.dns = stand.stack.enter_context(NameServer(ZONE, port=port))


@contextlib.contextmanager
def dns_silent(stand: Stand) -> Iterator[None]:
    """Queries go nowhere."""
    with _delayed(stand, FOR_EVER):
        yield


@contextlib.contextmanager
def dns_slow(stand: Stand) -> Iterator[None]:
    with _delayed(stand, SLOW_SECONDS):
        yield


@contextlib.contextmanager
def _delayed(stand: Stand, seconds: float) -> Iterator[None]:
    stand.dns.delay = seconds
    try:
        yield
    finally:
        stand.dns.delay = 0.0
