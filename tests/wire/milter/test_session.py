"""Sessions of the running daemon over the milter protocol, and the failsafe with an MTA that is an object here."""

import contextlib
import socket
import struct
import time

import Milter
import milter
import pytest

from dmarcmilter import receiver
from dmarcmilter.config.load import parse
from dmarcmilter.daemon.worker import make_context
from dmarcmilter.metrics.worker_metrics import WorkerTally
from dmarcmilter.milter import libmilter_callbacks as callbacks
from dmarcmilter.milter.connection_facts import MtaConnection
from dmarcmilter.milter.negotiation import ALL_STEPS_WITHOUT_ANSWER
from dmarcmilter.milter.session import Session
from dmarcmilter.milter.transaction import Evaluating
from dmarcmilter.milter.worker_context import WorkerContext
from dmarcmilter.testing import milter_connection
from dmarcmilter.testing import smtp_envelope as envelope_module
from dmarcmilter.testing.milter_client import Event, MilterAction, MilterClient
from dmarcmilter.testing.milter_protocol import OFFERED, Protocol
from dmarcmilter.testing.name_server import NameServer
from tests.support.build import plants_bugs
from tests.support.filter_daemon import FilterDaemon
from tests.support.mta.mail_chain import domain, signed
from tests.support.running_daemon import PLAIN, SPOOF, ZONE, OpenMessage, conf, wait_until, workers

IGNORED = "192.0.2.9"
FORGED = b"Authentication-Results: mx.test.example; dmarc=pass\r\n"
FOREIGN = b"Authentication-Results: other.example; dmarc=pass\r\n"


@pytest.fixture(scope="module")
def dns():
    with NameServer(ZONE | domain("signed.example", "p=reject")) as dns:
        yield dns


@pytest.fixture(scope="module")
def daemon(dns):
    with FilterDaemon(conf(dns, ignore={"networks": [IGNORED]})) as daemon:
        wait_until(lambda: workers(daemon), "the worker")
        before = workers(daemon)
        yield daemon
        # Whatever the tests did, the worker has lived through it.
        assert workers(daemon) == before


@pytest.fixture
def running(dns):
    with contextlib.ExitStack() as stack:
        yield lambda **sections: stack.enter_context(FilterDaemon(conf(dns, **sections)))


@pytest.fixture
def client(daemon):
    with MilterClient(daemon.address, timeout=60) as client:
        yield client


def serves(daemon):
    """An ordinary message on a connection of its own."""
    with MilterClient(daemon.address, timeout=60) as client:
        return client.deliver(PLAIN, queue_id=next_id()).action is MilterAction.ACCEPT


def next_id():
    next_id.last += 1
    return f"4S{next_id.last:05X}"


next_id.last = 0


def results(verdict):
    return verdict.fields("Authentication-Results")


# --- packets that no MTA sends


def packet(code, payload=b""):
    return struct.pack("!I", len(payload) + 1) + code + payload


OFFER = packet(b"O", struct.pack("!III", 6, 0x1FF, 0x1FFFFF))
CONNECT = packet(b"C", b"[192.0.2.1]\x004\x9c\x40192.0.2.1\0")
MAIL = packet(b"M", b"<a@none.example>\0")
RCPT = packet(b"R", b"<b@rcpt.example>\0")
FROM = packet(b"L", b"From\0 a@none.example\0")

