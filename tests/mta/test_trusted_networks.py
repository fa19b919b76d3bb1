"""Whose results in our name stand, with a real Postfix: mail of its sendmail command, and mail handed back by SMTP."""

import subprocess

import pytest

from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import FilterDaemon
from tests.support.mta import postfix
from tests.support.mta.mail_chain import ZONE
from tests.support.mta.postfix import PostfixServer, missing_postfix
from tests.support.mta.smtp_client import submit
from tests.support.mta.smtp_sink import Sink
from tests.support.running_daemon import conf, wait_until

OURS = b"Authentication-Results: mx.test.example; dmarc=pass\n"
MESSAGE = OURS + b"From: a@none.example\nTo: b@rcpt.example\nSubject: x\n\nbody\n"


@pytest.fixture
def mail(monkeypatch):
    if reason := missing_postfix():
        pytest.skip(reason)
    monkeypatch.setattr(postfix, "MASTER_CF", postfix.MASTER_CF + "pickup unix n - n 1 1 pickup\n")
    with NameServer(ZONE) as dns, Sink() as sink, FilterDaemon(conf(dns)) as daemon:
        # Postfix's client address of the sendmail command is 127.0.0.1.
        settings = {"non_smtpd_milters": daemon.address}
        with PostfixServer(daemon.address, sink_port=sink.port, settings=settings) as server:
            yield server, sink, daemon


def test_sendmail_command_and_smtp_from_this_host(mail):
    server, sink, daemon = mail
    command = ["sendmail", "-C", str(server.config), "-f", "a@none.example", "b@rcpt.example"]
    subprocess.run(
        command,
        input=MESSAGE,
        check=True,
        timeout=60,
        env={"MAIL_CONFIG": str(server.config), "PATH": "/usr/sbin:/usr/bin:/bin"},
    )
    wait_until(lambda: sink.deliveries, "the mail of the sendmail command")
    assert b"mx.test.example; dmarc=pass" not in sink.deliveries[0].data
    submit(
        server.port,
        client_ip="127.0.0.1",
        mail_from="a@none.example",
        rcpts=["b@rcpt.example"],
        data=MESSAGE.replace(b"\n", b"\r\n"),
    )
    wait_until(lambda: len(sink.deliveries) == 2, "the mail by SMTP")
    assert b"mx.test.example; dmarc=pass" in sink.deliveries[1].data
    assert daemon.records() == []
