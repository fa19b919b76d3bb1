"""When a failure report is made, what is kept for it, and which messages are of one kind."""

import msgspec
import pytest

from dmarcmilter.reports.failure.incident import (
    KIND_DIGITS,
    Observed,
    client_of,
    incident_of,
    kind,
    reason_not_to_report,
    reported_part,
)
from dmarcmilter.reports.failure.redaction import Redaction
from tests.support.cases import case_table
from tests.support.outcomes import fields
from tests.support.report_outcomes import outcome

CASES = case_table("failure")["case"]
KEY = Redaction(b"secret")


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_when(case):
    observed = Observed(fields(*case.get("fields", ())), case.get("mail_from", "a@bounce.example.com"))
    reason = reason_not_to_report(outcome(**case["outcome"]), observed, on_none=case.get("on_none", False))
    assert bool(reason) is not case["report"]


def test_without_a_policy():
    assert reason_not_to_report(outcome(policy=None), Observed(mail_from="a@b.example"))


def test_only_what_a_report_tells_is_kept():
    # RUF-13
    observed = Observed(fields("From: alice@example.com", "To: bob@receiver.example", "X-Any: 1"), "alice@example.com")
    found = incident_of(outcome(helo="secret-host", recipients=["bob@receiver.example"]), observed, KEY, "a1")
    text = msgspec.json.encode([found.outcome, found.mail_from, found.fields]).decode()
    assert not [word for word in ("alice", "bob", "secret-host", "X-Any") if word in text]
    assert set(found.outcome.__struct_fields__) <= set(outcome().__struct_fields__)


def test_kinds():
    # RUF-05
    """What a sender can change for each message does not make another kind."""
    base = reported_part(outcome())
    assert len(kind(base)) == KIND_DIGITS
    same = [
        {"queue_id": "other"}, {"time": "2027-01-16T09:00:00.000Z"}, {"spf": {"domain": "x1.example"}},
        {"policy": {"record": "v=DMARC1; p=reject"}},
    ]  # fmt: skip
    others = [
        {"author_domain": "a.example.com"}, {"client_ip": "192.0.2.2"}, {"spf": {"result": "softfail"}},
        {"dkim": [{"result": "fail", "domain": "example.com"}]}, {"action": "accept"},
        {"dmarc": {"aligned": [{"mechanism": "spf", "domain": "example.com"}]}},
    ]  # fmt: skip
    assert {kind(reported_part(outcome(**changes))) for changes in same} == {kind(base)}
    assert len({kind(reported_part(outcome(**changes))) for changes in others} | {kind(base)}) == len(others) + 1
    signed = [
        kind(reported_part(outcome(dkim=[{"result": "fail", "domain": name}] * n)))
        for name, n in (("a.b", 1), ("c.d", 5))
    ]
    assert signed[0] == signed[1]


@pytest.mark.parametrize(
    ("ip", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1::5", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::", "2001:db8:0:1::/64"),
        (None, ""),
        ("unix", ""),
    ],
)
def test_clients(ip, client):
    assert client_of(ip) == client
