"""What the filter lays aside, and that nothing that goes wrong there costs or delays a message."""

import threading
import time

import msgspec
import pytest

from dmarcmilter.reports.failure import capture as module
from dmarcmilter.reports.failure.capture import MAX_WAITING, Capture
from dmarcmilter.reports.failure.incident_spool import IncidentSpool, SpooledIncident
from dmarcmilter.testing.milter_client import MilterAction, MilterClient
from dmarcmilter.testing.name_server import NameServer
from tests.support.file_size import file_size_limit
from tests.support.filter_daemon import FilterDaemon
from tests.support.mta.mail_chain import domain
from tests.support.outcomes import fields
from tests.support.report_outcomes import outcome
from tests.support.running_daemon import conf, wait_until

ASKED = outcome(policy={"ruf": ["mailto:ruf@example.com"]})
FIELDS = fields("From: alice@example.com", "To: bob@receiver.example", "Subject: hello")
SENDER = b"alice@bounce.example.com"


@pytest.fixture
def spool(tmp_path):
    return IncidentSpool(str(tmp_path / "spool"))


def incidents(spool):
    return [entry.incident for entry in spool.entries() if isinstance(entry, SpooledIncident)]


def test_what_is_asked_for_is_kept(spool):
    capture = Capture(spool, b"key")
    capture.offer(ASKED, FIELDS, SENDER)
    capture.offer(ASKED, FIELDS, SENDER)
    capture.offer(outcome(), FIELDS, SENDER)
    capture.offer(ASKED, FIELDS, b"")
    capture.close()
    (found,) = incidents(spool)
    assert found.count == 2
    assert capture.dropped == 0
    assert "alice" not in str(found)
    assert [name for name, _ in found.fields] == ["From", "Subject"]


def test_who_is_never_asked_starts_no_thread(spool):
    before = threading.active_count()
    capture = Capture(spool, b"key")
    capture.offer(outcome(), FIELDS, SENDER)
    assert threading.active_count() == before
    capture.close()


class SlowSpool(IncidentSpool):
    """A disk that hangs until it is let go."""

    def __init__(self):
        super().__init__("unused")
        self.go = threading.Event()

    def put(self, incident):
        self.go.wait(30)


def test_a_disk_that_hangs_delays_nothing(caplog):
    spool = SlowSpool()
    capture = Capture(spool, b"key")
    start = time.monotonic()
    for _ in range(MAX_WAITING + 50):
        capture.offer(ASKED, FIELDS, SENDER)
    assert time.monotonic() - start < 2
    assert capture.dropped >= 49
    assert caplog.text.count("too many at once") == 1
    spool.go.set()
    capture.close()


def test_a_bug_of_ours_costs_no_message(spool, caplog):
    capture = Capture(spool, b"key")
    capture.offer({"policy": {"ruf": ["x"]}}, FIELDS, SENDER)
    capture.offer(msgspec.structs.replace(ASKED, spf="not a result"), FIELDS, SENDER)
    capture.close()
    assert "internal error" in caplog.text
    assert incidents(spool) == []


def test_a_full_disk_is_told_and_no_half_is_left(spool, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    capture = Capture(spool, b"key")
    with file_size_limit(100):
        for _ in range(3):
            capture.offer(ASKED, FIELDS, SENDER)
        capture.close()
    assert capture.dropped == 3
    assert caplog.text.count("File too large") == 1, "told once a minute"
    assert list((tmp_path / "spool").iterdir()) == []


ZONE = {
    **domain("asks.example", "p=reject; ruf=mailto:ruf@asks.example; fo=1"),
    "_dmarc.silent.example": {"TXT": ["v=DMARC1; p=reject"]},
}
SPOOF = b"From: Alice <alice@asks.example>\r\nTo: <bob@rcpt.example>\r\nSubject: secret\r\n\r\nbody\r\n"


def test_the_running_filter(tmp_path):
    # RUF-01
    """Off by default; on, it keeps what failed and was asked for, before it stops."""
    with NameServer(ZONE) as dns:
        failure = {"enabled": True, "spool": str(tmp_path / "spool"), "key": str(tmp_path / "key")}
        reports = {"email": "dmarc@receiver.example"}
        with FilterDaemon(conf(dns, reports=reports, **{"reports.failure": failure})) as daemon:
            with MilterClient(daemon.address) as client:
                refused = client.deliver(SPOOF, mail_from="x@spammer.example")
                assert refused.action is MilterAction.REJECT
                client.deliver(SPOOF.replace(b"asks", b"silent"), mail_from="x@spammer.example")
                client.deliver(SPOOF, mail_from="")
            wait_until(lambda: incidents(IncidentSpool(failure["spool"])), "the incident")
        (found,) = incidents(IncidentSpool(failure["spool"]))
        assert found.outcome.author_domain == "asks.example"
        assert found.outcome.action == "reject"
        assert "alice" not in str(found)
        assert len((tmp_path / "key").read_bytes()) == 32
        with FilterDaemon(conf(dns)) as daemon, MilterClient(daemon.address) as client:
            assert client.deliver(SPOOF, mail_from="x@spammer.example").action is MilterAction.REJECT
            assert not (daemon.directory / "failures").exists()


def test_a_spool_that_cannot_be_written_costs_no_mail(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    failure = {"enabled": True, "spool": str(tmp_path / "file" / "spool"), "key": str(tmp_path / "key")}
    sections = {"reports": {"email": "dmarc@receiver.example"}, "reports.failure": failure}
    with NameServer(ZONE) as dns, FilterDaemon(conf(dns, **sections)) as daemon:
        with MilterClient(daemon.address) as client:
            assert client.deliver(SPOOF, mail_from="x@spammer.example").action is MilterAction.REJECT
            assert client.deliver(SPOOF, mail_from="x@spammer.example").action is MilterAction.REJECT
        wait_until(lambda: "failure report: not kept" in daemon.log(), "the log line")
        assert len(daemon.records()) == 2
