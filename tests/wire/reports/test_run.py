"""Runs of reports over SMTP, and the lock that a dead process leaves."""

from dmarcmilter.reports.delivery.relay import Relay, SmtpRelay
from dmarcmilter.reports.run_lock import RunLock
from tests.support.mta.smtp_sink import Sink
from tests.support.report_runs import some


def test_the_lock_of_a_dead_process_is_taken(report_site_each_database):
    import socket
    import subprocess

    ended = subprocess.Popen(["true"])
    ended.wait()
    assert RunLock(report_site_each_database.store).take(
        int(report_site_each_database.now), f"{socket.gethostname()} {ended.pid}"
    )
    assert report_site_each_database.go().stopped == ""


def test_over_smtp(report_site):
    """The whole way, to a server."""
    some(report_site)
    with Sink() as sink:
        relay = SmtpRelay(Relay("127.0.0.1", sink.port, "mx.receiver.example"), seconds=5)
        assert report_site.go(relay).sent == 4
        assert len(sink.wait(4)) == 4