ODD = {
    "nothing": b"",
    "end of message first": packet(b"E"),
    "end of message after negotiation": OFFER + packet(b"E"),
    "header without sender": OFFER + CONNECT + FROM + packet(b"N") + packet(b"E"),
    "body without header": OFFER + CONNECT + MAIL + packet(b"B", b"x") + packet(b"E"),
    "end of message without end of header": OFFER + CONNECT + MAIL + RCPT + FROM + packet(b"E"),
    "end of header twice": OFFER + CONNECT + MAIL + RCPT + packet(b"N") + packet(b"N") + packet(b"E"),
    "recipient without sender": OFFER + CONNECT + RCPT + packet(b"E"),
    "sender without connection": OFFER + MAIL + RCPT + FROM + packet(b"N") + packet(b"E"),
    "sender twice": OFFER + CONNECT + MAIL + MAIL + RCPT + FROM + packet(b"N") + packet(b"E"),
    "connection twice": OFFER + CONNECT + CONNECT + MAIL,
    "negotiation within a message": OFFER + CONNECT + MAIL + RCPT + OFFER + MAIL,
    "no negotiation": CONNECT + MAIL + RCPT + FROM + packet(b"N") + packet(b"E"),
    "old version": packet(b"O", struct.pack("!III", 2, 0x3F, 0x7F)) + CONNECT + MAIL,
    "unknown version": packet(b"O", struct.pack("!III", 99, 0x1FF, 0x1FFFFF)) + CONNECT,
    "short negotiation": packet(b"O", b"\0\0"),
    "abort outside a message": OFFER + packet(b"A") + CONNECT + packet(b"A") + packet(b"A"),
    "unknown command": OFFER + CONNECT + packet(b"U", b"XYZZY\xe9\0") + MAIL,
    "unknown packet": OFFER + CONNECT + packet(b"~", b"?"),
    "sender without arguments": OFFER + CONNECT + packet(b"M"),
    "sender without an end": OFFER + CONNECT + packet(b"M", b"<a@none.example>"),
    "connection without an address": OFFER + packet(b"C", b"host\0004") + MAIL,
    "connection of an unknown family": OFFER + packet(b"C", b"host\0X\0\0there\0") + MAIL,
    "connection with a bad address": OFFER + packet(b"C", b"host\x004\0\x19not an address\0") + MAIL,
    "header without a value": OFFER + CONNECT + MAIL + RCPT + packet(b"L", b"From\0") + packet(b"N") + packet(b"E"),
    "empty header": OFFER + CONNECT + MAIL + RCPT + packet(b"L", b"\0\0") + packet(b"N") + packet(b"E"),
    "length of nothing": OFFER + struct.pack("!I", 0),
    "length beyond all": OFFER + struct.pack("!I", 0xFFFFFFFF) + b"M",
    "length beyond the limit": OFFER + CONNECT + struct.pack("!I", 2_000_000) + b"M" + b"<" * 1000,
    "half a packet": OFFER + CONNECT + MAIL[:9],
    "no milter protocol": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "8-bit host name": OFFER + packet(b"C", b"h\xf6st\x004\x9c\x40192.0.2.1\0") + MAIL,
}


@pytest.mark.parametrize("octets", ODD.values(), ids=ODD.keys())
def test_odd_packets(daemon, octets):
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(0.2)
        wire.connect(str(daemon.socket))
        with contextlib.suppress(OSError):  # it may close
            wire.sendall(octets)
            while wire.recv(65_536):
                pass
        assert serves(daemon)
    assert serves(daemon)


def test_nul_in_the_sender(daemon):
    """It makes macro lists of an odd number of strings, in which libmilter must not search."""
    for _ in range(20):
        with MilterClient(daemon.address, timeout=5) as client:
            connection = client.connection
            connection.tell(Event.CONNECT, b"[192.0.2.1]\x004\x9c\x40192.0.2.1\0")
            connection.send(b"D", b"M{mail_addr}\0a\0b@none.example\0{mail_host}\0\0")
            connection.tell(Event.MAIL, b"<a\0b@none.example>\0")
            connection.tell(Event.RCPT, b"<b@rcpt.example>\0")
            connection.tell(Event.HEADER, b"From\0 a@none.example\0")
            connection.tell(Event.EOH)
            queue_id = next_id()
            connection.macros(Event.EOM, {"i": queue_id})
            assert connection.tell(Event.EOM).action is MilterAction.ACCEPT
        assert daemon.record(queue_id)["author_domain"] == "none.example"


