"""The message of a failure report, as Python's email and parsedmarc read it."""

import email
import email.policy
import importlib.util
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.config.schema import ReportFormat
from dmarcmilter.reports.failure.incident import Incident, Observed, incident_of, reported_part
from dmarcmilter.reports.failure.mail_message import MAX_INCIDENTS, addressed, compose
from dmarcmilter.reports.failure.redaction import Redaction
from dmarcmilter.reports.sender import Sender
from tests.support.outcomes import fields
from tests.support.report_outcomes import outcome

NOW = datetime(2027, 1, 16, 8, 0, 1, tzinfo=UTC)
SENDER = Sender("Example Receiver", "dmarc@receiver.example")
KEY = Redaction(b"secret")
SIGNATURE = {"result": "fail", "domain": "mail.example.com", "selector": "s1"}
OBSERVED = Observed(
    fields(
        "Received: from x by y for <victim@receiver.example>",
        "From: Alice Author <alice@example.com>",
        "To: victim@receiver.example",
        "Subject: Your salary",
        "Message-ID: <alice.1@example.com>",
        "DKIM-Signature: v=1; d=example.com; i=alice@example.com; b=" + "A" * 2000,
        "Date: Sat, 16 Jan 2027 08:00:00 +0000",
    ),
    "bob@bounce.example.com",
)


def incident(changes=None, **more):
    found = incident_of(outcome(**changes or {}), OBSERVED, KEY, "a1b2")
    return Incident(found.id, found.outcome, found.mail_from, found.fields, **more)


def composed(found, report_format=ReportFormat.RFC9990):
    raw = addressed(compose(found, SENDER, report_format), "ruf@example.com", NOW)
    return raw, email.message_from_bytes(raw, policy=email.policy.default)


def test_structure():
    # RUF-08, RUF-14
    _, message = composed(incident())
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "feedback-report"
    kinds = [part.get_content_type() for part in message.iter_parts()]
    assert kinds == ["text/plain", "message/feedback-report", "text/rfc822-headers"]
    assert not message.defects
    assert (message["to"], message["auto-submitted"]) == ("ruf@example.com", "auto-generated")
    assert message["message-id"] == "<a1b2@receiver.example>"
    assert message["date"].datetime == NOW


def feedback_of(found, report_format=ReportFormat.RFC9990):
    raw, _ = composed(found, report_format)
    part = raw.decode().partition("Content-Type: message/feedback-report\r\n\r\n")[2].partition("\r\n\r\n")[0]
    return [tuple(line.split(": ", 1)) for line in part.split("\r\n")]


def test_fields_of_the_feedback():
    # RUF-09, RUF-11
    found = feedback_of(
        incident({"dkim": [SIGNATURE]}, count=3, spf_records=[("bounce.example.com", 'v=spf1 exp="x" -all')])
    )
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
    # RUF-12
    assert not [name for name in told if "Canonicalized" in name]


def test_one_incident_is_not_counted():
    assert "Incidents" not in dict(feedback_of(incident()))
    assert dict(feedback_of(incident(count=2**40)))["Incidents"] == str(MAX_INCIDENTS)


@pytest.mark.parametrize(
    ("action", "told"), [("accept", "delivered"), ("quarantine", "policy"), ("reject", "reject"), ("other", "other")]
)
def test_delivery_result(action, told):
    assert dict(feedback_of(incident({"action": action})))["Delivery-Result"] == told


def test_a_client_without_address():
    assert "Source-IP" not in dict(feedback_of(incident({"client_ip": None})))


def test_identity_alignment_was_turned_around():
    # RUF-10
    found = incident({"dmarc": {"result": "pass", "aligned": [{"mechanism": "spf", "domain": "example.com"}]}})
    assert dict(feedback_of(found))["Identity-Alignment"] == "dkim"
    assert dict(feedback_of(found, ReportFormat.RFC7489))["Identity-Alignment"] == "spf"
    assert dict(feedback_of(incident()))["Identity-Alignment"] == "dkim, spf"
    assert dict(feedback_of(incident(), ReportFormat.RFC7489))["Identity-Alignment"] == "none"


def test_nothing_personal_is_told():
    # RUF-13
    raw, message = composed(incident())
    text = raw.decode().lower()
    told = ("alice", "author <", "bob@", "victim", "salary", "received: from x")
    assert not [word for word in told if word in text]
    shown = str(message.get_payload()[2].get_payload())
    assert shown.count(KEY.hashed("alice")) == 2, "From and i= of the signature: the same for the same"


def test_parsedmarc_reads_it():
    if importlib.util.find_spec("parsedmarc") is None:
        pytest.skip("parsedmarc is not installed: it did not read our reports")
    from parsedmarc import parse_report_email

    raw, _ = composed(incident({"dkim": [SIGNATURE]}, count=3, spf_records=[("bounce.example.com", "v=spf1 -all")]))
    found = parse_report_email(raw, offline=True)
    assert found["report_type"] in {"failure", "forensic"}
    report = found["report"]
    assert report["reported_domain"] == "example.com"
    assert report["source"]["ip_address"] == "192.0.2.1"
    assert report["auth_failure"] == ["dmarc"]
    assert report["authentication_results"].startswith("receiver.example; dmarc=fail")
    assert report["incidents"] == "3"
    assert report["delivery_result"] == "reject"
    assert report["dkim_domain"] == "mail.example.com"
    assert report["arrival_date"] == "Sat, 16 Jan 2027 08:00:00 +0000"


@given(
    st.lists(st.tuples(st.sampled_from(["From", "Subject", "a\r\nb"]), st.text(max_size=80)), max_size=5),
    st.text(max_size=30),
    st.dictionaries(st.sampled_from(["author_domain", "client_ip", "queue_id"]), st.text(max_size=30)),
)
@settings(max_examples=100, deadline=None)
def test_any_content(pairs, name, changes):
    raw, _ = composed(Incident("a1", reported_part(outcome(**changes)), name, pairs, 1, [(name, name)]))
    assert raw.isascii()
    assert raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert raw.partition(b"text/rfc822-headers\r\n\r\n")[2].count(b"\r\n") == len(pairs) + 2
