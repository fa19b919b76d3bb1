"""Handing over to a relay: what each answer means, TLS, a real Postfix, a sendmail program."""

import contextlib
import socketserver
import threading
import time

import pytest

from dmarcmilter.config.schema import StartTls
from dmarcmilter.reports.delivery import relay as delivery
from dmarcmilter.reports.delivery.relay import DeliveryResult, Relay, Sendmail, SmtpRelay
from tests.support.mta.smtp_sink import Sink
from tests.support.relays import MAIL, sent


class Answers(socketserver.ThreadingTCPServer):
    """A relay that gives these answers: verb to line; an empty one ends the connection."""

    daemon_threads = True

    def __init__(self, **answers):
        super().__init__(("127.0.0.1", 0), globals()["Session"])
        self.answers = {"BANNER": "220 x", "EHLO": "250 x", "MAIL": "250 x", "RCPT": "250 x", "DATA": "354 x",
                        "END": "250 x", "RSET": "250 x", "QUIT": "221 x"} | answers  # fmt: skip
        self.seen = []

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def relay(self, **changes):
        return SmtpRelay(Relay("127.0.0.1", self.server_address[1], "mx.receiver.example", **changes), seconds=5)


class Session(socketserver.StreamRequestHandler):
    def handle(self):
        if not self.answer("BANNER"):
            return
        for line in self.rfile:
            verb = line.split()[0].decode().upper()
            self.server.seen.append(verb)
            if not self.answer(verb) or verb == "QUIT":
                return
            if verb == "DATA" and self.server.answers["DATA"].startswith("3"):
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
                if not self.answer("END"):
                    return

    def answer(self, verb):
        text = self.server.answers.get(verb, "500 x")
        if text is None:
            self.wfile.write(b"250 o")
        elif text:
            self.wfile.write(text.encode() + b"\r\n")
        return text


@pytest.mark.parametrize(
    ("answers", "result", "committed"),
    [
        ({}, DeliveryResult.SENT, True),
        ({"RCPT": "550 5.1.1 no such user"}, DeliveryResult.REFUSED, False),
        ({"RCPT": "450 4.2.0 greylisted"}, DeliveryResult.LATER, False),
        ({"RCPT": "421 4.3.2 closing"}, DeliveryResult.UNAVAILABLE, False),
        ({"MAIL": "550 5.7.1 not you"}, DeliveryResult.UNAVAILABLE, False),
        ({"MAIL": "552 5.3.4 too large"}, DeliveryResult.REFUSED, False),
        ({"BANNER": "554 5.3.2 no"}, DeliveryResult.UNAVAILABLE, False),
        ({"BANNER": ""}, DeliveryResult.UNAVAILABLE, False),
        ({"RCPT": ""}, DeliveryResult.UNAVAILABLE, False),
        ({"DATA": "451 4.3.0 no"}, DeliveryResult.LATER, True),
        ({"END": "554 5.7.1 policy"}, DeliveryResult.REFUSED, True),
        ({"END": "451 4.3.0 disk"}, DeliveryResult.LATER, True),
        ({"END": ""}, DeliveryResult.UNCERTAIN, True),
    ],
)
def test_answers(answers, result, committed):
    with Answers(**answers) as server:
        assert sent(server.relay()) == (result, committed)


@pytest.mark.parametrize(
    ("answers", "at_rcpt"),
    [
        pytest.param({"RCPT": "550 5.1.1 no such user"}, True, id="the address"),
        pytest.param({"RCPT": "550 no"}, True, id="without an enhanced status"),
        pytest.param({"RCPT": "554 5.7.1 relay access denied"}, False, id="who sends (RFC 3463 3.8)"),
        pytest.param({"DATA": "554 5.1.1 no"}, False, id="after the address was taken"),
        pytest.param({"END": "550 5.1.1 no such user"}, False, id="after the message"),
        pytest.param({"MAIL": "552 5.3.4 too large"}, False, id="the size"),
    ],
)
def test_what_a_refusal_is_about(answers, at_rcpt):
    with Answers(**answers) as server:
        relay = server.relay()
        attempt = relay.send(MAIL, lambda: None)
        relay.close()
    assert (attempt.result, attempt.at_rcpt) == (DeliveryResult.REFUSED, at_rcpt)


@pytest.mark.parametrize(
    ("answers", "after_connecting"),
    [
        pytest.param({"RCPT": "421 4.3.2 closing"}, True, id="of this address perhaps"),
        pytest.param({"RCPT": ""}, True, id="the connection ended"),
        pytest.param({"RCPT": None}, True, id="the connection ended within the answer"),
        pytest.param({"RCPT": "250-x\r\n" * 1_500_000}, True, id="an answer without end"),
        pytest.param({"END": "421 4.7.0 closing"}, True, id="of this message perhaps"),
        pytest.param({"MAIL": "550 5.7.1 not you"}, False, id="of us"),
        pytest.param({"BANNER": "554 5.3.2 no"}, False, id="of all"),
        pytest.param({"BANNER": ""}, False, id="no server"),
    ],
)
def test_whose_trouble_it_may_be(answers, after_connecting):
    with Answers(**answers) as server:
        relay = server.relay()
        attempt = relay.send(MAIL, lambda: None)
        relay.close()
    assert (attempt.result, attempt.after_connecting) == (DeliveryResult.UNAVAILABLE, after_connecting)