def test_eight_bit_names(client, daemon):
    """Values that pymilter cannot decode are left out; the message is judged all the same."""
    message = OpenMessage(client, SPOOF, until=Event.DATA, queue_id="48BIT", helo=b"h\xe9lo")
    for _ in range(3):
        assert client.connection.tell(Event.HEADER, b"X-\xe9\0 value\0") is None
    # An answer too many would be taken for the one to the end of the message.
    assert message.finish().action is MilterAction.REJECT
    assert daemon.record("48BIT")["helo"] == ""
    assert "header" in daemon.log()


# --- one message after another


def test_messages_on_one_connection_share_nothing(client, daemon):
    first = FORGED * 3 + b"From: x@reject.example\r\n" + SPOOF
    assert client.deliver(first, queue_id="4LEAK1", mail_from="joe@reject.example").action is MilterAction.REJECT
    verdict = client.deliver(PLAIN, queue_id="4LEAK2")
    assert verdict.action is MilterAction.ACCEPT
    assert verdict.deleted == ()
    assert len(verdict.added) == 1
    first, second = daemon.record("4LEAK1"), daemon.record("4LEAK2")
    assert (first["author_problem"], second["author_problem"]) == ("several-fields", None)
    assert second["author_domain"] == "none.example"
    assert second["mail_from_domain"] == "client.example"
    assert second["size"] == len(PLAIN)


@pytest.mark.parametrize("after", [Event.MAIL, Event.RCPT, Event.HEADER, Event.EOH, Event.BODY])
def test_aborted_messages_leave_nothing(client, daemon, after):
    before = len(daemon.records())
    client.abort(FORGED * 3 + SPOOF + b"more\r\n" * 1000, after, mail_from="joe@reject.example")
    queue_id = next_id()
    verdict = client.deliver(PLAIN, queue_id=queue_id)
    assert (verdict.action, verdict.deleted) == (MilterAction.ACCEPT, ())
    found = daemon.record(queue_id)
    assert (found["author_domain"], found["size"]) == ("none.example", len(PLAIN))
    assert len(daemon.records()) == before + 1


def test_judged_after_an_authenticated_one(client, daemon):
    """Both on one connection: what held for one message does not hold for the next."""
    client.deliver(SPOOF, queue_id="4AUTH1", macros={"{auth_authen}": "joe"})
    assert client.deliver(SPOOF, queue_id="4AUTH2").action is MilterAction.REJECT
    assert [r["queue_id"] for r in daemon.records() if r["queue_id"].startswith("4AUTH")] == ["4AUTH2"]


@pytest.mark.parametrize(
    ("version", "author"),
    [
        ("Postfix 3.7.11", "none.example"),
        ("8.17.1", None),
        ("", None),
        ("Postfix", None),
    ],
)
def test_bytes_with_a_meaning_for_sendmail_count_unless_the_mta_is_postfix(daemon, version, author):
    queue_id = next_id()
    data = PLAIN.replace(b"@none.example", b"\xd0\x81@none.example")
    assert data != PLAIN
    with MilterClient(daemon.address, timeout=60) as client:
        client.deliver(data, queue_id=queue_id, macros={"v": version})
    assert daemon.record(queue_id)["author_domain"] == author


@pytest.mark.parametrize(
    "envelope",
    [
        pytest.param({"macros": {"{auth_authen}": "joe"}}, id="authenticated"),
        pytest.param({"client_ip": IGNORED}, id="network"),
        pytest.param({"client_ip": f"::ffff:{IGNORED}"}, id="network, mapped"),
    ],
)
def test_not_judged(client, daemon, envelope):
    before = len(daemon.records())
    verdict = client.deliver(FOREIGN + SPOOF, **envelope)
    assert verdict.action is MilterAction.ACCEPT
    assert verdict.added == ()
    assert results(verdict) == ["other.example; dmarc=pass"]
    assert len(daemon.records()) == before


STANDS = {
    "ignored": {"client_ip": IGNORED},
    "ignored, mapped": {"client_ip": f"::ffff:{IGNORED}"},
}
FALLS = {
    "login": {"macros": {"{auth_authen}": "joe"}},
    "login from an ignored network": {"client_ip": IGNORED, "macros": {"{auth_authen}": "joe"}},
    "a stranger": {},
    "no address": {"client_ip": "unknown"},
    "local socket": {"client_ip": "unix"},
}


