"""Warnings about settings that are valid and may not do what the administrator expects."""

import pytest

from dmarcmilter.config import load
from dmarcmilter.config.finding import Severity
from dmarcmilter.config.schema import Config
from dmarcmilter.config_check import settings_advice
from dmarcmilter.policy.rules import Mode
from dmarcmilter.value import replace


def warnings(text):
    conf = load.parse(text)
    if "mode" not in text:
        conf = replace(conf, policy=replace(conf.policy, mode=Mode.ENFORCE))
    return [finding.text for finding in settings_advice.findings(conf) if finding.severity is not Severity.OK]


def test_enforcing_is_quiet():
    assert warnings("") == warnings('policy = { mode = "enforce" }') == []


def test_by_default_it_says_that_nothing_is_enforced():
    found = settings_advice.findings(Config())
    assert [str(finding) for finding in found] == [
        'warning: [policy] mode is "monitor": results are recorded, no policy is enforced',
        "ok: [policy] mode in force: monitor (no policy is enforced)",
        (
            "ok: [history] journal files are deleted 30 days after their last line, once they are in the database; "
            "outcomes 90 days after they came"
        ),
    ]


@pytest.mark.parametrize(
    ("journal", "database", "severity", "words"),
    [
        (0, 90, "warning", "never deleted and fill the disk, and outcomes stay in them beyond retention_days (90)"),
        (0, 0, "warning", "delete_journal_after_days is 0: journal files are never deleted and fill the disk"),
        (
            91,
            90,
            "warning",
            "delete_journal_after_days is 91: outcomes stay in journal files beyond retention_days (90)",
        ),
        (90, 90, "ok", "deleted 90 days after their last line"),
        (30, 0, "ok", "outcomes never"),
    ],
)
def test_it_says_how_long_journal_files_stay(journal, database, severity, words):
    text = f"history = {{ delete_journal_after_days = {journal}, retention_days = {database} }}"
    (said,) = [finding for finding in settings_advice.findings(load.parse(text)) if "[history]" in finding.text]
    assert said.severity == severity
    assert words in said.text


IN_FORCE = {
    "": "monitor (no policy is enforced)",
    'mode = "monitor", rollout_percent = 10': "monitor (no policy is enforced)",
    'mode = "enforce"': "enforce",
    'mode = "enforce", rollout_percent = 100': "enforce",
    'mode = "enforce", rollout_percent = 0': "enforce for 0 % of messages",
    'mode = "enforce", rollout_percent = 10': "enforce for 10 % of messages",
    'mode = "enforce", rollout_domains = ["a.example"]': "enforce From a.example",
    'mode = "enforce", rollout_percent = 10, rollout_domains = ["a.example", "b.example", "c.example"]': (
        "enforce for 10 % of messages From a.example, b.example, c.example"
    ),
    'mode = "enforce", rollout_domains = ["a.example", "b.example", "c.example", "d.example", "e.example"]': (
        "enforce From a.example, b.example, c.example and 2 more domains"
    ),
}


@pytest.mark.parametrize(("policy", "words"), IN_FORCE.items())
def test_mode_and_rollout_in_force(policy, words):
    conf = load.parse(f"policy = {{ {policy} }}")
    assert conf.policy.in_force() == words
    assert f"ok: [policy] mode in force: {words}" in map(str, settings_advice.findings(conf))


CASES = {
    "monitor": ('policy = { mode = "monitor" }', ["mode is", "no policy is enforced"]),
    "reject none": ('policy = { reject_action = "none" }', ["reject_action", "delivered"]),
    "quarantine none": ('policy = { quarantine_action = "none" }', ["quarantine_action", "unmarked", "lookup fails"]),
    "reject becomes nothing": (
        'policy = { quarantine_action = "none", reject_action = "quarantine" }',
        ["quarantine_action", 'reject_action is "quarantine"'],
    ),
    "missing": ('author = { on_missing = "accept" }', ["[author] on_missing"]),
    "multiple": ('author = { on_multiple = "accept" }', ["[author] on_multiple"]),
    "malformed": ('author = { on_malformed = "accept" }', ["[author] on_malformed"]),
    "all ignored": ('ignore = { networks = ["0.0.0.0/0"] }', ["[ignore] networks holds all of IPv4"]),
    "all ignored, in halves": ('ignore = { networks = ["128.0.0.0/1", "0.0.0.0/1"] }', ["holds all of IPv4"]),
    "trusted and evaluated": (
        'identity = { trusted_networks = ["ignored", "192.0.2.25", "127.0.0.0/8"] }',
        ["[identity] trusted_networks 192.0.2.25: mail from there is evaluated"],
    ),
    "trusted, wider than ignored": (
        'identity = { trusted_networks = ["127.0.0.0/7"] }',
        ["[identity] trusted_networks 127.0.0.0/7: mail from there is evaluated"],
    ),
    "all of IPv6": ('ignore = { networks = ["::/0"] }', ["holds all of IPv6"]),
    "much ignored": ('ignore = { networks = ["198.0.0.0/8", "2001::/16"] }', ["198.0.0.0/8", "2001::/16"]),
    "slow queries": ("dns = { timeout = 15.0 }", ["[dns] timeout (15 s)", "message_budget (20 s)"]),
    "unsigned reports": ('reports = { enabled = true, email = "a@example.net" }', ["sign_domain", "RFC 9990 3.5.2"]),
    "reports of the past": (
        'history = { retention_days = 1 }\nreports = { enabled = true, email = "a@example.net" }',
        ["retention_days is 1"],
    ),
}


@pytest.mark.parametrize(("text", "words"), CASES.values(), ids=CASES)
def test_warning(text, words):
    said = "\n".join(warnings(text))
    assert all(word in said for word in words), said


QUIET = {
    "private networks": 'ignore = { networks = ["10.0.0.0/8", "fc00::/7", "169.254.0.0/16", "192.0.0.0/16"] }',
    "trusted within ignored": 'identity = { trusted_networks = ["127.0.0.1", "::1"] }',
    "none trusted": "identity = { trusted_networks = [] }",
    "one's own networks": 'ignore = { networks = ["198.51.0.0/16", "2001:db8::/32"] }',
    "reports that are off": "history = { retention_days = 1, delete_journal_after_days = 1 }",
    "signed reports": 'reports = { enabled = true, email = "a@example.net", sign_domain = "example.net", '
    'sign_selector = "s", sign_key = "/k" }',
}


@pytest.mark.parametrize("text", QUIET.values(), ids=QUIET)
def test_no_warning(text):
    assert warnings(text) == []
