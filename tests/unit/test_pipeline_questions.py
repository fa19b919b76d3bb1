"""Which questions the pipeline asks for each kind of message: of DNS, of the recipients' choices, of earlier deferrals.

Each costs the message time, so a change of this table is a change that users notice.
"""

from ipaddress import ip_address

import pytest

from dmarcmilter.mail.message import Message
from dmarcmilter.pipeline import read
from dmarcmilter.policy.rules import Exempt
from dmarcmilter.value import replace
from tests.support import outcomes, signing
from tests.support.cases import case_table
from tests.support.zone import Zone

ROWS = case_table("questions")["row"]
BODY = b"Hello.\r\n"
KEY = signing.key_record(signing.ed25519_key())
ZONE = {
    "_dmarc.none.example": "v=DMARC1; p=none",
    "_dmarc.quarantine.example": "v=DMARC1; p=quarantine",
    "_dmarc.reject.example": "v=DMARC1; p=reject",
    "_dmarc.half.example": "v=DMARC1; p=reject; pct=50",
    "_dmarc.testing.example": "v=DMARC1; p=quarantine; t=y",
    "_dmarc.np.example": "v=DMARC1; p=none; np=reject",
    "7.100.51.198.in-addr.arpa": {"PTR": ["mx.forward.example", "other.example"]},
    "mx.forward.example": {"A": ["198.51.100.7"]},
    "hop.example": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
    "list.example": {"TXT": ["v=spf1 ip4:198.51.100.7 -all"]},
}
"""What is published in all rows."""
FAILED = ("slow._domainkey.reject.example", "_dmarc.dark.example")


class Questions:
    """The answers of one row, and what was asked in which order."""

    configured = True

    def __init__(self, row):
        self._row = row
        self._zone = Zone(ZONE | row.get("zone", {}), (*FAILED, *row.get("failed", ())))
        for name in row.get("signed", ()):
            self._zone.records[f"sel._domainkey.{name}"] = {"TXT": (KEY,)}
        self.asked = []

    def lookup(self, name, rdtype):
        self.asked.append(f"{rdtype} {name}")
        return self._zone(name, rdtype)

    def exempt(self, _recipients, *, incomplete=False):
        assert not incomplete
        self.asked.append("recipients")
        return Exempt(self._row.get("exempt", "nobody"))

    def since(self, _message):
        self.asked.append("deferral")
        deferred_for = self._row.get("deferred_for", -1.0)
        return None if deferred_for < 0 else deferred_for


def message_of(row):
    """A message from a client that no SPF record names, unless the row says otherwise."""
    headers = outcomes.fields(*row.get("header", ["From: A <a@reject.example>", "To: b@example.net", "Subject: x"]))
    key = signing.ed25519_key()
    for domain in row.get("signed", ()):
        headers = (signing.dkim(list(headers), BODY, key, a="ed25519-sha256", d=domain), *headers)
    headers = (*outcomes.fields(*row.get("added", ())), *headers)
    for domain in row.get("slow", ()):
        headers = (signing.dkim(list(headers), BODY, key, a="ed25519-sha256", d=domain, s="slow"), *headers)
    envelope = outcomes.envelope(
        mail_from=row.get("mail_from", "bounce@other.example").encode(),
        client_ip=ip_address(row.get("client", "198.51.100.7")),
        received_at=outcomes.datetime.fromtimestamp(signing.NOW, outcomes.UTC),
        recipients=(b"b@example.net",),
    )
    return Message(envelope, headers, size=100)


def processed(row):
    questions = Questions(row)
    settings = outcomes.settings(rules=outcomes.rules(**row.get("rules", {})))
    facts = replace(settings.facts, recipients=questions, deferrals=questions if row.get("deferrals", True) else None)
    message = message_of(row)
    reading = read(message.headers, truncated=row.get("truncated", ""))
    reading.body.feed(BODY)
    outcome = outcomes.processed(message, reading, questions.lookup, replace(settings, facts=facts))
    return outcome, questions.asked


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_questions(row):
    outcome, asked = processed(row)
    decision = outcome.decision
    assert outcome.evaluation.result == row["dmarc"]
    done = f"{decision.action} {decision.disposition}"
    assert f"{done}, would {decision.would_action} {decision.would_disposition}" == row["does"]
    assert [str(override.reason) for override in decision.overrides] == row.get("why", [])
    assert asked == row["asked"]
