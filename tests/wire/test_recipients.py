"""Recipients, deferrals and strangers' keys as an MTA sees them: the running daemon over the milter protocol."""

import contextlib
import json
import os
import sqlite3
import time

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main as main_command
from dmarcmilter.testing.milter_client import Event, MilterAction, MilterClient
from dmarcmilter.testing.milter_protocol import Protocol
from dmarcmilter.testing.name_server import NameServer
from tests.support import signing
from tests.support.filter_daemon import FilterDaemon
from tests.support.running_daemon import PLAIN, SPOOF, ZONE, OpenMessage, conf, wait_until

JOE, ANN, BOB = "joe@rcpt.example", "ann@rcpt.example", "bob@rcpt.example"


@pytest.fixture(scope="module")
def dns():
    with NameServer(ZONE) as dns:
        yield dns


@pytest.fixture
def running(dns):
    with contextlib.ExitStack() as stack:
        yield lambda **sections: stack.enter_context(FilterDaemon(conf(dns, **sections)))


@pytest.fixture
def people(tmp_path):
    """Joe has opted out."""
    path = tmp_path / "exempt"
    path.write_text(f"{JOE}\n")
    os.utime(path, (1, 1))
    return path


@pytest.fixture(scope="module")
def shared(dns, tmp_path_factory):
    """A daemon for the tests that change nothing about it: Joe has opted out."""
    path = tmp_path_factory.mktemp("people") / "exempt"
    path.write_text(f"{JOE}\n")
    with FilterDaemon(conf(dns, recipients={"file": str(path)}, defer={"policy": "tempfail"})) as daemon:
        yield daemon


def next_id():
    next_id.last += 1
    return f"4W{next_id.last:05X}"


next_id.last = 0


def deliver(daemon, *rcpts, message=SPOOF, client=None, **envelope):
    queue_id = next_id()
    with contextlib.ExitStack() as stack:
        client = client or stack.enter_context(MilterClient(daemon.address, timeout=60))
        verdict = client.deliver(message, rcpts=rcpts or (JOE,), queue_id=queue_id, **envelope)
    return verdict, daemon.record(queue_id)


# --- who asks for recipients


def test_recipients_are_not_asked_for_in_vain(running):
    daemon = running()
    with MilterClient(daemon.address) as client:
        assert client.connection.protocol & Protocol.NO_RCPT


NEEDED = {
    "opt-out": {"recipients": {"file": "FILE"}},
    "opt-in": {"recipients": {"default": "exempt"}},
    "redirect": {"policy": {"quarantine_action": "redirect"}, "quarantine": {"mailbox": "q@rcpt.example"}},
}


@pytest.mark.parametrize("sections", NEEDED.values(), ids=NEEDED.keys())
def test_recipients_are_asked_for_without_an_answer(running, people, sections):
    sections = {
        name: {k: str(people) if v == "FILE" else v for k, v in keys.items()} for name, keys in sections.items()
    }
    daemon = running(**sections)
    with MilterClient(daemon.address) as client:
        protocol = client.connection.protocol
        assert not protocol & Protocol.NO_RCPT
        assert protocol & Protocol.NR_RCPT
        assert client.deliver(PLAIN, rcpts=(JOE, ANN)).refused == ()


def test_an_mta_that_wants_an_answer_gets_one(running, people, monkeypatch):
    from dmarcmilter.testing import milter_connection
    from dmarcmilter.testing.milter_protocol import OFFERED

    monkeypatch.setattr(milter_connection, "OFFERED", OFFERED & ~Protocol.NR_RCPT)
    daemon = running(recipients={"file": str(people)})
    verdict, record = deliver(daemon, JOE, ANN)
    assert (verdict.action, verdict.refused, record["disposition"]) == (MilterAction.ACCEPT, (), "none")


# --- mixed recipients


def test_opting_out(shared):
    daemon = shared
    verdict, record = deliver(daemon, ANN, BOB)
    assert (verdict.action, record["action"]) == (MilterAction.REJECT, "reject")
    for rcpts in ((JOE,), ("Joe+news@RCPT.example",), (ANN, JOE), (JOE, ANN, BOB)):
        verdict, record = deliver(daemon, *rcpts)
        assert verdict.action is MilterAction.ACCEPT
        assert "dmarc=fail" in verdict.fields("Authentication-Results")[0]
        assert (record["disposition"], record["would"]) == ("none", "reject")
        assert [found["type"] for found in record["overrides"]] == ["local_policy"]
    assert not any(name.split("@")[0] in line for name in (JOE, ANN, BOB) for line in daemon.log().splitlines())
    journal = "".join(path.read_text() for path in daemon.journal.glob("*.jsonl"))
    assert "rcpt.example" not in journal


