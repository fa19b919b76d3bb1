"""Sealing through a real Postfix: what one site sealed saves the message at the next, in our eyes and in others'."""

import contextlib
import re

import pytest

from dmarcmilter.testing.milter_client import MilterAction, MilterClient
from dmarcmilter.testing.name_server import NameServer
from tests.support import arc_hops, signing
from tests.support.filter_daemon import FilterDaemon
from tests.support.mta.mail_chain import domain, signed
from tests.support.mta.postfix import PostfixServer, missing_postfix
from tests.support.mta.rspamd import Rspamd, missing_rspamd
from tests.support.mta.smtp_sink import Sink
from tests.support.running_daemon import PLAIN

AUTHOR_SERVER = "192.0.2.10"
FORWARDER = "192.0.2.20"
SEALERS = ("fwd.example", "second.example")
KEY_RECORD = signing.key_record(signing.rsa_key()).decode()
ZONE = {
    **domain("reject.example", "p=reject"),
    **domain("none.example", "p=none"),
    **{f"seal._domainkey.{name}": {"TXT": [KEY_RECORD]} for name in SEALERS},
    "fwd.example": {"TXT": [f"v=spf1 ip4:{FORWARDER} -all"], "A": [FORWARDER]},
}


class Site:
    """A daemon behind its own Postfix, and the next hop's mailbox."""

    def __init__(self, stack, directory, dns, name, *, arc, seals=True):
        seal = {
            "domain": name,
            "selector": "seal",
            "key_file": arc_hops.pem_file(directory / f"{name}.pem"),
        }
        conf = {
            "dns": {"nameservers": [f"127.0.0.1:{dns.port}"]},
            "identity": {"authserv_id": f"mx.{name}"},
            "arc": arc,
            "arc.seal": seal if seals else {},
        }
        self.daemon = stack.enter_context(FilterDaemon(conf))
        self.sink = stack.enter_context(Sink())
        self.postfix = stack.enter_context(PostfixServer(self.daemon.address, sink_port=self.sink.port))

    def send(self, data, client_ip, mail_from="a@reject.example"):
        """(code, text, what was delivered, the record); the message's id is its mark."""
        mark = re.search(rb"Message-ID: (<\S+>)", data)[1]
        code, text = self.postfix.submit(data=data, client_ip=client_ip, helo="mta.example", mail_from=mail_from)
        queue_id = self.postfix.wait_for_log(rf"(\w+): message-id={re.escape(mark.decode())}")[1]
        delivery = self.sink.find(f"id {queue_id}\r\n".encode()) if code == 250 else None
        return code, text, delivery, self.daemon.record(queue_id)


@pytest.fixture(scope="module")
def dns():
    with NameServer(ZONE) as server:
        yield server


@pytest.fixture(scope="module")
def sites(dns, tmp_path_factory):
    if reason := missing_postfix():
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("keys")
    with contextlib.ExitStack() as stack:
        yield (
            Site(stack, directory, dns, "fwd.example", arc={}),
            Site(stack, directory, dns, "second.example", arc={"trusted_sealers": ["fwd.example"]}),
        )


@pytest.fixture(scope="module")
def forwarded(sites):
    """A message whose SPF passes at the first site only and whose signature is broken, through both of them."""
    message = (
        b"From: A Person <a@reject.example>\r\nTo: <rcpt@rcpt.example>\r\nMessage-ID: <forwarded@reject.example>\r\n"
        b"Date: Sun, 22 Nov 2026 08:00:00 +0000\r\nSubject: a subject that is\r\n\tfolded  twice\r\n  over\r\n"
        b"\r\nHello,\r\n.\r\n\r\nworld.  \r\n\r\n\r\n"
    )
    message = signed(message, "reject.example").replace(b"Hello,", b"Hello!")
    forged = b"Authentication-Results: mx.fwd.example; dmarc=pass header.from=bank.example\r\n"
    first = sites[0].send(forged + message, AUTHOR_SERVER)
    assert first[0] == 250, first
    second = sites[1].send(first[2].data, FORWARDER)
    return first, second


def test_the_first_site_seals(forwarded):
    (_, _, delivery, record), _ = forwarded
    assert (record["dmarc"]["result"], record["sealed"], record["seal_reason"]) == ("pass", True, None)
    names = [name.decode() for name, _ in delivery.headers[:5]]
    assert names == [
        "ARC-Seal",
        "ARC-Message-Signature",
        "ARC-Authentication-Results",
        "Authentication-Results",
        "Received",
    ]
    [recorded] = delivery.fields("ARC-Authentication-Results")
    assert recorded.startswith("i=1; mx.fwd.example;")
    assert "dmarc=pass header.from=reject.example" in recorded
    assert b"bank.example" not in delivery.data


