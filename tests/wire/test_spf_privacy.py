"""The local-part of MAIL FROM, which SPF macros put into names, and the receiver's inside leave in no form."""

import functools
import json
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth import authentication_results_writer, spf
from dmarcmilter.auth.results import SpfWord
from dmarcmilter.config.schema import ReportFormat, ReportsSection
from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.explain import as_text, explain
from dmarcmilter.policy import quarantine_method
from dmarcmilter.reasons import Language, text_of
from dmarcmilter.reasons.recorded import recognized
from dmarcmilter.reports.aggregate.grouping import Grouping
from dmarcmilter.reports.aggregate.planning import compose_report
from dmarcmilter.reports.aggregate.xml_report import to_xml
from dmarcmilter.reports.failure.incident import Observed, incident_of
from dmarcmilter.reports.failure.mail_message import compose
from dmarcmilter.reports.failure.redaction import Redaction
from dmarcmilter.reports.sender import Sender
from dmarcmilter.response import plan, reply_templates
from dmarcmilter.response.plan import ResponseSettings
from dmarcmilter.testing.milter_client import MilterClient
from dmarcmilter.testing.name_server import NameServer
from tests.support import outcomes
from tests.support.filter_daemon import FilterDaemon
from tests.support.running_daemon import conf

LOCAL = "zqzqa-kxkxb+wvwvc"
PIECES = ("zqzqa", "kxkxb", "wvwvc")


def shows(text):
    return [piece for piece in PIECES if piece in str(text).lower()]


def about(result):
    """All that is written and sent of a message with this SPF result."""
    mail = outcomes.message()
    outcome = outcomes.outcome(
        outcomes.evidence(record="v=DMARC1; p=reject; rua=mailto:r@example.com; ruf=mailto:f@example.com", spf=result),
        mail,
    )
    record = outcomes.recorded(outcome)
    yield json.dumps(record)
    yield outcome.log_line()
    yield authentication_results_writer.render("mx.example.net", plan.results(outcome))
    yield str(plan.respond(outcome, authserv_id="mx", settings=ResponseSettings(TEXTS), quarantine=CHANNEL))
    yield from (as_text(explain(outcomes.read(record), language), language) for language in Language)
    yield from reported(outcomes.read(record))
    incident = incident_of(outcomes.read(record), Observed((), f"{LOCAL}@example.com"), Redaction(b"k" * 32), "1")
    yield compose(incident, Sender("Receiver", "r@example.net"), ReportFormat.RFC9990).decode()


TEXTS = reply_templates.ReplyTexts(
    "no: {reason}", "no: {reason}", "later: {reason}", "https://example.net/?why={reason}"
)
CHANNEL = quarantine_method.QuarantineSettings(
    outcomes.RULES.quarantine_action, "X-DMARC-Quarantine", "yes", "[x]", "", False
)


def reported(record):
    """The aggregate report of one outcome, in both formats."""
    grouping = Grouping()
    grouping.add(record)
    if not grouping.groups():
        return []  # deferred
    (group,) = grouping.groups()
    report = compose_report(ReportsSection(org_name="x", email="r@example.net"), group, "1", 1, 2)
    return [to_xml(report, report_format).decode() for report_format in ReportFormat]


# What the resolver says of a name that it cannot answer for; of older versions too, with the server's address.
FAILURES = [
    *("no answer in time", "a name server answered SERVFAIL", "a name server answered REFUSED"),
    *("a name server gave no answer by TCP", "a name server cannot be reached", "more than 500 records"),
    *("CNAMEs loop or are too many", "budget of 20 s for DNS spent", "too many DNS queries at once"),
]
ECHOES = [
    *("v=spf1 -all", "v=spf1 exists:{name} ~all", "v=spf1 a:{name} -all", "v=spf1 bogus:{name} -all", "v=spf1 {name}"),
    *(
        "v=spf1 redirect={name}",
        "v=spf1 include:{name}",
        "v=spf1 ip4:{name}",
        "v=spf1 ?exists:%{{l}}.{name} {name}=%{{l}}",
    ),
    *(
        "v=spf1 exp={name} -all",
        "v=spf1 mx:{name}/99",
        "v=spf1 \xe9{name}",
        "v=spf1 ptr:{name} -exists:{name}",
        "{name}",
    ),
    *("v=spf1 include:{name} redirect={name}", "v=spf1 a:{name}/33 a:{name}..", "v=spf1 +all {name}", "v=spf1 ?all"),
]


