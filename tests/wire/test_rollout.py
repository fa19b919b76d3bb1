"""[policy] rollout_*, [forwarders] and [[override]] in the running daemon, over the milter protocol."""

import pytest

from dmarcmilter.testing.milter_client import MilterAction, MilterClient
from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import FilterDaemon
from tests.support.mta.mail_chain import domain, signed
from tests.support.running_daemon import PLAIN, ZONE, conf

BRAND, ESP = "brand.example", "esp.example"
OVERRIDES = [
    {"name": "esp for reject.example", "from_domain": "reject.example", "dkim_domain": ESP, "action": "none"},
    {"name": "brand", "from_domain": BRAND, "action": "reject", "comment": "nothing published"},
    {"name": "joe", "recipient": "joe@rcpt.example", "client": "192.0.2.0/24", "action": "accept"},
]
FORWARDER = {
    "1.113.0.203.in-addr.arpa": {"PTR": ["mx.forward.example"]},
    "mx.forward.example": {"A": ["203.0.113.1"]},
    "2.113.0.203.in-addr.arpa": {"PTR": ["mx.forward.example"]},
}


@pytest.fixture(scope="module")
def dns():
    with NameServer(ZONE | domain(ESP, "p=none") | FORWARDER) as dns:
        yield dns


def message(author, number=0):
    return PLAIN.replace(b"none.example", author.encode()).replace(b"hello", b"hello %d" % number)


def deliver(daemon, mail, queue_id, **envelope):
    with MilterClient(daemon.address, timeout=60) as client:
        return client.deliver(mail, queue_id=queue_id, **envelope)


@pytest.fixture(scope="module")
def daemon(dns):
    sections = conf(dns, forwarders={"names": ["forward.example"]}) | {"override": OVERRIDES}
    with FilterDaemon(sections) as daemon:
        yield daemon


def test_an_entry_lets_through_what_is_authenticated(daemon):
    assert deliver(daemon, signed(message("reject.example"), ESP), "4ESP").action is MilterAction.ACCEPT
    assert deliver(daemon, message("reject.example"), "4BARE").action is MilterAction.REJECT
    record = daemon.record("4ESP")
    assert (record["dmarc"]["result"], record["disposition"]) == ("fail", "none")
    assert [found["entry"] for found in record["overrides"]] == ["esp for reject.example"]
    assert daemon.record("4BARE")["overrides"] == []
    assert " override=local_policy:esp_for_reject.example " in daemon.log()


def test_an_entry_forces_what_is_not_published(daemon):
    assert deliver(daemon, message(BRAND), "4BRAND").reply[0] == 550
    record = daemon.record("4BRAND")
    assert (record["dmarc"]["result"], record["policy"]) == ("none", None)
    assert record["overrides"][0] == {
        "type": "local_policy",
        "comment": "nothing published",
        "comment_code": "operator_comment",
        "comment_parameters": {"text": "nothing published"},
        "rfc7489": "local_policy",
        "entry": "brand",
    }


def test_an_entry_for_a_recipient(daemon):
    def to(*rcpts):
        to.number += 1
        client = "192.0.2.1"
        return deliver(daemon, message("reject.example"), f"4R{to.number}", client_ip=client, rcpts=rcpts).action

    to.number = 0
    assert to("joe@rcpt.example") is MilterAction.ACCEPT
    assert to("joe@rcpt.example", "ann@rcpt.example") is MilterAction.REJECT
    assert "joe@" not in "".join(map(str, daemon.records()))


@pytest.mark.parametrize(
    ("client", "action"), [("203.0.113.1", MilterAction.ACCEPT), ("203.0.113.2", MilterAction.REJECT)]
)
def test_a_forwarder_by_a_name_that_dns_confirms(daemon, client, action):
    queue_id = f"4F{client[-1]}"
    assert deliver(daemon, message("reject.example"), queue_id, client_ip=client).action is action
    assert daemon.record(queue_id)["client_names"] == {
        "confirmed": ["mx.forward.example"] if action is MilterAction.ACCEPT else [],
        "failed": False,
    }


COUNT = 200