def test_messages_on_one_connection_have_their_own_recipients(shared):
    daemon = shared
    with MilterClient(daemon.address) as client:
        assert deliver(daemon, JOE, client=client)[0].action is MilterAction.ACCEPT
        assert deliver(daemon, ANN, client=client)[0].action is MilterAction.REJECT
        for after in (Event.RCPT, Event.HEADER, Event.BODY):
            client.abort(SPOOF, after, rcpts=(JOE,))
            assert deliver(daemon, ANN, client=client)[0].action is MilterAction.REJECT
        # A MAIL that follows a MAIL, as after a client that gave up.
        OpenMessage(client, SPOOF, until=Event.RCPT, rcpts=(JOE,))
        assert deliver(daemon, ANN, client=client)[0].action is MilterAction.REJECT


def test_the_file_is_taken_over_while_the_daemon_runs(running, people):
    daemon = running(recipients={"file": str(people)})
    assert deliver(daemon, ANN)[0].action is MilterAction.REJECT
    people.write_text(f"{ANN}\n")
    os.utime(people, (2, 2))
    wait_until(lambda: deliver(daemon, ANN)[0].action is MilterAction.ACCEPT, "the new list")
    assert deliver(daemon, JOE)[0].action is MilterAction.REJECT


def test_opting_in(running, people):
    daemon = running(recipients={"default": "exempt", "file": str(people)})
    assert deliver(daemon, JOE)[0].action is MilterAction.REJECT
    assert deliver(daemon, ANN)[0].action is MilterAction.ACCEPT
    assert deliver(daemon, JOE, ANN)[0].action is MilterAction.ACCEPT


def test_quarantine_and_deferral_leave_them_alone_too(shared, dns):
    quarantine = PLAIN.replace(b"none.example", b"quarantine.example")
    broken = PLAIN.replace(b"none.example", b"broken.example")
    dns.load(ZONE | {"_dmarc.broken.example": {"_": "servfail"}})
    try:
        daemon = shared
        assert deliver(daemon, ANN, message=quarantine)[0].quarantine
        assert deliver(daemon, JOE, message=quarantine)[0].quarantine is None
        assert deliver(daemon, ANN, message=broken)[0].action is MilterAction.TEMPFAIL
        assert deliver(daemon, JOE, message=broken)[0].action is MilterAction.ACCEPT
    finally:
        dns.load(ZONE)


def test_more_recipients_than_are_kept(shared):
    # MAX_RECIPIENTS
    daemon = shared
    many = tuple(f"r{number}@rcpt.example" for number in range(10_001))
    assert deliver(daemon, *many[:10_000])[0].action is MilterAction.REJECT
    assert deliver(daemon, *many[:100] * 101)[0].action is MilterAction.REJECT
    assert deliver(daemon, *many)[0].action is MilterAction.ACCEPT


def test_odd_recipients(shared):
    # MAX_RECIPIENT_BYTES
    daemon = shared
    for rcpt in (b"", b"@", b"\xff\xfe@rcpt.example", b"a\0b@rcpt.example", b"x" * 100_000 + b"@rcpt.example"):
        assert deliver(daemon, rcpt)[0].action is MilterAction.REJECT
    large = tuple(b"%d" % number + b"x" * 60_000 + b"@rcpt.example" for number in range(80))
    assert deliver(daemon, *large)[0].action is MilterAction.ACCEPT
    assert deliver(daemon, ANN)[0].action is MilterAction.REJECT


@pytest.mark.parametrize("rcpts", [(JOE,), (ANN,), (ANN, JOE), (f"<{JOE}>",)])
def test_check_judges_as_the_daemon_does(shared, rcpts):
    _, record = deliver(shared, *(rcpt.strip("<>") for rcpt in rcpts))
    (shared.directory / "spoof.eml").write_bytes(SPOOF)
    arguments = ["--config", str(shared.conf), "--ip", "192.0.2.1", "--helo", "client.example"]
    arguments += ["--mail-from", "sender@client.example", *(word for rcpt in rcpts for word in ("--rcpt", rcpt))]
    done = CliRunner().invoke(main_command, ["check", *arguments, "--json", str(shared.directory / "spoof.eml")])
    found = json.loads(done.stdout)
    for key in ("action", "would", "disposition", "overrides", "dmarc"):
        assert found[key] == record[key]


# --- SQL


QUERY = "SELECT exempt FROM people WHERE address = :address"


def test_sql(running, tmp_path):
    path = tmp_path / "people.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE people (address TEXT PRIMARY KEY, exempt INTEGER)")
        database.execute("INSERT INTO people VALUES (?, 1), ('@out.example', 1), ('ann@out.example', 0)", (JOE,))
    section = {"database": f"sqlite:///{path}", "query": QUERY, "timeout": 5.0, "cache_seconds": 0.0}
    daemon = running(recipients=section)
    assert deliver(daemon, ANN)[0].action is MilterAction.REJECT
    assert deliver(daemon, "JOE+x@rcpt.example", ANN)[0].action is MilterAction.ACCEPT
    assert deliver(daemon, "bob@out.example")[0].action is MilterAction.ACCEPT
    assert deliver(daemon, "ann@out.example")[0].action is MilterAction.REJECT
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO people VALUES (?, 1)", (ANN,))
    assert deliver(daemon, ANN)[0].action is MilterAction.ACCEPT


