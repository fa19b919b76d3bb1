"""The tests' own MTA side is proved first: against a scripted filter, a pymilter filter, and Postfix itself."""

import contextlib
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mta.headers import FIELD_LIMIT, OWN_RECEIVED, Edit, HeaderEdit, apply_edits, as_queued, split_message
from mta.milterclient import Action, Event, MilterClient, MilterError
from mta.milterwords import ALL_ACTIONS, Protocol
from mta.postfix import PostfixServer, missing_postfix
from mta.sink import Sink
from mta.submit import queue_id

FILTER = Path(__file__).parent / "mta" / "askedfilter.py"
PLAIN = b"From: a@b.example\r\nSubject: hello\r\n\r\nbody\r\n"


def asking(*requests: str, more: bytes = b"") -> bytes:
    lines = b"".join(f"X-Ask: {request}\r\n".encode() for request in requests)
    return more + lines + PLAIN


# --- taking apart


@pytest.mark.parametrize(
    ("message", "fields", "body"),
    [
        pytest.param(b"", [], b"", id="empty"),
        pytest.param(b"A: 1\r\nB:2\r\n\r\nx\r\n", [(b"A", b" 1"), (b"B", b"2")], b"x\r\n", id="plain"),
        pytest.param(b"A: 1\r\n\t2\r\n \r\n\r\n", [(b"A", b" 1\r\n\t2\r\n ")], b"", id="folds"),
        pytest.param(b"A \t: 1\r\n", [(b"A", b" 1")], b"", id="white space before the colon"),
        pytest.param(b"A: 1\nB: 2\n\nx", [(b"A", b" 1"), (b"B", b" 2")], b"x\r\n", id="bare LF"),
        pytest.param(b"A: 1\r2\r\n\r\nx\ry\r\n", [(b"A", b" 1 2")], b"x y\r\n", id="bare CR"),
        pytest.param(b"A: 1\r\nno field\r\nB: 2\r\n", [(b"A", b" 1")], b"no field\r\nB: 2\r\n", id="no field"),
        pytest.param(b"A: 1\r\n\xe9: 2\r\n", [(b"A", b" 1")], b"\xe9: 2\r\n", id="8-bit name"),
        pytest.param(b" fold\r\nA: 1\r\n", [], b" fold\r\nA: 1\r\n", id="continuation of nothing"),
        pytest.param(b"A: 1\0 2\r\n\r\nx\0y\r\n", [(b"A", b" 1\0 2")], b"x\0y\r\n", id="NUL"),
        pytest.param(b"\r\nA: 1\r\n", [], b"A: 1\r\n", id="no header"),
    ],
)
def test_split_message(message, fields, body):
    assert split_message(message) == (fields, body)


def test_long_fields_are_cut_as_postfix_does():
    long = b"A:" + b" 2345678\r\n" * 40_000 + b"B: " + b"y" * 70_000 + b"\r\n\r\n"
    folded, flat = (as_queued(field)[1] for field in split_message(long)[0])
    assert folded.endswith(b" 2345678")
    assert FIELD_LIMIT - 9 <= len(b"A:" + folded.replace(b"\r", b"")) <= FIELD_LIMIT
    assert len(b"B:" + flat) == FIELD_LIMIT
    assert as_queued((b"C", b" 1\0 2")) == (b"C", b" 1")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.lists(st.sampled_from([b"A:", b"\r\n", b"\n", b" ", b"\r", b"x"])).map(b"".join))
def test_split_message_takes_any_octets(message):
    fields, body = split_message(message)
    assert all(name and b"\0" not in as_queued((name, value))[1] for name, value in fields)
    assert not body or body.endswith(b"\r\n")


