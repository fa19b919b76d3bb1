"""Failure reports from a message at the filter to the mail that Postfix hands on."""

import base64
from pathlib import Path

import dkim
import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.history import migrations
from dmarcmilter.history.store import Store
from dmarcmilter.testing.milter_client import MilterClient
from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import FilterDaemon
from tests.support.mta.mail_chain import domain as zone_of
from tests.support.mta.postfix import PostfixServer, missing_postfix
from tests.support.mta.smtp_sink import Sink
from tests.support.running_daemon import conf as conf_of
from tests.support.running_daemon import wait_until
from tests.support.signing import ed25519_key

KEY = ed25519_key()
PUBLIC = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
ZONE = {
    **zone_of("asks.example", "p=reject; ruf=mailto:ruf@asks.example,mailto:x@victim.example"),
    "s._domainkey.receiver.example": {"TXT": [f"v=DKIM1; k=ed25519; p={PUBLIC}"]},
}
SPOOF = b"From: Alice <alice@asks.example>\r\nTo: <bob@rcpt.example>\r\nSubject: secret\r\n\r\nbody\r\n"


def report(conf, *arguments):
    return CliRunner().invoke(main, ["report", *arguments, "--config", str(conf)], catch_exceptions=False)


@pytest.mark.skipif(bool(missing_postfix()), reason=missing_postfix())
def test_the_whole_way(tmp_path):
    """A spoofed message through the filter, the report through a real Postfix to the next hop, signed and redacted."""
    (tmp_path / "key").write_bytes(base64.b64encode(KEY.private_bytes_raw()))
    (tmp_path / "list.dat").write_text("com\nexample\n", encoding="utf-8")
    with NameServer(ZONE) as dns, Sink() as sink, PostfixServer("", sink_port=sink.port) as postfix:
        reports = {
            "email": "dmarc@receiver.example", "relay": f"127.0.0.1:{postfix.port}", "only_authenticated": False,
            "sign_domain": "receiver.example", "sign_selector": "s", "sign_key": str(tmp_path / "key"),
        }  # fmt: skip
        failure = {"enabled": True, "spool": str(tmp_path / "spool"), "key": str(tmp_path / "redaction.key")}
        sections = {"reports": reports, "reports.failure": failure, "dmarc": {"psl_file": str(tmp_path / "list.dat")}}
        with FilterDaemon(conf_of(dns, **sections)) as daemon:
            with MilterClient(daemon.address) as client:
                for _ in range(3):
                    client.deliver(SPOOF, mail_from="x@spammer.example")
            wait_until(lambda: list(Path(failure["spool"]).glob("*.incident")), "the incident")
            store = Store(f"sqlite:///{daemon.directory}/history.db")
            migrations.migrate(store)
            store.close()
            waiting = report(daemon.conf, "failures", "show")
            assert "asks.example" in waiting.output
            done = report(daemon.conf, "failures", "run")
            assert "planned 1, withheld 0, sent 1, refused 1" in done.output
            (arrived,) = sink.wait(1)
            identifier = arrived.fields("message-id")[0].strip("<>").partition("@")[0]
            shown = report(daemon.conf, "failures", "show", identifier)
            assert "Feedback-Type: auth-failure" in shown.output
            assert identifier in report(daemon.conf, "failures", "show").output
            assert report(daemon.conf, "failures", "show", "nothing").exit_code == 1
    assert arrived.rcpts == ("<ruf@asks.example>",)
    text = arrived.data.decode().lower()
    assert not [word for word in ("alice", "bob", "secret", "rcpt.example") if word in text]
    key = f"v=DKIM1; k=ed25519; p={PUBLIC}".encode()
    message = arrived.data[arrived.data.index(b"DKIM-Signature:") :]
    # RUF-07
    assert dkim.verify(message, dnsfunc=lambda name, timeout=5: key)
    assert b"Incidents: 3" in arrived.data
