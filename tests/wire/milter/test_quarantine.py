"""The ways of quarantine over the milter protocol, with the running filter; and what happens when the MTA fails us."""

import logging
from types import SimpleNamespace

import milter
import pytest

from dmarcmilter.milter.apply import apply
from dmarcmilter.response.actions import Quarantine, Redirect, Response
from dmarcmilter.testing import milter_connection
from dmarcmilter.testing.milter_client import MilterAction, MilterClient
from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import FilterDaemon
from tests.support.running_daemon import ZONE, conf

MESSAGE = (
    b"X-DMARC-Quarantine: forged\r\nFrom: a@quarantine.example\r\nTo: b@rcpt.example\r\n"
    b"Subject: Your\r\n invoice\r\n\r\nbody\r\n"
)
MAILBOX = "forged@mx.test.example"
RCPTS = ("b@rcpt.example", "c@rcpt.example")


@pytest.fixture(scope="module")
def dns():
    with NameServer(ZONE) as dns:
        yield dns


@pytest.fixture
def sent(dns):
    """What the MTA is asked for a message that is to be quarantined, and its outcome."""

    def send(way, message=MESSAGE, rcpts=RCPTS, **keys):
        sections = conf(dns, policy={"quarantine_action": way}, quarantine={"mailbox": MAILBOX} | keys)
        with FilterDaemon(sections) as daemon, MilterClient(daemon.address, timeout=60) as client:
            verdict = client.deliver(message, queue_id="4QUAR1", rcpts=rcpts)
            return verdict, daemon.record("4QUAR1"), daemon.log(), client.connection.actions

    return send


def marks(verdict):
    return verdict.fields("X-DMARC-Quarantine")


def test_hold(sent):
    verdict, record, _, actions = sent("hold")
    assert (verdict.action, verdict.quarantine) == (MilterAction.ACCEPT, "DMARC: quarantine.example")
    assert (marks(verdict), verdict.fields("Subject")) == ([], ["Your invoice"])
    assert (record["action"], record["disposition"], record["set_apart"]) == ("quarantine", "quarantine", "hold")
    assert not actions & (milter.ADDRCPT | milter.DELRCPT)


def test_header(sent):
    verdict, record, _, _ = sent("header")
    assert (verdict.action, verdict.quarantine) == (MilterAction.ACCEPT, None)
    assert (marks(verdict), verdict.fields("Subject")) == (["yes"], ["Your invoice"])
    assert verdict.headers[0][0] == b"Authentication-Results"
    assert (record["action"], record["disposition"], record["set_apart"]) == ("accept", "quarantine", "header")


def test_subject(sent):
    verdict, record, _, _ = sent("subject", subject_tag="[Fälschung?]")
    assert verdict.quarantine is None
    assert verdict.fields("Subject") == ["=?utf-8?b?W0bDpGxzY2h1bmc/XQ==?= Your invoice"]
    assert marks(verdict) == ["yes"]
    assert (record["action"], record["disposition"], record["set_apart"]) == ("accept", "quarantine", "subject")


def test_a_message_without_subject(sent):
    verdict, _, _, _ = sent("subject", MESSAGE.replace(b"Subject: Your\r\n invoice\r\n", b""))
    assert verdict.fields("Subject") == ["[Suspected forgery]"]


def test_none(sent):
    verdict, record, _, _ = sent("none")
    assert (verdict.action, verdict.quarantine, marks(verdict)) == (MilterAction.ACCEPT, None, [])
    assert (record["action"], record["disposition"], record["set_apart"]) == ("accept", "none", None)


def test_redirect(sent):
    verdict, record, log, actions = sent("redirect", record_recipients=True)
    assert actions & milter.ADDRCPT
    assert actions & milter.DELRCPT
    assert verdict.quarantine is None
    assert verdict.rcpts_added == (f"<{MAILBOX}>",)
    assert verdict.rcpts_deleted == tuple(f"<{path}>" for path in RCPTS)
    assert marks(verdict) == ["yes"]
    assert verdict.fields("X-DMARC-Quarantine-Recipients") == ["<b@rcpt.example>,\t<c@rcpt.example>"]
    assert (record["action"], record["disposition"], record["set_apart"]) == ("quarantine", "quarantine", "redirect")
    assert not any(path in log for path in RCPTS)


def test_a_mark_of_the_sender_goes_from_what_passes_too(sent):
    for way in ("header", "hold"):
        verdict, _, _, _ = sent(way, MESSAGE.replace(b"@quarantine.", b"@none."))
        assert (verdict.action, marks(verdict)) == (MilterAction.ACCEPT, [])


# --- what the MTA may not take


@pytest.mark.parametrize("missing", [milter.ADDRCPT, milter.DELRCPT])
def test_an_mta_that_lets_no_recipients_be_changed(sent, monkeypatch, missing):
    monkeypatch.setattr(milter_connection, "ALL_ACTIONS", milter_connection.ALL_ACTIONS & ~missing)
    verdict, record, log, _ = sent("redirect")
    assert verdict.quarantine == "DMARC: quarantine.example"
    assert verdict.rcpts_deleted == ()
    assert marks(verdict) == ["yes"]
    assert record["action"] == "quarantine"
    assert "4QUAR1: cannot be redirected, held instead" in log


class Context(SimpleNamespace):
    """An MTA that fails at one call."""

    def __init__(self, failing="", after=0):
        super().__init__(calls=[], failing=failing, after=after)

    def _call(self, name, argument):
        if name == self.failing and self.after == sum(call[0] == name for call in self.calls):
            raise milter.error("cannot")
        self.calls.append((name, argument))

    def addrcpt(self, path):
        self._call("add", path)

    def delrcpt(self, path):
        self._call("away", path)

    def quarantine(self, reason):
        self._call("hold", reason)


REDIRECT = Redirect("<q@x.example>", ("<a@y.example>", "<b@y.example>"), Quarantine("DMARC: x"), "4ABC")


@pytest.mark.parametrize(
    ("context", "calls"),
    [
        (Context(), [("add", "<q@x.example>"), ("away", "<a@y.example>"), ("away", "<b@y.example>")]),
        (Context("add"), [("hold", "DMARC: x")]),
        (Context("away"), [("add", "<q@x.example>"), ("hold", "DMARC: x")]),
        (Context("away", 1), [("add", "<q@x.example>"), ("away", "<a@y.example>"), ("hold", "DMARC: x")]),
    ],
    ids=["all is well", "no recipient added", "none taken away", "one taken away"],
)
def test_redirection_that_fails_is_a_hold(context, calls, caplog):
    with caplog.at_level(logging.WARNING):
        apply(Response((REDIRECT,)), context, leading_space=True)
    assert context.calls == calls
    assert bool(caplog.records) == bool(context.failing)
    assert all("4ABC: cannot be redirected" in line for line in caplog.messages)


def test_a_subject_within_its_limits_is_taken_by_libmilter(sent):
    """In octets: what is not ASCII grows when it is put into words."""
    verdict, _, _, _ = sent("subject", MESSAGE.replace(b"Your\r\n invoice", b"\r\n ".join([b"\xff" * 900] * 50)))
    assert verdict.quarantine is None
    assert len(verdict.fields("Subject")[0]) > 50_000