def test_a_database_that_is_away_refuses_nobodys_mail(running, tmp_path):
    section = {"database": f"sqlite:///{tmp_path}/away/people.db", "query": QUERY}
    daemon = running(recipients=section)
    for _ in range(3):
        verdict, record = deliver(daemon, ANN)
        assert (verdict.action, record["would"]) == (MilterAction.ACCEPT, "reject")
    assert daemon.log().count("ERROR [recipients] database:") == 1
    assert ANN not in daemon.log()
    # What no choice can matter to is judged as ever.
    assert deliver(daemon, ANN, message=PLAIN)[1]["overrides"] == []


# --- deferrals


@pytest.fixture
def broken(dns):
    """A message whose policy cannot be found, for now."""
    dns.load(ZONE | {"_dmarc.broken.example": {"_": "servfail"}})
    yield PLAIN.replace(b"none.example", b"broken.example")
    dns.load(ZONE)


def test_deferred_until_the_cap(running, broken):
    daemon = running(defer={"policy": "tempfail", "cap": 2.0})
    verdict, record = deliver(daemon, message=broken)
    assert (verdict.reply[0], record["action"]) == (451, "tempfail")
    assert deliver(daemon, message=broken)[0].action is MilterAction.TEMPFAIL
    time.sleep(2.1)
    # Neither another message nor the same one from elsewhere is older for that.
    other = broken.replace(b"Subject: hello", b"Subject: other")
    assert deliver(daemon, message=other)[0].action is MilterAction.TEMPFAIL
    assert deliver(daemon, message=broken, client_ip="198.51.100.7")[0].action is MilterAction.TEMPFAIL
    verdict, record = deliver(daemon, message=broken)
    assert (verdict.action, record["dmarc"]["result"]) == (MilterAction.ACCEPT, "temperror")
    assert [found["type"] for found in record["overrides"]] == ["local_policy"]
    assert daemon.log().count("[defer]") == 0


def test_deferrals_outlive_a_restart(dns, broken, tmp_path):
    defer = {"policy": "tempfail", "cap": 1.0, "directory": str(tmp_path / "deferred")}
    sections = conf(dns, defer=defer, policy={"sampling_key": str(tmp_path / "key")})
    with FilterDaemon(sections) as daemon:
        assert deliver(daemon, message=broken)[0].action is MilterAction.TEMPFAIL
    time.sleep(1.1)
    with FilterDaemon(sections) as daemon:
        assert deliver(daemon, message=broken)[0].action is MilterAction.ACCEPT


def test_deferrals_that_cannot_be_kept(running, broken):
    daemon = running(defer={"policy": "tempfail", "directory": "/proc/no/deferred"})
    assert [deliver(daemon, message=broken)[0].action for _ in range(3)] == [MilterAction.ACCEPT] * 3
    assert daemon.log().count("[defer] directory") == 1


def test_by_class(running, broken):
    daemon = running(dmarc={"temperror": "tempfail"}, defer={"policy": "accept"})
    assert deliver(daemon, message=broken)[0].action is MilterAction.ACCEPT


def test_monitoring_keeps_no_record(running, broken):
    daemon = running(policy={"mode": "monitor"}, defer={"policy": "tempfail"})
    verdict, record = deliver(daemon, message=broken)
    assert (verdict.action, record["would"]) == (MilterAction.ACCEPT, "tempfail")
    assert not [path for path in (daemon.directory / "deferred").rglob("*") if path.is_file()]


# --- keys that cannot change the verdict


def signed_by_strangers(count):
    fields = [tuple(line.split(b":", 1)) for line in SPOOF.partition(b"\r\n\r\n")[0].split(b"\r\n")]
    headers = [signing.Header(name, value) for name, value in fields]
    added = [
        signing.dkim(headers, b"body\r\n", signing.rsa_key(), d=f"n{number}.dead.example", t=str(int(time.time())))
        for number in range(count)
    ]
    return b"".join(field.name + b":" + field.value + b"\r\n" for field in added) + SPOOF


def test_dead_keys_of_strangers_hold_nothing_up(running, dns):
    dead = {f"sel._domainkey.n{number}.dead.example": {"_": "timeout"} for number in range(9)}
    dns.load(ZONE | dead)
    try:
        daemon = running(dns={"nameservers": [f"127.0.0.1:{dns.port}"], "unaligned_budget": 0.5})
        began = time.monotonic()
        verdict, record = deliver(daemon, message=signed_by_strangers(9))
        assert time.monotonic() - began < 4.0
    finally:
        dns.load(ZONE)
    assert (verdict.action, record["dmarc"]["result"]) == (MilterAction.REJECT, "fail")
    assert [found["result"] for found in record["dkim"]] == ["temperror"] * 9
    assert record["dns"]["milliseconds"] > 400