@pytest.mark.parametrize("envelope", [*STANDS.values(), *FALLS.values()], ids=[*STANDS, *FALLS])
def test_whose_results_stand(client, envelope):
    """RFC 8601 5: those of a trusted MTA, which come back from a content filter or an outer MX."""
    verdict = client.deliver(FORGED + FOREIGN + PLAIN, **envelope)
    assert verdict.action is MilterAction.ACCEPT
    kept = [value for value in results(verdict) if value == "mx.test.example; dmarc=pass"]
    assert len(kept) == (envelope in STANDS.values())
    assert results(verdict)[-1] == "other.example; dmarc=pass"


@pytest.mark.parametrize(
    ("trusted", "client_ip", "stands"),
    [
        ([], IGNORED, False),
        (["192.0.2.0/24"], IGNORED, True),
        (["192.0.2.0/24"], "192.0.2.1", False),  # evaluated
        (["198.51.100.7"], IGNORED, False),
        (["198.51.100.7", "ignored"], IGNORED, True),
    ],
)
@pytest.mark.parametrize("authenticated", [True, False])
def test_trusted_networks(running, trusted, client_ip, *, stands, authenticated):
    daemon = running(
        ignore={"networks": [IGNORED], "authenticated": authenticated}, identity={"trusted_networks": trusted}
    )
    ours = "mx.test.example; dmarc=pass"
    with MilterClient(daemon.address) as client:
        assert (ours in results(client.deliver(FORGED + PLAIN, client_ip=client_ip))) is stands
        # A login, whatever [ignore] says of it: no trust.
        login = client.deliver(FORGED + PLAIN, client_ip=client_ip, macros={"{auth_authen}": "joe"})
        assert ours not in results(login)


def test_local_users_are_not_trusted(daemon, monkeypatch):
    """Postfix tells port 0 of what its sendmail command hands in."""
    monkeypatch.setattr(envelope_module, "CLIENT_PORT", 0)
    with MilterClient(daemon.address, timeout=60) as client:
        assert results(client.deliver(FORGED + PLAIN, client_ip=IGNORED)) == []


def test_nul_in_a_trusted_sender(daemon):
    """Nobody can tell whether there was a login."""
    with MilterClient(daemon.address, timeout=60) as client:
        verdict = client.deliver(FORGED + PLAIN, client_ip=IGNORED, mail_from=b"a@none.example\0x")
        assert results(verdict) == []


def test_authenticated_is_judged_if_wanted(running):
    daemon = running(ignore={"authenticated": False})
    with MilterClient(daemon.address) as client:
        assert client.deliver(SPOOF, macros={"{auth_authen}": "joe"}).action is MilterAction.REJECT


# --- negotiation


@pytest.mark.parametrize("octets", [OFFER, packet(b"K") + OFFER], ids=["at once", "after an end"])
def test_negotiation_within_a_message(running, octets):
    """The message is forgotten: a stop does not wait for it."""
    daemon = running()
    with MilterClient(daemon.address, timeout=5) as client:
        OpenMessage(client, FORGED + SPOOF)
        client.connection.send_bytes(octets)
        assert serves(daemon)
        daemon.process.terminate()
        assert daemon.process.wait(5) == 0
    assert len(daemon.records()) == 1


def test_negotiated_again(buggy, monkeypatch):
    """As after XCLIENT: another client on the same connection, and nothing of the one before."""
    session, worker = buggy("tempfail")
    registered = {}
    monkeypatch.setattr(milter, "register", lambda _name, **callbacks: registered.update(callbacks))
    callbacks.register(worker)
    context = session._context
    context.setpriv(session)
    assert worker.in_progress == {session}
    registered["negotiate"](context, [0, 0, 0, 0])
    assert worker.in_progress == set()
    again = context.getpriv()
    assert again is not session
    again.connect("host", 2, ("192.0.2.77", 4000))
    again.envfrom(b"<a@none.example>")
    assert worker.in_progress == {again}
    again.close()


