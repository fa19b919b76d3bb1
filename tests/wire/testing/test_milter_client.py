"""The tests' own MTA side is proved first: against a scripted filter and a pymilter filter."""

import struct

import pytest

from dmarcmilter.testing.milter_client import Event, MilterAction, MilterClient, MilterError
from dmarcmilter.testing.milter_protocol import Protocol
from dmarcmilter.testing.postfix_headers import OWN_RECEIVED
from tests.support.mta.scripted_filter import PLAIN, ScriptedFilter, asking, running_filter

# --- the wire, against a filter that is a script


def script_delivery(filter_, message=PLAIN, **envelope):
    with filter_, MilterClient(filter_.address, timeout=5) as client:
        return client.deliver(message, **envelope)


def test_events_in_order():
    filter_ = ScriptedFilter()
    verdict = script_delivery(filter_)
    assert filter_.events() == b"CHMRTLLNBEAQ"
    assert (verdict.action, verdict.reply, verdict.stage) == (MilterAction.ACCEPT, (250, "2.0.0 Ok"), Event.EOM)
    assert verdict.headers == (OWN_RECEIVED, (b"From", b" a@b.example"), (b"Subject", b" hello"))


@pytest.mark.parametrize(
    ("protocol", "events"),
    [
        pytest.param(Protocol.NO_CONNECT | Protocol.NO_HELO, b"MRTLLNBEAQ", id="no connect, no helo"),
        pytest.param(Protocol.NO_MAIL | Protocol.NO_RCPT | Protocol.NO_DATA, b"CHLLNBEAQ", id="no envelope"),
        pytest.param(Protocol.NO_HEADER | Protocol.NO_EOH | Protocol.NO_BODY, b"CHMRTEAQ", id="no content"),
        pytest.param(Protocol(0xFF080), b"CHMRTLLNBEAQ", id="no answers"),
    ],
)
def test_negotiated_events(protocol, events):
    filter_ = ScriptedFilter(protocol=protocol)
    assert script_delivery(filter_).action is MilterAction.ACCEPT
    assert filter_.events() == events


def test_leading_space_and_folds():
    message = b"A: 1\r\nB:2\r\nC:  3\r\n\t4\r\n\r\n"
    for protocol, values in ((0, [b"1", b"2", b" 3\n\t4"]), (Protocol.LEADING_SPACE, [b" 1", b"2", b"  3\n\t4"])):
        filter_ = ScriptedFilter(protocol=protocol)
        script_delivery(filter_, message)
        assert [data[2:-1] for code, data in filter_.got if code == b"L"] == values


def test_skip_ends_the_events_of_one_kind():
    filter_ = ScriptedFilter(protocol=Protocol.SKIP, answers={b"B": b"s", b"L": b"s"})
    script_delivery(filter_, PLAIN + b"x" * 200_000)
    assert filter_.events() == b"CHMRTLNBEAQ"


def test_body_in_chunks():
    filter_ = ScriptedFilter()
    body = b"0123456789abcde\r\n" * 10_000
    script_delivery(filter_, PLAIN + body)
    chunks = [data for code, data in filter_.got if code == b"B"]
    assert [len(chunk) for chunk in chunks[:-1]] == [65_535] * 2
    assert b"".join(chunks) == b"body\r\n" + body


def macros_of(filter_, event):
    data = b"".join(data[1:] for code, data in filter_.got if code == b"D" and data[:1] == event)
    words = data.decode().split("\0")
    return dict(zip(words[::2], words[1::2], strict=False))


def test_macros_by_default():
    filter_ = ScriptedFilter()
    script_delivery(filter_, queue_id="4X", macros={"{auth_authen}": "joe", "{cipher}": ""})
    assert macros_of(filter_, b"C")["j"] == "mx.test.example"
    assert "{client_addr}" not in macros_of(filter_, b"C")
    assert macros_of(filter_, b"M")["{auth_authen}"] == "joe"
    assert "i" not in macros_of(filter_, b"M")
    assert macros_of(filter_, b"R")["{rcpt_addr}"] == "rcpt@rcpt.example"
    assert macros_of(filter_, b"T") == macros_of(filter_, b"E") == {"i": "4X"}


def test_macros_by_request():
    filter_ = ScriptedFilter(symbols=struct.pack("!I", 0) + b"{client_addr},j {client_name}\0")
    script_delivery(filter_, client_ip="2001:db8::1")
    expected = {"{client_addr}": "IPv6:2001:db8::1", "j": "mx.test.example", "{client_name}": "unknown"}
    assert macros_of(filter_, b"C") == expected


