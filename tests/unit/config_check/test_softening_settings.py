"""Warnings about settings that let failing mail through: entries, forwarders, rollout, recipients."""

from datetime import UTC, datetime, timedelta

import pytest

from dmarcmilter.config import load
from dmarcmilter.config.finding import Severity
from dmarcmilter.config_check import softening_settings
from dmarcmilter.policy.rules import Mode
from dmarcmilter.value import replace
from tests.support.config_check import TODAY


def warnings(text):
    conf = load.parse(text)
    if "mode" not in text:
        conf = replace(conf, policy=replace(conf.policy, mode=Mode.ENFORCE))
    return [finding.text for finding in softening_settings.findings(conf, TODAY) if finding.severity is not Severity.OK]


def entry(text):
    return f'[[override]]\nname = "e"\n{text}\n'


CASES = {
    "no rollout": ("policy = { rollout_percent = 0 }", ["rollout_percent is 0", "for any message"]),
    "some rollout": ("policy = { rollout_percent = 20 }", ["20 % of messages only"]),
    "rollout of domains": ('policy = { rollout_domains = ["a.example"] }', ["1 domains (a.example)"]),
    "nobody chose": ('recipients = { default = "exempt" }', ["no policy is enforced for anyone"]),
    "those who chose": ('recipients = { default = "exempt", file = "/x" }', ["only for recipients who"]),
    "wide forwarders": ('forwarders = { networks = ["100.0.0.0/7"] }', ["[forwarders] networks holds much"]),
    "expired": (
        entry('from_domain = "a.example"\nclient = "192.0.2.1"\naction = "accept"\nexpires = 2027-01-15'),
        ["[[override]] e:", "expired on 2027-01-15"],
    ),
    "anyone": (entry('from_domain = "a.example"\naction = "accept"\nrequire_auth = false'), ["anyone can write"]),
    "anyone into quarantine": (
        entry('list_id = "a.example"\naction = "quarantine"\nrequire_auth = false\nfrom_domain = "b.example"'),
        ["anyone can write"],
    ),
    "can match for nobody": (entry('list_id = "a.example"\naction = "quarantine"'), ["it can change nothing"]),
    "rejects nothing more": (entry('recipient = "a@b.example"\naction = "reject"'), ["it can change nothing"]),
    "an entry for the world": (entry('client = "0.0.0.0/0"\naction = "accept"'), ["e: client holds all of IPv4"]),
}


@pytest.mark.parametrize(("text", "words"), CASES.values(), ids=CASES)
def test_warning(text, words):
    said = "\n".join(warnings(text))
    assert all(word in said for word in words), said


QUIET = {
    "rollout while monitoring": 'policy = { mode = "monitor", rollout_percent = 5 }',
    "an entry with an authenticated match": entry('dkim_domain = "a.example"\naction = "accept"'),
    "an entry that needs none, as it has one": entry('client = "192.0.2.1"\naction = "accept"\nrequire_auth = false'),
    "an entry of today": entry('client = "192.0.2.1"\naction = "accept"\nexpires = 2027-01-16'),
    "stricter for a domain": entry('from_domain = "a.example"\naction = "reject"'),
    "milder for a client": entry('client = "192.0.2.1"\naction = "quarantine"'),
}


@pytest.mark.parametrize("text", QUIET.values(), ids=QUIET)
def test_no_warning(text):
    assert warnings(text) == []


def test_an_entry_that_expires_today_is_expired_for_the_filter_too():
    """The same comparison as in entries.py: from that day on."""
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    conf = load.parse(entry(f'client = "192.0.2.1"\naction = "accept"\nexpires = {tomorrow}'))
    assert softening_settings.findings(conf, tomorrow)
    assert not softening_settings.findings(conf, tomorrow - timedelta(days=1))
