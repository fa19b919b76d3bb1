"""What the MTA did not take, and a worker that dies: the record never tells of another answer than the client got."""

import json
import os
from functools import partial
from itertools import count
from pathlib import Path

import Milter
import milter
import pytest

import dmarcmilter
from dmarcmilter import receiver
from dmarcmilter.config.load import parse
from dmarcmilter.daemon.worker import make_context
from dmarcmilter.explain import replay_comparison
from dmarcmilter.metrics.worker_metrics import WorkerTally
from dmarcmilter.milter.session import Session
from dmarcmilter.testing import milter_connection
from dmarcmilter.testing.milter_client import MilterAction, MilterClient
from dmarcmilter.testing.name_server import NameServer
from tests.support import outcomes
from tests.support.build import plants_bugs, traces_lines
from tests.support.filter_daemon import FilterDaemon
from tests.support.history_crashes import dying_at
from tests.support.processes import child, ended
from tests.support.running_daemon import PLAIN, SPOOF, ZONE, conf

WAYS = {
    "accepted": ("none.example", {}),
    "held": ("none.example, b@reject.example", {"quarantine_action": "hold"}),
    "marked": ("none.example, b@reject.example", {"quarantine_action": "header"}),
    "tagged": ("none.example, b@reject.example", {"quarantine_action": "subject"}),
    "redirected": ("none.example, b@reject.example", {"quarantine_action": "redirect"}),
    "refused": ("none.example, b@reject.example", {"on_multiple": "reject"}),
    "deferred": ("none.example", {"temperror": "tempfail"}),
}
"""What becomes of a message: its From, and the conf."""
MAILBOX = "forged@mx.test.example"


class Context:
    """The MTA: takes calls, and fails at one of them."""

    def __init__(self, failing=0, error=milter.error):
        self.calls, self.failing, self.error = [], failing, error

    def _call(self, *call):
        if len(self.calls) + 1 == self.failing:
            self.failing = 0
            raise self.error("cannot")
        self.calls.append(call)

    def getsymval(self, name):
        return {"i": "4FAKE", "j": "mx.test.example"}.get(name)

    def setsymlist(self, stage, names):
        pass

    def chgheader(self, name, number, value):
        self._call("chgheader", name, number, value)

    def addheader(self, name, value, index):
        self._call("addheader", name, value)

    def quarantine(self, reason):
        self._call("quarantine", reason)

    def addrcpt(self, path):
        self._call("addrcpt", path)

    def delrcpt(self, path):
        self._call("delrcpt", path)

    def setreply(self, *reply):
        self._call("setreply", *reply)


@pytest.fixture
def at_end(tmp_path):
    """A session of this process before its end of message; its journal."""
    opened = []

    def start(way, choice="tempfail", context=None):
        author, keys = WAYS[way]
        number = len(opened)
        config = parse(
            f'[milter]\non_internal_error = "{choice}"\n[identity]\nauthserv_id = "mx.test.example"\n'
            f'[dns]\nnameservers = ["127.0.0.1:9"]\ntimeout = 0.1\nmessage_budget = 0.1\n'
            f'[policy]\nmode = "enforce"\nsampling_key = "{tmp_path}/key"\n'
            f'quarantine_action = "{keys.get("quarantine_action", "hold")}"\n'
            f'[author]\non_multiple = "{keys.get("on_multiple", "quarantine")}"\n'
            f'[dmarc]\ntemperror = "{keys.get("temperror", "accept")}"\n'
            f'[quarantine]\nmailbox = "{MAILBOX}"\nrecord_recipients = true\n'
            f'[defer]\ndirectory = "{tmp_path}/deferred"\n[history]\njournal = "{tmp_path}/journal{number}"\n'
        )
        made = make_context(config, receiver.build(config), WorkerTally())
        session = Session(context or Context(), made)
        opened.append((session, made))
        session.negotiate([0xFFFF, Milter.P_HDR_LEADSPC, 0, 0])
        session.connect("host", 2, ("192.0.2.1", 4000))
        session.hello("client.example")
        session.envfrom(b"<a@none.example>")
        session.envrcpt(b"<b@rcpt.example>")
        session.envrcpt(b"<c@rcpt.example>")
        session.header("Authentication-Results", b" mx.test.example; dmarc=pass")
        session.header("X-DMARC-Quarantine", b" forged")
        session.header("From", b" a@" + author.encode())
        session.header("Authentication-Results", b" mx.test.example; dmarc=pass")
        session.header("Subject", b" hello")
        session.eoh()
        return session, Path(f"{tmp_path}/journal{number}")

    yield start
    for session, made in opened:
        session.close()
        made.journal.close()