@pytest.mark.parametrize("answer", ["452 4.2.2 full", "550 5.2.2 mailbox full", "552 over quota"])
def test_a_full_mailbox_is_tried_again(answer):
    """A sender may have filled it (RFC 3463 3.3); the address is not suppressed for it."""
    with Answers(RCPT=answer) as server:
        assert sent(server.relay()) == (DeliveryResult.LATER, False)


def test_no_room_for_a_message_of_that_size_says_nothing_about_others():
    with Answers(MAIL="452 4.3.1 insufficient storage") as server:
        assert sent(server.relay()) == (DeliveryResult.LATER, False)


class Tarpit(Session):
    """Answers to RCPT come one byte each `pause` seconds, those to the rest at once."""

    pause = 0.3

    def answer(self, verb):
        if verb != "RCPT":
            return super().answer(verb)
        with contextlib.suppress(OSError):
            for octet in b"250 " + b"x" * 100 + b"\r\n":
                time.sleep(self.pause)
                self.wfile.write(bytes([octet]))
        return True


@pytest.fixture
def tarpit(monkeypatch):
    monkeypatch.setitem(globals(), "Session", Tarpit)
    with Answers() as server:
        yield server


def test_a_relay_that_answers_ever_so_slowly_is_cut(tarpit):
    relay = tarpit.relay()
    relay = SmtpRelay(relay._relay, seconds=5, delivery_seconds=1.0)
    began = time.monotonic()
    attempt = relay.send(MAIL, lambda: None)
    assert time.monotonic() - began < 4.5
    assert (attempt.result, attempt.after_connecting) == (DeliveryResult.UNAVAILABLE, True)


def test_patience_with_addresses_that_are_not_answered_ends(tarpit, monkeypatch):
    """All of them together cost so much of a run, then little each; nor is QUIT waited for."""
    monkeypatch.setattr(Tarpit, "pause", 60.0)
    monkeypatch.setattr(delivery, "IMPATIENT_SECONDS", 0.1)
    relay = SmtpRelay(tarpit.relay()._relay, seconds=0.5, lost_seconds=0.9)
    began = time.monotonic()
    attempts = [relay.send(MAIL, lambda: None) for _ in range(10)]
    assert 1.8 < time.monotonic() - began < 4.9, "two of 0.5 s, eight of 0.1 s"
    assert all(attempt.after_connecting for attempt in attempts)


def test_no_relay():
    with Answers() as server:
        closed = server.relay()
    assert sent(closed) == (DeliveryResult.UNAVAILABLE, False)


def test_tls_that_is_required_and_not_offered():
    with Answers() as server:
        assert sent(server.relay(starttls=StartTls.REQUIRED)) == (DeliveryResult.UNAVAILABLE, False)


def test_one_connection_for_all():
    with Sink() as sink:
        relay = SmtpRelay(Relay("127.0.0.1", sink.port, "mx.receiver.example"), seconds=5)
        assert [relay.send(MAIL, lambda: None).result for _ in range(3)] == [DeliveryResult.SENT] * 3
        relay.close()
        first = sink.wait(3)[0]
    assert first.mail_from.startswith("<bounces+1@receiver.example>")
    assert first.rcpts == ("<rua@rcpt.example>",)
    assert first.data == MAIL.message


def test_after_a_refusal_the_connection_goes_on():
    with Answers(RCPT="550 no") as server:
        relay = server.relay()
        assert [relay.send(MAIL, lambda: None).result for _ in range(2)] == [DeliveryResult.REFUSED] * 2
        assert server.seen.count("EHLO") == 1
        relay.close()


@pytest.mark.parametrize(
    ("script", "result", "committed"),
    [
        ('cat >{out}; echo "$@" >{arguments}', DeliveryResult.SENT, True),
        ("exit 75", DeliveryResult.LATER, True),
        ("exit 67", DeliveryResult.REFUSED, True),
        ("exit 78", DeliveryResult.UNAVAILABLE, True),
        ("sleep 5", DeliveryResult.UNCERTAIN, True),
    ],
)
def test_sendmail(tmp_path, script, result, committed):
    program, out, arguments = (tmp_path / name for name in ("sendmail", "out", "arguments"))
    program.write_text("#!/bin/sh\n" + script.format(out=out, arguments=arguments) + "\n")
    program.chmod(0o755)
    assert sent(Sendmail(str(program), seconds=0.5)) == (result, committed)
    if result is DeliveryResult.SENT:
        assert out.read_bytes() == MAIL.message.replace(b"\r\n", b"\n")
        assert arguments.read_text().split() == ["-i", "-f", MAIL.mail_from, "--", MAIL.rcpt_to]
