"""The tests' MTA against Postfix: both must show a filter the same message and deliver the same header."""

import pytest

from dmarcmilter.testing.milter_client import MilterAction, MilterClient
from tests.support.mta.postfix import PostfixServer, missing_postfix
from tests.support.mta.scripted_filter import PLAIN, asking, running_filter
from tests.support.mta.smtp_client import queue_id
from tests.support.mta.smtp_sink import Sink


@pytest.fixture(scope="module")
def filter_socket():
    with running_filter("exact") as path:
        yield path


@pytest.fixture
def client(filter_socket):
    with MilterClient(f"unix:{filter_socket}", timeout=60) as client:
        yield client


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
    [
        ("reject", MilterAction.REJECT),
        ("tempfail", MilterAction.TEMPFAIL),
        ("reply 550 5.7.1 no 5%% here", MilterAction.REJECT),
    ],
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


def test_a_missing_postfix_is_named(monkeypatch):
    monkeypatch.setattr("tests.support.mta.postfix.shutil.which", lambda *_, **__: None)
    assert "package postfix" in missing_postfix()