def records(journal):
    lines = [line for path in sorted(journal.glob("*.jsonl")) for line in path.read_bytes().splitlines(keepends=True)]
    assert all(line.endswith(b"\n") for line in lines)
    return [json.loads(line) for line in lines]


def told(answer, calls):
    """What the client is told and what becomes of the message: action, disposition and way of a record."""
    if answer == Milter.REJECT:
        return "reject", "reject", None
    if answer == Milter.TEMPFAIL:
        return "tempfail", "none", None
    assert answer == Milter.CONTINUE
    names = [name for name, *_ in calls]
    if "quarantine" in names:
        return "quarantine", "quarantine", "hold"
    if ("addrcpt", f"<{MAILBOX}>") in calls and names.count("delrcpt") == 2:
        return "quarantine", "quarantine", "redirect"
    if ("addheader", "X-DMARC-Quarantine", " yes") in calls:
        return (
            "accept",
            "quarantine",
            "subject" if ("chgheader", "Subject", 1, " [Suspected forgery] hello") in calls else "header",
        )
    return "accept", "none", None


def recorded(record):
    return record["action"], record["disposition"], record["set_apart"]


@pytest.mark.parametrize("way", WAYS)
def test_all_taken(at_end, way):
    session, journal = at_end(way)
    answer = session.eom()
    [record] = records(journal)
    assert recorded(record) == told(answer, session._context.calls)
    assert record["apply_error"] is None
    expected = {"refused": "reject", "deferred": "tempfail", "held": "quarantine", "redirected": "quarantine"}
    assert record["action"] == expected.get(way, "accept")


@pytest.mark.parametrize("error", [milter.error, AssertionError], ids=lambda one: one.__name__)
@pytest.mark.parametrize("choice", ["tempfail", "accept"])
@pytest.mark.parametrize("way", WAYS)
def test_each_call_fails_in_turn(at_end, caplog, *, way, choice, error):
    failures = 0
    for number in count(1):
        caplog.clear()
        session, journal = at_end(way, choice, Context(number, error))
        answer = session.eom()
        [record] = records(journal)
        calls = session._context.calls
        if len(calls) < number - 1 or session._context.failing:
            break  # there are fewer calls than that
        failures += 1
        assert recorded(record) == told(answer, calls), (number, calls)
        assert record["apply_error"]
        assert "4FAKE" in caplog.text
        if record["apply_error"] == "redirect" and error is milter.error:
            assert record["action"] == "quarantine"
        elif record["apply_error"] == "reply":
            assert record["action"] == {"refused": "reject", "deferred": "tempfail"}[way]
        else:
            assert record["action"] == choice
        assert session._worker.in_progress == set()
    assert failures >= {"refused": 1, "deferred": 1}.get(way, 4)


def test_redirection_and_hold_fail(at_end, monkeypatch):
    def no_hold(self, reason):
        raise milter.error("cannot")

    monkeypatch.setattr(Context, "quarantine", no_hold)
    monkeypatch.setattr(Context, "delrcpt", no_hold)
    session, journal = at_end("redirected")
    assert session.eom() == Milter.TEMPFAIL
    [record] = records(journal)
    assert (record["action"], record["disposition"], record["set_apart"]) == ("tempfail", "none", None)
    assert (record["apply_error"], record["would"]) == ("redirect", "quarantine")


def test_deferred_by_a_failure_does_not_age(at_end, tmp_path):
    """Only what DNS kept open counts for [defer] cap."""
    session, _ = at_end("accepted", context=Context(1))
    assert session.eom() == Milter.TEMPFAIL
    assert not list((tmp_path / "deferred").rglob("*"))
    session, _ = at_end("deferred", context=Context(1))
    assert session.eom() == Milter.TEMPFAIL
    assert [path for path in (tmp_path / "deferred").rglob("*") if path.is_file()]


@plants_bugs
@pytest.mark.parametrize("where", ["evaluated", "in_progress"])
def test_bug_after_the_outcome_is_recorded_changes_no_answer(at_end, monkeypatch, caplog, where):
    session, journal = at_end("refused")

    def bug(*_args, **_keywords):
        raise AssertionError("a bug")

    monkeypatch.setattr(session._worker.tally, where, bug)
    assert session.eom() == Milter.REJECT
    assert [record["action"] for record in records(journal)] == ["reject"]
    assert "4FAKE: internal error after the outcome was recorded" in caplog.text
    monkeypatch.undo()