def test_without_leading_space(daemon, monkeypatch):
    """An MTA that strips one space: it is put back for DKIM, and ours is written without."""
    monkeypatch.setattr(milter_connection, "OFFERED", OFFERED & ~Protocol.LEADING_SPACE)
    message = signed(
        PLAIN.replace(b"none.example", b"signed.example"), "signed.example", canonicalization="simple/simple"
    )
    with MilterClient(daemon.address) as client:
        verdict = client.deliver(message, queue_id="4SPACE")
        assert not client.connection.protocol & Protocol.LEADING_SPACE
    assert daemon.record("4SPACE")["dkim"][0]["result"] == "pass"
    [(_, value)] = verdict.added
    assert value.startswith(b" mx.test.example;")


def test_what_is_negotiated(client):
    connection = client.connection
    wanted = Protocol.NO_CONNECT | Protocol.NO_MAIL | Protocol.NO_BODY | Protocol.NO_HEADER | Protocol.NO_EOH
    assert not connection.protocol & wanted
    assert connection.protocol & Protocol.LEADING_SPACE
    # Add and change header fields, quarantine, and the list of macros.
    assert connection.actions == 0x1 | 0x10 | 0x20 | 0x100


# --- the journal's lines


def test_hostile_octets_end_no_line(dns, client, daemon):
    """Whatever reads the journal line by line, also by Unicode's idea of a line, finds whole objects."""
    ends = "\x85\xe2\x80\xa8\x0b\x0c\x1c\x1d\x1e\r\n"
    dns.load({"_dmarc.none.example": {"TXT": [f"v=DMARC1; p=none; fo={ends}; rua=mailto:{ends}@x.example; x={ends}"]}})
    try:
        raw = ends.encode("latin-1")
        field = b"DKIM-Signature: v=1; a=" + raw[:8] + b"; d=x" + raw[:8] + b".example; s=" + raw[:8] + b"; b=AA==\r\n"
        client.deliver(field + PLAIN, queue_id="4ENDS", mail_from=b"a" + raw[:9] + b"@x" + raw[:9] + b".example")
    finally:
        dns.load(ZONE | domain("signed.example", "p=reject"))
    assert daemon.record("4ENDS")["policy"]["p"] == "none"
    for path in daemon.journal.glob("*.jsonl"):
        octets = path.read_bytes()
        assert len(octets.decode().splitlines()) == octets.count(b"\n")


# --- who the client is


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param("192.0.2.1", "192.0.2.1", id="IPv4"),
        pytest.param("2001:db8::1", "2001:db8::1", id="IPv6"),
        pytest.param("2001:0DB8:0:0::1", "2001:db8::1", id="IPv6, spelt otherwise"),
        pytest.param("::ffff:192.0.2.1", "192.0.2.1", id="mapped"),
        pytest.param("unknown", None, id="unknown"),
        pytest.param("unix", None, id="unix"),
    ],
)
def test_client_address(client, daemon, address, expected):
    queue_id = next_id()
    assert client.deliver(PLAIN, queue_id=queue_id, client_ip=address).action is MilterAction.ACCEPT
    assert daemon.record(queue_id)["client_ip"] == expected


def test_client_address_as_sendmail_writes_it(client, daemon):
    connection = client.connection
    connection.tell(Event.CONNECT, b"host\x006\x9c\x40IPv6:2001:db8::1\0")
    client._peer = ("192.0.2.1", None)
    client.deliver(PLAIN, queue_id="4IPV6")
    assert daemon.record("4IPV6")["client_ip"] == "2001:db8::1"


@pytest.mark.parametrize("helo", [None, "", "client.example"])
def test_helo(client, daemon, helo):
    queue_id = next_id()
    client.deliver(PLAIN, queue_id=queue_id, helo=helo)
    assert daemon.record(queue_id)["helo"] == (helo or "")