def test_rollout(dns, tmp_path):
    """A share of networks is enforced, the same on another server with this key, and a higher share adds to it.

    Another subject (and so another message) draws no other number.
    """
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    found = []
    for percent in (30, 30, 60):
        policy = {"rollout_percent": percent, "sampling_key": str(key)}
        with FilterDaemon(conf(dns, policy=policy)) as daemon:
            found.append(refused(daemon, "A"))
            assert refused(daemon, "B") == found[-1]
            would = {(record["would"], record["would_disposition"]) for record in daemon.records()}
            assert would == {("reject", "reject")}
    assert found[0] == found[1] < found[2]
    # Of 200 networks, four standard deviations to each side.
    assert 34 <= len(found[0]) <= 86
    assert 92 <= len(found[2]) <= 148


def refused(daemon, attempt):
    """Numbers of the networks that are refused; mail of others is delivered, marked, and recorded with the reason."""
    found = set()
    for number in range(COUNT):
        queue_id = f"4{attempt}{number}"
        mail = message("reject.example", ord(attempt))
        verdict = deliver(daemon, mail, queue_id, client_ip=f"10.1.{number}.{ord(attempt)}")
        if verdict.action is MilterAction.REJECT:
            found.add(number)
            continue
        [reason] = daemon.record(queue_id)["overrides"]
        assert (reason["type"], reason["comment"]) == ("local_policy", "not in rollout_percent: would be reject")
        assert "dmarc=fail" in verdict.fields("Authentication-Results")[0]
    return found


@pytest.mark.parametrize("author", ["reject.example", "a.b.reject.example"])
def test_a_sender_cannot_draw_again(dns, author):
    """Twelve spellings of one forgery from one network meet one answer (without: all equal once in 2,000 runs)."""
    with FilterDaemon(conf(dns, policy={"rollout_percent": 50})) as daemon:
        first = deliver(daemon, message("reject.example"), "4FIRST").action
        for number in range(12):
            mail = PLAIN.replace(b"a@none.example", f"a{number} <a{number}@{author.upper()}>".encode())
            mail = b"Message-ID: <%d@x.example>\r\n" % number + mail
            again = deliver(daemon, mail, f"4N{number}", mail_from=f"m{number}@x.example", helo=f"h{number}.example")
            assert again.action is first


def test_rollout_domains(dns):
    with FilterDaemon(conf(dns, policy={"rollout_domains": ["reject.example"]})) as daemon:
        assert deliver(daemon, message("reject.example"), "4IN").action is MilterAction.REJECT
        assert deliver(daemon, message("quarantine.example"), "4OUT").action is MilterAction.ACCEPT
        assert daemon.record("4OUT")["would"] == "quarantine"


EVASIONS = {
    "a second From field": b"From: a@reject.example\r\nFrom: b@other.example\r\n",
    "a second From field above": b"From: b@other.example\r\nFrom: a@reject.example\r\n",
    "a second mailbox": b"From: b@other.example, a@sub.reject.example\r\n",
    "a malformed field": b"From: <a@reject.example\r\n",
    "a malformed field beside one of another domain": b"From: b@other.example\r\nFrom: a@reject.example(\r\n",
    "beyond the domains that are read": b"From: x@a.example, x@b.example, x@c.example,\r\n"
    b" x@d.example, x@reject.example\r\n",
    "beyond the fields that are read": b"From: b@other.example\r\n" * 4 + b"From: a@reject.example\r\n",
}


def test_no_spelling_of_from_evades_rollout_domains(dns):
    rest = PLAIN.partition(b"\r\n")[2]
    with FilterDaemon(conf(dns, policy={"rollout_domains": ["reject.example"]})) as daemon:
        for number, (name, fields) in enumerate(EVASIONS.items()):
            assert deliver(daemon, fields + rest, f"4E{number}").action is MilterAction.REJECT, name
        others = b"From: a@none.example, b@quarantine.example\r\n" + rest
        assert deliver(daemon, others, "4OTHERS").action is MilterAction.ACCEPT
        assert daemon.record("4OTHERS")["author_unread"] is False