def edit(kind: Edit, index: int, name: bytes, value: bytes = b"") -> HeaderEdit:
    return HeaderEdit(kind, index, name, value)


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        pytest.param([edit(Edit.INSERT, 0, b"N", b" n")], [(b"N", b" n"), OWN_RECEIVED, 1, 2, 3], id="above Received"),
        pytest.param([edit(Edit.INSERT, 1, b"N", b" n")], [OWN_RECEIVED, (b"N", b" n"), 1, 2, 3], id="below Received"),
        pytest.param([edit(Edit.INSERT, 99, b"N", b" n")], [OWN_RECEIVED, 1, 2, 3, (b"N", b" n")], id="beyond the end"),
        pytest.param([edit(Edit.ADD, 0, b"N", b" n")], [OWN_RECEIVED, 1, 2, 3, (b"N", b" n")], id="add"),
        pytest.param([edit(Edit.CHANGE, 2, b"a", b" n")], [OWN_RECEIVED, 1, 2, (b"a", b" n")], id="change"),
        pytest.param([edit(Edit.CHANGE, 3, b"a", b" n")], [OWN_RECEIVED, 1, 2, 3, (b"a", b" n")], id="change none"),
        pytest.param([edit(Edit.CHANGE, 1, b"A")], [OWN_RECEIVED, 2, 3], id="delete"),
        pytest.param([edit(Edit.CHANGE, 3, b"A")], [OWN_RECEIVED, 1, 2, 3], id="delete none"),
        pytest.param([edit(Edit.CHANGE, 1, b"A")] * 2, [OWN_RECEIVED, 2], id="the same index twice"),
        pytest.param([edit(Edit.CHANGE, 1, b"Received")], [OWN_RECEIVED, 1, 2, 3], id="own Received is safe"),
        pytest.param(
            [edit(Edit.ADD, 0, b"N", b" n\nEvil: x")], [OWN_RECEIVED, 1, 2, 3, (b"N", b" n\r\n\tEvil: x")], id="fold"
        ),
    ],
)
def test_apply_edits(edits, expected):
    fields = {1: (b"A", b" 1"), 2: (b"B", b" 2"), 3: (b"A", b" 3")}
    assert apply_edits(fields.values(), edits)[0] == [fields.get(item, item) for item in expected]


# --- the wire, against a filter that is a script


class ScriptedFilter:
    """Negotiates as told, answers each event as told (default: go on), and keeps what it got."""

    def __init__(self, *, protocol: int = 0, symbols: bytes = b"", answers: dict[bytes, bytes] | None = None) -> None:
        self.got: list[tuple[bytes, bytes]] = []
        self._hello = struct.pack("!III", 6, ALL_ACTIONS, protocol) + symbols
        self._answers = answers or {}
        self._protocol = protocol
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"inet:{self._listener.getsockname()[1]}@127.0.0.1"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join(10)
        self._listener.close()

    def events(self) -> bytes:
        return b"".join(code for code, _ in self.got if code not in b"DO")

    def _serve(self):
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
            while head := stream.read(4):
                packet = stream.read(struct.unpack("!I", head)[0])
                self.got.append((packet[:1], packet[1:]))
                self._answer(connection, packet[:1])

    def _answer(self, connection, code):
        default = {b"O": b"O" + self._hello, b"D": b"", b"A": b"", b"Q": b""}.get(code, b"c")
        flag = next((event.value[2] for event in Event if event.code == code), 0)
        answer = b"" if self._protocol & flag else self._answers.get(code, default)
        for packet in answer.split(b"||") if code != b"O" else [answer]:
            if packet:
                connection.sendall(struct.pack("!I", len(packet)) + packet)


def script_delivery(filter_, message=PLAIN, **envelope):
    with filter_, MilterClient(filter_.address, timeout=5) as client:
        return client.deliver(message, **envelope)