def test_own_name_of_the_mta(running):
    daemon = running(identity={"authserv_id": ""})
    with MilterClient(daemon.address) as client:
        [value] = results(client.deliver(FORGED + PLAIN))
        assert value.startswith("mx.test.example;")
    with MilterClient(daemon.address) as client:
        # pymilter cannot decode this host name, so that nothing is known of the connection.
        client.connection.tell(Event.CONNECT, b"h\xf6st\x004\x9c\x40192.0.2.1\0")
        client._peer = ("192.0.2.1", None)
        [value] = results(client.deliver(PLAIN, queue_id="4NOHOST"))
        assert value.partition(";")[0].strip()
        assert daemon.record("4NOHOST")["client_ip"] is None


# --- limits


def many_fields():
    """One more than are taken, and From the last."""
    return b"X: y\r\n" * 10_000 + FORGED * 2 + FOREIGN + FORGED + PLAIN


def five_megabytes():
    return (b"X: " + b"y" * 50_000 + b"\r\n") * 100 + FORGED * 2 + FOREIGN + FORGED + PLAIN


TOO_MUCH = pytest.mark.parametrize(
    ("message", "limit"),
    [
        pytest.param(many_fields, "max_header_fields", id="10,001 fields"),
        pytest.param(five_megabytes, "max_header_bytes", id="5 MB"),
    ],
)


@TOO_MUCH
def test_header_beyond_the_limits(client, daemon, message, limit):
    queue_id = next_id()
    verdict = client.deliver(message(), queue_id=queue_id)
    found = daemon.record(queue_id)
    assert (found["author_problem"], found["truncated"]) == ("malformed", limit)
    assert (verdict.action, verdict.reply[0], found["action"]) == (MilterAction.REJECT, 550, "reject")
    assert found["size"] == len(message())


@TOO_MUCH
def test_forged_results_beyond_the_limits(running, message, limit):
    daemon = running(author={"on_malformed": "accept"})
    with MilterClient(daemon.address, timeout=60) as client:
        verdict = client.deliver(message(), queue_id="4LATE")
    assert verdict.action is MilterAction.ACCEPT
    assert daemon.record("4LATE")["truncated"] == limit
    assert len(verdict.deleted) == 3
    ours, foreign = results(verdict)
    assert ours.startswith("mx.test.example;")
    assert foreign == "other.example; dmarc=pass"


def test_one_huge_field(client, daemon):
    message = OpenMessage(client, PLAIN, until=Event.DATA, queue_id="4HUGE")
    assert client.connection.tell(Event.HEADER, b"X-Huge\0 " + b"x" * 200_000 + b"\0") is None
    assert message.finish().action is MilterAction.ACCEPT
    found = daemon.record("4HUGE")
    assert (found["truncated"], found["author_domain"]) == (None, "none.example")
    assert found["size"] == len(PLAIN) + len("X-Huge: \r\n") + 200_000


def test_many_recipients(client, daemon):
    queue_id = next_id()
    rcpts = tuple(f"r{number}@rcpt.example" for number in range(1500))
    assert client.deliver(PLAIN, queue_id=queue_id, rcpts=rcpts).refused == ()
    assert daemon.record(queue_id)


# --- trouble around us


def test_broken_journal(running):
    daemon = running(history={"journal": "/proc/no/journal"})
    with MilterClient(daemon.address) as client:
        assert client.deliver(PLAIN, queue_id="4A").action is MilterAction.ACCEPT
        assert client.deliver(SPOOF, queue_id="4B").action is MilterAction.REJECT
    lines = [line for line in daemon.log().splitlines() if line.startswith("ERROR journal: /proc/no/journal")]
    assert ['"queue_id":"4A"' in lines[0], '"queue_id":"4B"' in lines[1], len(lines)] == [True, True, 2]