@pytest.mark.parametrize(
    ("event", "answer", "action", "reply"),
    [
        pytest.param(b"C", b"r", MilterAction.REJECT, (550, "5.7.1 Command rejected"), id="connection"),
        pytest.param(b"H", b"a", MilterAction.ACCEPT, (250, "2.0.0 Ok"), id="connection accepted"),
        pytest.param(
            b"M", b"t", MilterAction.TEMPFAIL, (451, "4.7.1 Service unavailable - try again later"), id="sender"
        ),
        pytest.param(b"R", b"y550 5.1.1 no\0", MilterAction.REJECT, (550, "5.1.1 no"), id="the only recipient"),
        pytest.param(b"B", b"d", MilterAction.DISCARD, (250, "2.0.0 Ok"), id="body"),
        pytest.param(b"E", b"p||p||a", MilterAction.ACCEPT, (250, "2.0.0 Ok"), id="progress"),
        pytest.param(b"E", b"4", MilterAction.TEMPFAIL, (421, "4.7.0 Service shutting down"), id="shut down"),
        pytest.param(
            b"E", b"y451-4.7.1 a\r\n451 4.7.1 b 5%%\0", MilterAction.TEMPFAIL, (451, "4.7.1 a\n4.7.1 b 5%"), id="lines"
        ),
    ],
)
def test_answers(event, answer, action, reply):
    verdict = script_delivery(ScriptedFilter(answers={event: answer}))
    assert (verdict.action, verdict.reply) == (action, reply)


@pytest.mark.parametrize(
    ("event", "answer"),
    [
        pytest.param(b"E", b"z", id="unknown answer"),
        pytest.param(b"E", b"ctoo much", id="data behind an answer"),
        pytest.param(b"M", b"hX-A\0 b\0", id="edit before the end"),
        pytest.param(b"L", b"s", id="skip that was not negotiated"),
        pytest.param(b"E", b"y250 2.0.0 fine\0", id="reply that is no refusal"),
        pytest.param(b"E", b"y550 4.7.1 no\0", id="codes that disagree"),
        pytest.param(b"E", b"hX-A\0 b", id="edit without its end"),
        pytest.param(b"E", b"bnew body||c", id="a body of its own"),
        pytest.param(b"O", b"c", id="no negotiation"),
        pytest.param(b"O", b"O" + struct.pack("!III", 7, 0, 0), id="version not offered"),
    ],
)
def test_broken_filters_are_named(event, answer):
    with pytest.raises(MilterError):
        script_delivery(ScriptedFilter(answers={event: answer}))


def test_raw_packets():
    with ScriptedFilter() as filter_, MilterClient(filter_.address, timeout=5) as client:
        client.connection.send(b"B", b"no transaction")
        assert client.connection.receive() == (b"c", b"")
        client.connection.send_bytes(struct.pack("!I", 3) + b"U")
        client.connection.send_bytes(b"xx")
        assert client.connection.receive() == (b"c", b"")
    assert filter_.got[-2] == (b"U", b"xx")


# --- against pymilter


@pytest.fixture(scope="module")
def filter_socket():
    with running_filter("exact") as path:
        yield path


@pytest.fixture
def client(filter_socket):
    with MilterClient(f"unix:{filter_socket}", timeout=60) as client:
        yield client


def test_edits_by_pymilter(client):
    verdict = client.deliver(asking("insert 0 X-Top a|b", "delete 1 Subject", "change 1 from c@d", more=b"From: x\r\n"))
    names = [name for name, _ in verdict.headers]
    assert names == [b"X-Top", b"Received", b"from", b"X-Ask", b"X-Ask", b"X-Ask", b"From", b"X-Saw"]
    assert verdict.headers[0] == (b"X-Top", b" a\r\n\tb")
    assert verdict.fields("X-TOP") == ["a\tb"]
    assert verdict.deleted == ((b"Subject", b" hello"), (b"From", b" x"))
    assert len(verdict.added) == 3


def test_answers_of_pymilter(client):
    assert client.deliver(asking("reply 550 5.7.1 not 100%% good")).reply == (550, "5.7.1 not 100% good")
    assert client.deliver(asking("tempfail")).action is MilterAction.TEMPFAIL
    held = client.deliver(asking("quarantine for good reason"))
    assert (held.action, held.quarantine) == (MilterAction.ACCEPT, "for good reason")
    assert client.deliver(PLAIN, mail_from="discard@b.example").stage is Event.MAIL
    some = client.deliver(PLAIN, rcpts=("refused@rcpt.example", "other@rcpt.example"))
    assert (some.action, some.refused) == (MilterAction.ACCEPT, ("refused@rcpt.example",))
    none = client.deliver(PLAIN, rcpts=("refused@rcpt.example",))
    assert (none.action, none.stage) == (MilterAction.REJECT, Event.RCPT)
    assert client.deliver(PLAIN, helo="refused.example").action is MilterAction.REJECT


@pytest.mark.parametrize("after", [Event.MAIL, Event.RCPT, Event.HEADER, Event.BODY])
def test_abort_leaves_the_connection_usable(client, after):
    client.abort(asking("reject"), after)
    verdict = client.deliver(PLAIN, queue_id="4NEXT")
    assert verdict.action is MilterAction.ACCEPT
    assert verdict.fields("X-Saw")[0].endswith(" 4NEXT")


def test_another_client_gets_another_connection(client):
    first = client.deliver(PLAIN, client_ip="192.0.2.1")
    same = client.deliver(PLAIN, client_ip="192.0.2.1")
    other = client.deliver(PLAIN, client_ip="2001:db8::9", helo="other.example", mail_from="")
    assert first.fields("X-Saw")[0].split()[:-1] == same.fields("X-Saw")[0].split()[:-1]
    assert "2001:db8::9" in other.fields("X-Saw")[0]
    assert "b'<>'" in other.fields("X-Saw")[0]