def test_events_in_order():
    filter_ = ScriptedFilter()
    verdict = script_delivery(filter_)
    assert filter_.events() == b"CHMRTLLNBEAQ"
    assert (verdict.action, verdict.reply, verdict.stage) == (Action.ACCEPT, (250, "2.0.0 Ok"), Event.EOM)
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
    assert script_delivery(filter_).action is Action.ACCEPT
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
        pytest.param(b"C", b"r", Action.REJECT, (550, "5.7.1 Command rejected"), id="connection"),
        pytest.param(b"H", b"a", Action.ACCEPT, (250, "2.0.0 Ok"), id="connection accepted"),
        pytest.param(b"M", b"t", Action.TEMPFAIL, (451, "4.7.1 Service unavailable - try again later"), id="sender"),
        pytest.param(b"R", b"y550 5.1.1 no\0", Action.REJECT, (550, "5.1.1 no"), id="the only recipient"),
        pytest.param(b"B", b"d", Action.DISCARD, (250, "2.0.0 Ok"), id="body"),
        pytest.param(b"E", b"p||p||a", Action.ACCEPT, (250, "2.0.0 Ok"), id="progress"),
        pytest.param(b"E", b"4", Action.TEMPFAIL, (421, "4.7.0 Service shutting down"), id="shut down"),
        pytest.param(
            b"E", b"y451-4.7.1 a\r\n451 4.7.1 b 5%%\0", Action.TEMPFAIL, (451, "4.7.1 a\n4.7.1 b 5%"), id="lines"
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
        pytest.param(b"E", b"+<more@rcpt.example>\0||c", id="a recipient of its own"),
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
        client.connection.send_octets(struct.pack("!I", 3) + b"U")
        client.connection.send_octets(b"xx")
        assert client.connection.receive() == (b"c", b"")
    assert filter_.got[-2] == (b"U", b"xx")


# --- against pymilter


@contextlib.contextmanager
def running_filter(*arguments: str):
    """The socket's path; the directory is open to Postfix's user."""
    with tempfile.TemporaryDirectory(prefix="milter-test-") as directory:
        Path(directory).chmod(0o755)
        path = Path(directory) / "filter.sock"
        process = subprocess.Popen([sys.executable, FILTER, str(path), *arguments])
        try:
            deadline = time.monotonic() + 20
            while not path.exists():
                assert process.poll() is None, "the filter ended"
                assert time.monotonic() < deadline, "the filter did not start"
                time.sleep(0.02)
            yield path
        finally:
            process.kill()  # libmilter takes seconds to end by itself
            process.wait()


@pytest.fixture(scope="module")
def filter_socket():
    with running_filter("exact") as path:
        yield path


@pytest.fixture
def client(filter_socket):
    with MilterClient(f"unix:{filter_socket}", timeout=10) as client:
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
    assert client.deliver(asking("tempfail")).action is Action.TEMPFAIL
    held = client.deliver(asking("quarantine for good reason"))
    assert (held.action, held.quarantine) == (Action.ACCEPT, "for good reason")
    assert client.deliver(PLAIN, mail_from="discard@b.example").stage is Event.MAIL
    some = client.deliver(PLAIN, rcpts=("refused@rcpt.example", "other@rcpt.example"))
    assert (some.action, some.refused) == (Action.ACCEPT, ("refused@rcpt.example",))
    none = client.deliver(PLAIN, rcpts=("refused@rcpt.example",))
    assert (none.action, none.stage) == (Action.REJECT, Event.RCPT)
    assert client.deliver(PLAIN, helo="refused.example").action is Action.REJECT


@pytest.mark.parametrize("after", [Event.MAIL, Event.RCPT, Event.HEADER, Event.BODY])
def test_abort_leaves_the_connection_usable(client, after):
    client.abort(asking("reject"), after)
    verdict = client.deliver(PLAIN, queue_id="4NEXT")
    assert verdict.action is Action.ACCEPT
    assert verdict.fields("X-Saw")[0].endswith(" 4NEXT")


def test_another_client_gets_another_connection(client):
    first = client.deliver(PLAIN, client_ip="192.0.2.1")
    same = client.deliver(PLAIN, client_ip="192.0.2.1")
    other = client.deliver(PLAIN, client_ip="2001:db8::9", helo="other.example", mail_from="")
    assert first.fields("X-Saw")[0].split()[:-1] == same.fields("X-Saw")[0].split()[:-1]
    assert "2001:db8::9" in other.fields("X-Saw")[0]
    assert "b'<>'" in other.fields("X-Saw")[0]


# --- against Postfix: both sides must show the filter the same message and deliver the same header


@pytest.fixture(scope="module")
def postfix(filter_socket):
    if reason := missing_postfix():
        pytest.skip(reason)
    with Sink() as sink, PostfixServer(f"unix:{filter_socket}", sink_port=sink.port) as server:
        server.sink = sink
        yield server


def without_trace(fields):
    return [field for field in fields if field[0] not in (b"Received", b"X-Saw")]


MESSAGES = {
    "plain": PLAIN,
    "odd white space": b"A:1\r\nB:  2 \t\r\nC \t: 3\r\n\t4\r\n  5\r\nD:\r\nE: \r\n\r\n.dot\r\n\r\n\r\n",
    "8-bit": b"From: \xc3\xa9@b.example\r\nX: \xff\r\n\r\n\xfe\xff\r\n",
    "bare LF": b"A: 1\nB: 2\n\nx\ny",
    "bare CR": b"A: 1\r2\r\n\r\nx\ry\r\n",
    "no header": b"no field\r\nA: 1\r\n",
    "edits": asking(
        "insert 0 X-A a|b", "insert 1 X-B b", "add X-C c", "change 2 X-D new", more=b"X-D: 1\r\nX-D: 2\r\n"
    ),
    "deletions": asking("delete 1 X-D", "delete 1 X-D", "delete 7 X-D", more=b"X-D: 1\r\nX-D: 2\r\nX-D: 3\r\n"),
    "insertion first": asking("insert 0 X-D new", "delete 1 X-D", more=b"X-D: 1\r\nX-D: 2\r\n"),
    "NUL": b"A: 1\0 2\r\nB: 3\r\n\r\nx\0y\r\n",
    "long field": b"A:" + b" 0123456789012345678901234567890\r\n" * 3000 + PLAIN,
    "long flat field": b"A:" + b"x" * 9_000 + b"\r\n\t" + b"y" * 59_000 + b"\r\n" + PLAIN,
    "long line": PLAIN + b"x" * 5000 + b"\r\n",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_client_and_postfix_agree(postfix, client, name):
    postfix.sink.clear()
    code, text = postfix.submit(data=MESSAGES[name], helo="client.example", mail_from="s@b.example", mail_args="")
    assert code == 250, text
    [delivery] = postfix.sink.wait(1)
    verdict = client.deliver(MESSAGES[name], helo="client.example", mail_from="s@b.example", queue_id=queue_id(text))
    assert verdict.fields("X-Saw") == delivery.fields("X-Saw")
    if name not in ("long flat field", "NUL"):  # on the way out Postfix folds the one and keeps the other
        assert without_trace(verdict.headers) == without_trace(delivery.headers)


@pytest.mark.parametrize(
    ("request_", "action"),
    [("reject", Action.REJECT), ("tempfail", Action.TEMPFAIL), ("reply 550 5.7.1 no 5%% here", Action.REJECT)],
)
def test_client_and_postfix_refuse_alike(postfix, client, request_, action):
    verdict = client.deliver(asking(request_))
    assert verdict.action is action
    assert postfix.submit(data=asking(request_)) == verdict.reply


def test_postfix_holds_what_is_quarantined(postfix):
    code, text = postfix.submit(data=asking("quarantine why"))
    number = queue_id(text)
    assert code == 250
    assert postfix.hold_queue() == [number]
    assert b"X-Ask: quarantine why\r\n" in postfix.held_message(number)
    postfix.wait_for_log(rf"{number}: milter-hold: ")


def test_postfix_defers_without_a_filter():
    if reason := missing_postfix():
        pytest.skip(reason)
    with Sink() as sink, PostfixServer("unix:/nowhere/filter.sock", sink_port=sink.port) as server:
        assert server.submit(data=PLAIN)[0] // 100 == 4
        server.wait_for_log("connect to Milter service unix:/nowhere/filter.sock")
    assert not server.directory.exists()