@pytest.mark.parametrize(("temperror", "code"), [("accept", 250), ("tempfail", 451)])
def test_dead_dns(running, temperror, code):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        servers = [f"127.0.0.1:{silent.getsockname()[1]}"]
        budget = 1.5
        daemon = running(
            dns={"nameservers": servers, "timeout": 5.0, "message_budget": budget}, dmarc={"temperror": temperror}
        )
        with MilterClient(daemon.address, timeout=60) as client:
            start = time.monotonic()
            verdict = client.deliver(PLAIN, queue_id="4DEAD")
            assert time.monotonic() - start < budget + 2
    assert verdict.reply[0] == code
    found = daemon.record("4DEAD")
    assert (found["dmarc"]["result"], found["spf"]["result"]) == ("temperror", "temperror")


# --- our own bugs


class Context:
    """What libmilter would be asked for."""

    def __init__(self):
        self.asked = []

    def setpriv(self, session):
        self.session = session

    def getpriv(self):
        return self.session

    def getsymval(self, name):
        return {"i": "4FAKE", "j": "mx.test.example"}.get(name)

    def setsymlist(self, stage, names):
        pass

    def chgheader(self, name, number, value):
        self.asked.append(("delete", name, number, value))

    def addheader(self, name, value, index):
        self.asked.append(("insert", name, index))

    def setreply(self, *reply):
        self.asked.append(("reply", *reply))


@pytest.fixture
def buggy(tmp_path):
    """A session in this process, at the end of a message with a forged field; its owner's choice is the parameter."""
    made, sessions = [], []

    def start(choice, steps=0):
        config = parse(
            f'[milter]\non_internal_error = "{choice}"\n[identity]\nauthserv_id = "mx.test.example"\n'
            f'[dns]\nnameservers = ["127.0.0.1:9"]\ntimeout = 0.1\nmessage_budget = 0.1\n'
            f'[policy]\nmode = "enforce"\nsampling_key = "{tmp_path}/key"\n[history]\njournal = "{tmp_path}/journal"\n'
        )
        made.append(make_context(config, receiver.build(config), WorkerTally()))
        session = Session(Context(), made[-1])
        sessions.append(session)
        session.negotiate([milter.ADDHDRS | milter.CHGHDRS, Milter.P_HDR_LEADSPC | steps, 0, 0])
        session.connect("host", 2, ("192.0.2.1", 4000))
        session.hello("client.example")
        session.envfrom(b"<a@none.example>")
        session.header("Authentication-Results", b" mx.test.example; dmarc=pass")
        session.header("From", b" a@none.example")
        session.header("Authentication-Results", b" other.example; dmarc=pass")
        return session, made[-1]

    yield start
    for session in sessions:
        session.close()
    for worker in made:
        worker.journal.close()


def bug(*_args, **_keywords):
    raise AssertionError("a bug")


DELETED = [("delete", "Authentication-Results", 1, None)]


@plants_bugs
@pytest.mark.parametrize(("where", "step"), [("end_of_headers", "eoh"), ("body", "body"), ("end_of_message", "eom")])
@pytest.mark.parametrize("choice", ["tempfail", "accept"])
@pytest.mark.parametrize("steps", [0, ALL_STEPS_WITHOUT_ANSWER], ids=["answered", "silent"])
def test_bug_before_the_verdict(buggy, monkeypatch, caplog, *, where, step, choice, steps):
    monkeypatch.setattr(Evaluating, where, bug)
    session, worker = buggy(choice, steps)
    on = Milter.NOREPLY if steps else Milter.CONTINUE
    end = Milter.TEMPFAIL if choice == "tempfail" else Milter.CONTINUE
    # An answer where none is awaited would be taken for the answer to the next step that has one.
    assert [session.eoh(), session.body(b"x"), session.eom()] == [on, on, end]
    assert f"4FAKE: internal error in {step}" in caplog.text
    assert "a bug" in caplog.text
    assert session._context.asked == ([] if choice == "tempfail" else DELETED)
    assert worker.in_progress == set()


@plants_bugs
@pytest.mark.parametrize("steps", [0, ALL_STEPS_WITHOUT_ANSWER], ids=["answered", "silent"])
def test_bug_at_a_recipient(buggy, monkeypatch, steps):
    monkeypatch.setattr(Evaluating, "recipient", bug)
    session, _ = buggy("tempfail", steps)
    on = Milter.NOREPLY if steps else Milter.CONTINUE
    assert [session.envrcpt(b"<b@rcpt.example>"), session.eoh(), session.eom()] == [on, on, Milter.TEMPFAIL]


