"""Runs of reports over SMTP, and the lock that a dead process leaves."""

import pytest

from dmarcmilter.reports.delivery.relay import Relay, SmtpRelay
from dmarcmilter.reports.run_lock import RunLock
from tests.support.mta.smtp_sink import Sink
from tests.support.report_runs import Site, some


@pytest.fixture
def world(tmp_path):
    site = Site(tmp_path)
    yield site
    site.store.close()


@pytest.fixture
def anywhere(tmp_path, url):
    """The same on each of the databases."""
    site = Site(tmp_path, url)
    yield site
    site.store.close()


def test_the_lock_of_a_dead_process_is_taken(anywhere):
    import socket
    import subprocess

    ended = subprocess.Popen(["true"])
    ended.wait()
    assert RunLock(anywhere.store).take(int(anywhere.now), f"{socket.gethostname()} {ended.pid}")
    assert anywhere.go().stopped == ""


def test_over_smtp(world):
    """The whole way, to a server."""
    some(world)
    with Sink() as sink:
        relay = SmtpRelay(Relay("127.0.0.1", sink.port, "mx.receiver.example"), seconds=5)
        assert world.go(relay).sent == 4
        assert len(sink.wait(4)) == 4
