import email
import email.policy
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcomes import fields
from reporting import outcome

from dmarcmilter.message import Header
from dmarcmilter.reports.aggregate import Shape
from dmarcmilter.reports.failure import Observed, Redaction, compose, unwanted
from dmarcmilter.reports.message import Sender

CASES = tomllib.loads((Path(__file__).parent / "cases" / "failure.toml").read_text(encoding="utf-8"))["case"]
NOW = datetime(2027, 1, 16, 8, 0, 1, tzinfo=UTC)
SENDER = Sender("Example Receiver", "dmarc@receiver.example")
KEY = Redaction(b"secret")
SIGNATURE = {"result": "fail", "domain": "mail.example.com", "selector": "s1"}
HEADER = fields(
    "Received: from x by y for <victim@receiver.example>",
    "From: Alice Author <alice@example.com>",
    "To: victim@receiver.example",
    "Subject: Your salary",
    "Message-ID: <alice.1@example.com>",
    "DKIM-Signature: v=1; d=example.com; i=alice@example.com; b=abc",
    'DKIM-Signature: v=1; d=example.com; i="alice b"@example.com; b=' + "A" * 2000 + "alice@example.com",
    "Date: Sat, 16 Jan 2027 08:00:00 +0000 (Alice's clock)",
    "X-Secret: alice@example.com",
)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_when(case):
    observed = Observed(fields(*case.get("fields", ())))
    reason = unwanted(outcome(**case["outcome"]), observed, on_none=case.get("on_none", False))
    assert bool(reason) is not case["report"]


OBSERVED = Observed(HEADER)


def composed(found, observed=OBSERVED, shape=Shape.RFC9990):
    raw = compose(found, observed, SENDER, "ruf@example.com", NOW, identifier="a1b2", redaction=KEY, shape=shape)
    return raw, email.message_from_bytes(raw, policy=email.policy.default)


def test_structure():  # RUF-08, RUF-14
    _, message = composed(outcome())
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "feedback-report"
    kinds = [part.get_content_type() for part in message.iter_parts()]
    assert kinds == ["text/plain", "message/feedback-report", "text/rfc822-headers"]
    assert message["auto-submitted"] == "auto-generated"


def feedback_of(found, **more):
    raw, _ = composed(found, **more)
    part = raw.decode().partition("Content-Type: message/feedback-report\r\n\r\n")[2].partition("\r\n\r\n")[0]
    return [tuple(line.split(": ", 1)) for line in part.split("\r\n")]


def test_fields_of_the_feedback():  # RUF-09, RUF-11
    observed = Observed(HEADER, "bob@bounce.example.com", [("bounce.example.com", 'v=spf1 exp="x" -all')], 3)
    found = feedback_of(outcome(dkim=[SIGNATURE]), observed=observed)
    told = dict(found)
    assert len(told) == len(found)
    assert told["Feedback-Type"] == "auth-failure"
    assert told["Auth-Failure"] == "dmarc"
    assert told["Version"] == "1"
    assert told["Authentication-Results"] == "receiver.example; dmarc=fail header.from=example.com"
    assert told["Reported-Domain"] == "example.com"
    assert told["Source-IP"] == "192.0.2.1"
    assert told["Delivery-Result"] == "reject"
    assert told["Incidents"] == "3"
    assert (told["DKIM-Domain"], told["DKIM-Selector"]) == ("mail.example.com", "s1")
    assert told["SPF-DNS"] == 'txt : bounce.example.com : "v=spf1 exp=\\"x\\" -all"'
    assert re.fullmatch(r"<[0-9a-f]{16}@bounce.example.com>", told["Original-Mail-From"])
    assert not [name for name in told if "Canonicalized" in name]  # RUF-12


def test_identity_alignment_was_turned_around():  # RUF-10
    found = outcome(dmarc={"result": "pass", "aligned": [{"mechanism": "spf", "domain": "example.com"}]})
    assert dict(feedback_of(found))["Identity-Alignment"] == "dkim"
    assert dict(feedback_of(found, shape=Shape.RFC7489))["Identity-Alignment"] == "spf"
    assert dict(feedback_of(outcome()))["Identity-Alignment"] == "dkim, spf"
    assert dict(feedback_of(outcome(), shape=Shape.RFC7489))["Identity-Alignment"] == "none"


def test_nothing_personal_is_told():  # RUF-13
    raw, message = composed(outcome())
    text = raw.decode().lower()
    assert not [word for word in ("alice", "author <", "victim", "salary", "x-secret", "received") if word in text]
    shown = message.get_payload()[2].get_payload()
    same = KEY.word("alice")
    assert f"<{same}@example.com>" in str(shown)
    assert str(shown).count(same) == 2, "From and i= of the signature: the same for the same"
    assert Redaction(b"other").word("alice") != same


@given(st.lists(st.tuples(st.sampled_from([b"From", b"Subject", b"DKIM-Signature", b"Date"]), st.binary(max_size=80))))
@settings(max_examples=100, deadline=None)
def test_any_header(pairs):
    header = [Header(name, value) for name, value in pairs]
    raw, _ = composed(outcome(client_ip="x\r\ny"), Observed(header, "a\r\nb@c\r\nd", [("n\n", "\r\n")]))
    assert raw.isascii()
    assert raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n")
    part = raw.partition(b"text/rfc822-headers\r\n\r\n")[2]
    assert part.count(b"\r\n") == max(len(header[:100]), 0) + 2