class Answers:
    """Answers for every name below the macros as drawn, and records that repeat the name that was asked for."""

    def __init__(self, record, kinds, echoes):
        self.record, self.kinds, self.echoes, self.asked = record, kinds, echoes, []

    def __call__(self, name, rdtype):
        self.asked.append(name)
        if name == "example.com" and rdtype == "TXT":
            return Answer(Status.FOUND, (self.record.encode(),))
        kind = self.kinds[len(self.asked) % len(self.kinds)]
        if kind in FAILURES:
            return Answer(Status.FAILED, reason=recognized(kind))
        if kind is not Status.FOUND:
            return Answer(kind)
        if rdtype == "TXT":
            return Answer(
                kind, tuple(echo.format(name=name[-200:]).encode("latin-1", "replace") for echo in self.echoes)
            )
        data = {"A": "192.0.2.1", "AAAA": "2001:db8::1", "PTR": name, "MX": (10, name)}
        return Answer(kind, (data[rdtype],) * (1 + len(self.asked) % 12))


MACROS = st.builds(
    "%{{{}{}{}{}}}".format,
    st.sampled_from("slodiphvSLODIPHV"),
    st.sampled_from(["", "1", "2", "20"]),
    st.sampled_from(["", "r", "R"]),
    st.sampled_from(["", "-", "+", ".-+,/_=", "-."]),
)
NAMES = st.lists(MACROS | st.sampled_from(["_spf", "x", "%%", "%-", "%_", "a-b"]), min_size=1, max_size=3).map(".".join)
TERMS = st.builds(
    "{}{}.example.com{}".format,
    st.sampled_from(
        [
            "redirect=",
            "include:",
            "exists:",
            "a:",
            "mx:",
            "ptr:",
            "exp=",
            "x-any=",
            "-exists:",
            "?include:",
            "~a:",
            "bogus:",
        ]
    ),
    NAMES,
    st.sampled_from(["", "", "", "/24", "/99", "//64", ".", "%{l", "%{c}", ","]),
)
RECORDS = st.lists(
    TERMS | st.sampled_from(["ip4:203.0.113.1", "~all", "-all", "ip4:x", "a", "mx"]), min_size=1, max_size=5
)
KINDS = st.lists(
    st.sampled_from([*FAILURES, Status.FOUND, Status.FOUND, Status.FOUND, Status.NODATA, Status.NXDOMAIN]),
    min_size=1,
    max_size=4,
)


@given(
    RECORDS,
    KINDS,
    st.lists(st.sampled_from(ECHOES), min_size=1, max_size=2),
    st.sampled_from(["192.0.2.1", "2001:db8::1"]),
)
@settings(max_examples=600, deadline=None)
def test_no_local_part_leaves(terms, kinds, echoes, client):
    lookup = functools.cache(Answers("v=spf1 " + " ".join(terms), kinds, echoes))
    envelope = outcomes.envelope(client_ip=ip_address(client), mail_from=f"{LOCAL}@example.com".encode())
    found = spf.check(envelope, lookup, receiver="mx.example.net")
    for text in about(found):
        assert not shows(text), (found, text)


def test_the_local_part_is_in_the_questions():
    """What this is about; without it the test above would show nothing."""
    lookup = Answers("v=spf1 redirect=%{l}._spf.example.com", [Status.NXDOMAIN], [])
    envelope = outcomes.envelope(client_ip=ip_address("192.0.2.1"), mail_from=f"{LOCAL}@example.com".encode())
    found = spf.check(envelope, lookup, receiver="mx.example.net")
    assert f"{LOCAL}._spf.example.com" in lookup.asked
    assert (found.result, str(found.reason)) == (SpfWord.PERMERROR, "redirect domain has no SPF record")


@pytest.mark.parametrize(
    ("record", "kind", "reason"),
    [
        ("v=spf1 exists:%{l}.x.example -all", Status.NXDOMAIN, "-all"),
        ("v=spf1 exists:%{l}.x.example -all", Status.FOUND, "exists:%{l}.x.example"),
        (
            "v=spf1 include:%{l}.x.example -all",
            Status.NXDOMAIN,
            "No valid SPF record for included domain: include:%{l}.x.example",
        ),
        (
            "v=spf1 include:x.example -all",
            Status.NXDOMAIN,
            "No valid SPF record for included domain: include:x.example",
        ),
        ("v=spf1 exists:%{i}.x.example bogus", Status.FOUND, "Unknown mechanism found: bogus"),
        ("v=spf1 a:%{d} -all", "no answer in time", "DNS A no answer in time"),
    ],
)
def test_terms_of_the_domain_s_own_record_are_told(record, kind, reason):
    envelope = outcomes.envelope(client_ip=ip_address("192.0.2.1"), mail_from=f"{LOCAL}@example.com".encode())
    told = spf.check(envelope, Answers(record, [kind], []), receiver="mx.example.net").reason
    assert text_of(told) == reason


