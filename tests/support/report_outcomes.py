"""Outcomes for the tests of reports, from a few words each."""

import copy

from dmarcmilter.reports.aggregate.grouping import Grouping
from dmarcmilter.reports.aggregate.xml_report import Report, ReportMetadata
from tests.support import outcomes

BEGIN = 1_800_057_600
"""2027-01-16 00:00:00 UTC"""
END = BEGIN + 86_399

POLICY = {
    "domain": "example.com",
    "p": "reject",
    "sp": None,
    "np": None,
    "adkim": "r",
    "aspf": "r",
    "pct": None,
    "t": None,
    "psd": "u",
    "fo": "0",
    "rua": ["mailto:dmarc@example.com"],
    "ruf": [],
    "record": "v=DMARC1; p=reject; rua=mailto:dmarc@example.com",
    "usable": True,
    "discovery": "treewalk",
    "organizational_domain": "example.com",
    "notes": [],
}
OUTCOME = {
    "v": 1,
    "time": "2027-01-16T08:00:00.123Z",
    "queue_id": "4ABC",
    "client_ip": "192.0.2.1",
    "helo": "mta.example.net",
    "mail_from_domain": "bounce.example.com",
    "author_domain": "example.com",
    "author_problem": None,
    "author_domains": ["example.com"],
    "size": 1000,
    "truncated": None,
    "spf": {"result": "fail", "domain": "bounce.example.com", "scope": "mfrom", "reason": ""},
    "dkim": [],
    "arc": {"result": "none", "sealers": [], "oldest_pass": None, "unsettled": None, "reason": ""},
    "policy": POLICY,
    "dmarc": {
        "result": "fail",
        "aligned": [],
        "requested": "reject",
        "published": "reject",
        "tag": "p",
        "reason": "no aligned identifier passed",
    },
    "disposition": "reject",
    "overrides": [],
    "sampled_out": False,
    "mode": "enforce",
    "action": "reject",
    "would": "reject",
    "dns": {"queries": 1, "cache_hits": 0, "milliseconds": 0.0},
    "milliseconds": 1.0,
}
PASSED = {
    "dkim": [
        {
            "result": "pass",
            "domain": "example.com",
            "selector": "s1",
            "algorithm": "rsa-sha256",
            "reason": "",
            "testing": False,
        }
    ],
    "dmarc": {"result": "pass", "aligned": [{"mechanism": "dkim", "domain": "example.com", "mode": "r"}]},
    "disposition": "none",
    "action": "accept",
    "would": "accept",
}


SIGNATURE = {"domain": None, "selector": None, "algorithm": None, "reason": "", "testing": False}
IDENTIFIER = {"mode": "r"}
"""What a signature, and an aligned identifier, have besides what is said of them."""


def grouped(records):
    """The reports about these outcomes."""
    grouping = Grouping()
    for record in records:
        grouping.add(record)
    return grouping.groups()


def outcome(**changes):
    """The one above with tables changed key by key, and all else replaced."""
    return _read(_merged(copy.deepcopy(OUTCOME), changes))


def passed(**changes):
    """One that passes by DKIM, changed in the same way."""
    return _read(_merged(_merged(copy.deepcopy(OUTCOME), copy.deepcopy(PASSED)), changes))


def _read(values):
    values["policy"] = values["policy"] or None  # a case table has no null
    values["dkim"] = [SIGNATURE | signature for signature in values["dkim"]]
    values["dmarc"]["aligned"] = [IDENTIFIER | identifier for identifier in values["dmarc"]["aligned"]]
    return outcomes.read(values)


def _merged(table, changes):
    for name, value in changes.items():
        inner = table.get(name)
        table[name] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return table


def metadata(**changes):
    values = {
        "org_name": "Example Receiver",
        "email": "dmarc@receiver.example",
        "extra_contact_info": "https://receiver.example/dmarc",
        "report_id": "0123456789abcdef0123456789abcdef",
        "begin": BEGIN,
        "end": END,
        "generator": "dmarcmilter 1",
    }
    return ReportMetadata(**values | changes)


def report(*records, **changes):
    """One report of these outcomes, which are of one configuration."""
    (group,) = grouped(records)
    return Report(metadata(errors=group.notes, **changes), group.configuration.policy, group.rows)