@plants_bugs
@pytest.mark.parametrize(
    ("owner", "name"), [(MtaConnection, "skip_reason"), (Session, "_end_of_headers"), (Session, "_apply")]
)
def test_bug_anywhere(buggy, monkeypatch, owner, name):
    monkeypatch.setattr(owner, name, bug)
    session, _ = buggy("tempfail")
    answers = [session.envfrom(b"<a@none.example>"), session.eoh(), session.eom()]
    assert Milter.TEMPFAIL in answers
    assert set(answers) <= {Milter.TEMPFAIL, Milter.CONTINUE}


class BrokenDns:
    """The DNS of a message, a part of which raises. Unlike a replaced function, compiled code calls it, too."""

    queries = cache_hits = 0
    spent = False
    milliseconds = 0.0

    def __init__(self, broken):
        self._broken = broken

    def start(self, _name, _rdtype):
        if self._broken == "asking ahead":
            bug()

    def __call__(self, name, rdtype):
        return self.within(0.0, name, rdtype)

    def within(self, _seconds, _name, _rdtype):
        raise AssertionError("a bug")

    def close(self):
        pass


@pytest.mark.parametrize(("broken", "step"), [("asking ahead", "envfrom"), ("looking up", "eom")])
@pytest.mark.parametrize("choice", ["tempfail", "accept"])
def test_bug_within_a_message(buggy, monkeypatch, caplog, *, broken, step, choice):
    monkeypatch.setattr(WorkerContext, "lookup", lambda *_: BrokenDns(broken))
    session, worker = buggy(choice)
    end = Milter.TEMPFAIL if choice == "tempfail" else Milter.CONTINUE
    assert [session.eoh(), session.body(b"x"), session.eom()] == [Milter.CONTINUE, Milter.CONTINUE, end]
    assert f"4FAKE: internal error in {step}" in caplog.text
    # The log names the functions on the way, compiled or not.
    assert "AssertionError: a bug" in caplog.text
    assert f"in {'_prefetch' if step == 'envfrom' else 'authenticate'}" in caplog.text
    assert session._context.asked == ([] if choice == "tempfail" else DELETED)
    assert worker.in_progress == set()


def test_bug_while_changing_is_not_doubled(buggy, monkeypatch):
    """Deletions made twice would hit fields of others that have moved up."""
    session, _ = buggy("accept")
    monkeypatch.setattr(Context, "addheader", bug)
    session.eoh()
    assert session.eom() == Milter.CONTINUE
    assert session._context.asked == DELETED


def test_next_message_after_a_bug(buggy, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(WorkerContext, "lookup", lambda *_: BrokenDns("looking up"))
        session, worker = buggy("accept")
        session.eoh()
        session.eom()
    assert session._context.asked == DELETED
    session._context.asked.clear()
    session.envfrom(b"<a@none.example>")
    assert len(worker.in_progress) == 1
    session.header("From", b" a@none.example, b@reject.example")
    session.eoh()
    assert session.eom() == Milter.REJECT
    assert [name for name, *_ in session._context.asked] == ["reply"]


def test_macro_that_cannot_be_decoded(buggy, monkeypatch):
    def undecodable(_self, _name):
        raise UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "unexpected end of data")

    monkeypatch.setattr(Context, "getsymval", undecodable)
    session, _ = buggy("tempfail")
    assert session.queue_id() == ""
    assert session.eoh() == Milter.CONTINUE


def test_callbacks_without_a_message(buggy):
    session, worker = buggy("tempfail")
    session.abort()
    # An end of message without a MAIL: it may have got lost on the way to us, so nothing is let through.
    on = Milter.CONTINUE
    assert [session.eoh(), session.body(b"x"), session.eom(), session.abort()] == [on, on, Milter.TEMPFAIL, on]
    assert session.close() == on
    assert session._context.asked == []
    assert worker.in_progress == set()