# --- outcomes of older versions, which recorded more


OLD = [
    ("permerror", f"redirect domain has no SPF record: {LOCAL}._spf.example.com", "redirect domain has no SPF record"),
    ("temperror", f"DNS TXT 127.0.0.1 port 53 answered SERVFAIL: include:{LOCAL}.example", "DNS TXT lookup failed"),
    ("fail", f"-exists:{LOCAL}.example", "-exists"),
    ("fail", LOCAL, ""),
]


def old(result, reason, **policy):
    record = outcomes.recorded(
        outcomes.outcome(
            outcomes.evidence(
                record="v=DMARC1; p=reject; rua=mailto:r@example.com", spf=outcomes.spf(f"{result} example.com")
            )
        )
    )
    record["spf"]["reason"] = reason
    record["dkim"] = [
        {
            "result": "fail",
            "domain": "example.com",
            "selector": "s",
            "algorithm": None,
            "reason": reason,
            "testing": False,
        }
    ]
    record["policy"] |= policy
    return record


@pytest.mark.parametrize(("result", "recorded", "told"), OLD)
def test_reports_of_old_outcomes(result, recorded, told):
    notes = [
        "TXT _dmarc.example.com: 127.0.0.1 port 53 answered SERVFAIL",
        "several DMARC records at _dmarc.example.com: none of them counts",
    ]
    texts = reported(outcomes.read(old(result, recorded, notes=notes)))
    for text in texts:
        assert not shows(text)
        assert "127.0.0.1" not in text
        assert "several DMARC records" in text
    if told:
        assert f"<human_result>{told}</human_result>" in texts[0]


# --- the running filter


ZONE = {
    "example.com": {"TXT": ["v=spf1 exists:%{l}.dead.example.com redirect=%{l1r-}._spf.example.com"]},
    "_dmarc.example.com": {"TXT": ["v=DMARC1; p=reject; rua=mailto:r@example.com; ruf=mailto:f@example.com"]},
}
BEHAVIOURS = ["servfail", "refused", "timeout", "truncate-notcp", "garbage", "nxdomain", "formerr", "echo"]


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_running_filter(behaviour):
    names = (f"{LOCAL}.dead.example.com", "wvwvc._spf.example.com", f"{LOCAL}._spf.example.com")
    names += tuple(f"{piece}._spf.example.com" for piece in (*PIECES, "kxkxb+wvwvc"))
    # Records at an expanded name may repeat the name.
    echo = {"TXT": [f"v=spf1 bogus:{LOCAL} exists:{LOCAL}.example.com -all {LOCAL}"], "A": ["192.0.2.250"]}
    found = echo if behaviour == "echo" else {"_": behaviour}
    for behave in (names[:1], names[1:]):
        zone = ZONE | (dict.fromkeys(behave, found) if behaviour != "nxdomain" else {})
        with NameServer(zone) as dns:
            sections = conf(
                dns,
                dns={"nameservers": [f"127.0.0.1:{dns.port}"], "timeout": 0.5, "message_budget": 2.0},
                log={"level": "debug"},
                policy={"mode": "enforce", "reject_text": "no: {reason}", "defer_text": "later: {reason}"},
                dmarc={"temperror": "tempfail"},
            )
            with FilterDaemon(sections) as daemon, MilterClient(daemon.address, timeout=60) as client:
                verdict = client.deliver(
                    b"From: a@example.com\r\nSubject: x\r\n\r\nbody\r\n",
                    queue_id="4P",
                    mail_from=f"{LOCAL}@example.com",
                )
                record = daemon.record("4P")
                assert any(shows(name) for name, *_ in dns.queries)
                for text in (json.dumps(record), daemon.log(), repr(verdict), *reported(outcomes.read(record))):
                    assert not shows(text), text
                for text in (json.dumps(record), repr(verdict), *reported(outcomes.read(record))):
                    assert "127.0.0.1" not in text
                    assert str(dns.port) not in text