def test_the_second_site_accepts_what_fails_there(forwarded):
    _, (code, _, delivery, record) = forwarded
    assert code == 250
    assert (record["spf"]["result"], record["dkim"][0]["result"], record["dmarc"]["result"]) == ("fail", "fail", "fail")
    assert (record["arc"]["result"], record["arc"]["oldest_pass"]) == ("pass", 0)
    assert (record["action"], record["disposition"]) == ("accept", "none")
    assert delivery is not None


def test_without_trust_it_is_refused(forwarded, dns):
    (_, _, delivery, _), _ = forwarded
    with (
        FilterDaemon({"dns": {"nameservers": [f"127.0.0.1:{dns.port}"]}}) as daemon,
        MilterClient(daemon.address) as client,
    ):
        verdict = client.deliver(delivery.data, client_ip=FORWARDER, helo="mta.example", mail_from="a@reject.example")
    assert (verdict.action, verdict.reply[0]) == (MilterAction.REJECT, 550)


def test_the_chain_of_both_passes_further_on(forwarded, dns):
    """Judged where it came out, by us and by dkimpy."""
    _, (_, _, delivery, record) = forwarded
    assert record["sealed"] is True
    assert [value[:4] for value in delivery.fields("ARC-Seal")] == ["i=2;", "i=1;"]
    conf = {
        "dns": {"nameservers": [f"127.0.0.1:{dns.port}"]},
        "arc": {"trusted_sealers": ["fwd.example", "second.example"]},
    }
    with FilterDaemon(conf) as daemon, MilterClient(daemon.address) as client:
        verdict = client.deliver(delivery.data, client_ip=FORWARDER, helo="mta.example", queue_id="THIRD")
        found = daemon.record("THIRD")
    assert verdict.action is MilterAction.ACCEPT
    assert (found["arc"]["result"], found["arc"]["oldest_pass"]) == ("pass", 0)
    assert (found["sealed"], found["seal_reason"]) == (None, None)
    assert arc_hops.dkimpy_says(delivery.data, arc_hops.zone(*SEALERS)) == "pass"


def sealing_daemon(dns, directory, **changes):
    seal = {"domain": "fwd.example", "selector": "seal", "key_file": arc_hops.pem_file(directory / "k")} | changes
    return FilterDaemon(
        {
            "dns": {"nameservers": [f"127.0.0.1:{dns.port}"]},
            "ignore": {"networks": ["192.0.2.99"]},
            "arc.seal": seal,
        }
    )


def test_only_what_is_judged_and_wanted_is_sealed(dns, tmp_path):
    with (
        sealing_daemon(dns, tmp_path, recipients=["rcpt.example"]) as daemon,
        MilterClient(daemon.address) as client,
    ):

        def seals(**envelope):
            return len(client.deliver(PLAIN, **envelope).fields("ARC-Seal"))

        assert seals(client_ip=FORWARDER, rcpts=("b@rcpt.example",)) == 1
        assert seals(client_ip=FORWARDER, rcpts=("b@other.example", "c@RCPT.example")) == 1
        assert seals(client_ip=FORWARDER, rcpts=("b@other.example",)) == 0
        assert seals(client_ip="192.0.2.99", rcpts=("b@rcpt.example",)) == 0
        assert seals(client_ip=FORWARDER, rcpts=("b@rcpt.example",), macros={"{auth_authen}": "user"}) == 0


def test_a_key_that_cannot_be_read_stops_the_start(dns, tmp_path):
    with pytest.raises(RuntimeError, match=r"\[arc\.seal\] key_file: /nowhere/key: No such file"):
        sealing_daemon(dns, tmp_path, key_file="/nowhere/key").__enter__()


def test_rspamd_accepts_both(forwarded, dns):
    if reason := missing_rspamd():
        pytest.skip(reason)
    with Rspamd(dns.port) as rspamd:
        for _, _, delivery, _ in forwarded:
            assert "ARC_ALLOW" in rspamd.symbols(delivery.data, client_ip=FORWARDER)
        spoilt = delivery.data.replace(b"world", b"World")
        assert spoilt != delivery.data
        assert "ARC_REJECT" in rspamd.symbols(spoilt, client_ip=FORWARDER)