def test_an_outcome_that_cannot_be_logged_is_answered_as_recorded(at_end, monkeypatch, caplog):
    session, journal = at_end("refused")

    def no_memory(*_args):
        raise MemoryError

    monkeypatch.setattr("dmarcmilter.milter.session.log.info", no_memory)
    assert session.eom() == Milter.REJECT
    assert [record["action"] for record in records(journal)] == ["reject"]
    assert "4FAKE: internal error after the outcome was recorded" in caplog.text
    assert session._worker.in_progress == set()


@pytest.mark.parametrize("choice", ["tempfail", "accept"])
def test_bug_in_making_the_record(at_end, monkeypatch, choice):
    """Before the line is written: no record, and the operator's answer."""
    session, journal = at_end("refused", choice)
    monkeypatch.setattr(type(session._worker.journal), "append", lambda *_: 1 / 0)
    assert session.eom() == (Milter.TEMPFAIL if choice == "tempfail" else Milter.CONTINUE)
    assert records(journal) == []


# --- the worker dies


PACKAGE = str(Path(dmarcmilter.__file__).parent)
WHERE = tuple(
    f"{PACKAGE}/{name}.py"
    for name in (
        "milter/session",
        "milter/apply",
        "milter/worker_context",
        "response/plan",
        "outcome",
        "history/journal",
    )
)


def end_message(session, replies):
    """End the message; the reply goes into a pipe, as to the MTA."""
    os.write(replies, bytes([session.eom()]))


@traces_lines
@pytest.mark.parametrize("way", ["accepted", "redirected", "refused"])
def test_killed_at_each_line(at_end, monkeypatch, way):
    """A reply has its record, and there is never a record of another answer, nor half a one."""
    session, journal = at_end(way)
    answer = session._transaction.end_of_message("4FAKE", "mx.test.example")
    monkeypatch.setattr(type(session._transaction), "end_of_message", lambda *_: answer)
    expected = {"accepted": "accept", "redirected": "quarantine", "refused": "reject"}[way]
    seen = set()
    for line in count(1):
        reading, writing = os.pipe()
        was_killed = ended(child(dying_at(line, partial(end_message, session, writing), WHERE.__contains__)))
        os.close(writing)
        reply = os.read(reading, 1)
        os.close(reading)
        found = [record["action"] for record in records(journal)]
        assert found in ([], [expected])
        assert found or not reply, "a reply without its record"
        seen.add((bool(reply), len(found)))
        for path in journal.glob("*.jsonl"):
            path.unlink()
        if not was_killed:
            break
    assert line > 50
    # Not recorded; recorded and not answered, the window that remains; answered.
    assert seen == {(False, 0), (False, 1), (True, 1)}


# --- an MTA that takes less than it is asked for


@pytest.fixture(scope="module")
def dns():
    with NameServer(ZONE) as dns:
        yield dns


FORGED = b"Authentication-Results: mx.test.example; dmarc=pass\r\n"
HELD = PLAIN.replace(b"none.example", b"quarantine.example")


@pytest.mark.parametrize(
    ("missing", "message", "error", "action"),
    [
        (milter.ADDHDRS, PLAIN, "header", "tempfail"),
        (milter.CHGHDRS, FORGED + PLAIN, "header", "tempfail"),
        (milter.QUARANTINE, HELD, "quarantine", "tempfail"),
        (milter.ADDHDRS, SPOOF, None, "reject"),
        (milter.CHGHDRS, PLAIN, None, "accept"),
    ],
)
@pytest.mark.parametrize("choice", ["tempfail", "accept"])
def test_mta_that_agreed_to_less(dns, monkeypatch, *, missing, message, error, action, choice):
    monkeypatch.setattr(milter_connection, "ALL_ACTIONS", milter_connection.ALL_ACTIONS & ~missing)
    sections = conf(dns, milter={"on_internal_error": choice}, policy={"mode": "enforce"})
    with FilterDaemon(sections) as daemon, MilterClient(daemon.address, timeout=60) as client:
        verdict = client.deliver(message, queue_id="4LESS")
        record = daemon.record("4LESS")
    expected = "accept" if error and choice == "accept" else action
    assert (record["apply_error"], record["action"]) == (error, expected)
    assert verdict.quarantine is None
    assert verdict.action is MilterAction(expected)


def test_replay_does_not_take_a_failure_for_a_change_of_rules(at_end):
    session, journal = at_end("held", context=Context(1))
    session.eom()
    [record] = records(journal)
    assert record["action"] == "tempfail"
    settings = session._worker.receiver.pipeline
    discovery = settings.discovery
    tally = replay_comparison.ReplayTally(
        replay_comparison.Terms(settings.rules, discovery.method, True, discovery.suffixes)
    )
    tally.add(outcomes.read(record))
    assert (tally.messages, tally.changed, tally.unreadable) == (1, 0, 0)
