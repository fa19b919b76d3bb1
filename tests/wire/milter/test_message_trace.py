"""Debug lines: the way of a message, with its queue id, and without what the journal may not hold."""

import logging
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmarcmilter.auth import spf
from dmarcmilter.dns.lookup import Answer, LocalPartName, Status
from dmarcmilter.mail.message import Envelope, address_of
from dmarcmilter.milter import message_trace
from dmarcmilter.testing.milter_client import MilterAction, MilterClient
from dmarcmilter.testing.milter_protocol import Event
from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import FilterDaemon
from tests.support.running_daemon import SPOOF, ZONE, conf, wait_until

LOCAL = "s3cret-l0cal"
MACROS = {
    "macro.example": {
        "TXT": ["v=spf1 a:%{l}.a.example exists:%{l1r-}.e.example ip4:192.0.2.1 redirect=%{s}.r.example"]
    },
    "_dmarc.macro.example": {"TXT": ["v=DMARC1; p=none"]},
}
MESSAGE = SPOOF.replace(b"Subject: hello", b"Subject: s3cret subject\r\nMessage-ID: <s3cret@id.example>")


@pytest.fixture(scope="module")
def dns():
    with NameServer(ZONE | MACROS) as running:
        yield running


@pytest.fixture
def daemon(dns):
    def start(level):
        return FilterDaemon(conf(dns, log={"level": level}, recipients={"default": "enforce"}))

    return start


def lines_of(daemon, queue_id):
    found = re.findall(rf"^DEBUG {queue_id}: \+\d+ ms (.*)$", daemon.log(), re.MULTILINE)
    return [line.rpartition(",")[0] if line.startswith("dns: ") else line for line in found]


def test_the_way_of_a_message(daemon):
    with daemon("debug") as running, MilterClient(running.address) as client:
        verdict = client.deliver(
            MESSAGE, queue_id="4WAY", client_ip="192.0.2.66", helo="mta.example", mail_from=f"{LOCAL}@none.example"
        )
        wait_until(lambda: "4WAY: from=" in running.log(), "the end")
        lines = lines_of(running, "4WAY")
        log = running.log()
    assert verdict.action is MilterAction.REJECT
    asked = [line for line in lines if line.startswith("dns: ")]
    assert [line for line in lines if line not in asked] == [
        "connect: client 192.0.2.66, HELO mta.example",
        "mail: MAIL FROM of none.example",
        "header: 4 fields, 104 bytes",
        "from: Author Domain reject.example",
        "signatures: 0 DKIM, 0 ARC sets",
        "spf: fail for none.example of mfrom (-all)",
        "arc: none",
        "policy: by treewalk at reject.example: v=DMARC1; p=reject",
        "dmarc: fail (no aligned identifier passed)",
        "policy: p=reject, asked for: reject",
        "decision: in full reject, the MTA would be told reject",
        "decision: reject in mode enforce, the MTA is told reject",
        "change: reply 550 5.7.1",
        "changes: 1 asked for, all taken",
        "end of message",
    ]
    assert "dns: TXT _dmarc.reject.example: 'v=DMARC1; p=reject'" in asked
    assert any(line.startswith("dns: TXT none.example: 'v=spf1 ") for line in asked)
    assert "s3cret" not in log.lower()


def test_no_local_part_by_an_spf_macro(daemon):
    with daemon("debug") as running, MilterClient(running.address) as client:
        client.deliver(MESSAGE, queue_id="4MAC", client_ip="192.0.2.66", mail_from=f"{LOCAL}@macro.example")
        wait_until(lambda: "4MAC: from=" in running.log(), "the end")
        lines = lines_of(running, "4MAC")
        log = running.log()
    assert sum("(a name made from MAIL FROM by an SPF macro)" in line for line in lines) >= 2
    assert not re.search("s3cret|l0cal", log, re.IGNORECASE)


@pytest.mark.parametrize("level", ["info", "warning"])
def test_without_debug_there_is_none(daemon, level, caplog):
    with daemon(level) as running, MilterClient(running.address) as client:
        client.deliver(MESSAGE, queue_id="4NO")
        wait_until(running.records, "the end")
        assert "DEBUG" not in running.log()
    with caplog.at_level(level.upper(), logger="dmarcmilter.milter.message_trace"):
        assert message_trace.begin() is None


def test_a_message_that_is_given_up(daemon):
    with daemon("debug") as running, MilterClient(running.address) as client:
        client.abort(MESSAGE, Event.EOH, mail_from="a@none.example", queue_id="4UP")
        wait_until(lambda: "end: given up by the MTA" in running.log(), "the end")
        lines = lines_of(running, "4UP")
    assert lines[-1] == "end: given up by the MTA"
    assert "from: Author Domain reject.example" in lines


def test_lines_are_bounded_and_whole(caplog):
    caplog.set_level(logging.DEBUG)
    lines = message_trace.begin()
    lines.queue_id = "4A"
    for number in range(message_trace.MAX_LINES + 2):
        lines.add(f"{number} \r\nforged\x1b line" + "x" * 5000)
    lines.end("end of message")
    messages = [record.getMessage() for record in caplog.records if record.name == "dmarcmilter.milter.message_trace"]
    assert len(messages) == message_trace.MAX_LINES + 1
    assert messages[-1] == "4A: 3 more lines are left out"
    assert all(message.isprintable() and len(message) < message_trace.MAX_LINE + 50 for message in messages)


TERMS = ["a", "mx", "ptr", "exists", "include", "redirect"]


@given(
    st.text(string.ascii_lowercase + string.digits + "-+._", min_size=6, max_size=12).filter(
        lambda text: (
            (not set(text) & set("-+._") or text.strip("-+._") == text)
            and text.upper() not in Status.__members__  # a status is shown
            and text not in "_spf.sender.example x.example"  # so are the names that no macro made
        )
    ),
    st.lists(st.tuples(st.sampled_from(TERMS), st.sampled_from(["l", "s", "l1", "lr", "l1r-", "L", "S-"])), max_size=4),
    st.sampled_from(list(Status)),
)
def test_no_name_that_a_macro_made_is_shown(local, terms, status):
    """Through every term and transformer, and every way in which DNS may fail."""
    record = " ".join(
        [
            "v=spf1",
            *(f"{term}{'=' if term == 'redirect' else ':'}%{{{macro}}}.x.example" for term, macro in terms),
            "-all",
        ]
    )
    shown = message_trace.Trace()

    def lookup(name, rdtype):
        is_first = (name, rdtype) == ("sender.example", "TXT")
        answer = (
            Answer(Status.FOUND, (record.encode(),))
            if is_first
            else Answer(status if status is not Status.FOUND else Status.NODATA)
        )
        shown.dns(name, rdtype, answer, 0.0)
        if local in name.lower():
            assert isinstance(name, LocalPartName)
        return answer

    envelope = Envelope("", None, address_of("192.0.2.1"), "", b"h.example", f"{local}@sender.example".encode())
    spf.check(envelope, lookup, receiver="mx.example.net")
    names = [line for line in shown._lines if "sender.example" not in line]
    assert not [line for line in names if local in line.lower()]
