import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth.results import DkimResult, DkimWord
from dmarcmilter.auth.signature_fault import SignatureFault
from dmarcmilter.mail.domain import Domain, parse
from dmarcmilter.outcome import MAX_SHOWN, Effort, shown
from dmarcmilter.outcome_record import UndecodableError, decoded, encoded
from dmarcmilter.policy.facts import ClientNames
from dmarcmilter.policy.rules import Exempt
from dmarcmilter.value import replace
from tests.support import outcomes

# The names that others rely on.
KEYS = {
    "": "v time queue_id client_ip helo mail_from_domain author_domain author_problem size spf dkim arc policy dmarc "
    "disposition overrides sampled_out mode action dns milliseconds would_action would would_disposition exempt "
    "deferred_for draws client_names lists quarantine_method set_apart",
    "spf": "result domain scope",
    "dkim": "result domain selector algorithm reason",
    "arc": "result sealers oldest_pass unresolved unsettled unvouched",
    "sealers": "domain selector vouches unvouched",
    "policy": "domain p sp np adkim aspf pct t psd fo rua ruf record discovery organizational_domain",
    "dmarc": "result aligned requested tag reason dns_failures troubles",
    "aligned": "mechanism domain mode",
    "overrides": "type comment entry",
    "lists": "ids traces",
    "draws": "pct rollout",
    "dns": "queries cache_hits milliseconds",
}
FULL = outcomes.outcome(
    outcomes.evidence(
        record="v=DMARC1; p=reject; sp=quarantine; np=none; pct=0; adkim=s; fo=1; "
        "rua=mailto:a@example.com; ruf=mailto:f@x.com",
        spf=outcomes.spf("pass bounce.example.net"),
        dkim=[
            DkimResult(
                DkimWord.FAIL, Domain("example.com"), "s1", "rsa-sha256", reason=SignatureFault.BODY_MISMATCH.reason
            )
        ],
        arc=outcomes.arc("pass", [("hop.example", "hop.example; none")]),
    ),
    draw=50,
)
PASSED = outcomes.outcome(outcomes.evidence(spf=outcomes.spf("pass example.com")))
WITHOUT_AUTHOR = outcomes.outcome(outcomes.evidence(problem="missing"))
ALL = {"fail": FULL, "pass": PASSED, "no author": WITHOUT_AUTHOR}


@pytest.mark.parametrize("outcome", ALL.values(), ids=ALL)
def test_record_has_every_key(outcome):
    record = outcomes.recorded(outcome)
    tables = {
        "": [record],
        "spf": [record["spf"]],
        "dkim": record["dkim"],
        "arc": [record["arc"]],
        "sealers": record["arc"]["sealers"],
        "lists": [record["lists"]],
        "draws": [record["draws"]],
        "policy": [record["policy"]] if record["policy"] else [],
        "dmarc": [record["dmarc"]],
        "aligned": record["dmarc"]["aligned"],
        "overrides": record["overrides"],
        "dns": [record["dns"]],
    }
    for name, found in tables.items():
        for table in found:
            assert set(KEYS[name].split()) <= set(table), name
    assert json.loads(json.dumps(record)) == record


def test_record_of_a_failing_message():
    record = outcomes.recorded(FULL)
    assert record["v"] == 1
    assert record["time"] == "2027-01-15T08:00:00.123Z"
    assert (record["queue_id"], record["client_ip"], record["helo"]) == ("4ABC", "192.0.2.1", "mta.example.net")
    assert record["mail_from_domain"] == "bounce.example.com"
    assert (record["author_domain"], record["author_problem"]) == ("example.com", None)
    assert record["spf"] == {"result": "pass", "domain": "bounce.example.net", "scope": "mfrom", "reason": ""}
    assert record["dkim"][0] == {
        "result": "fail",
        "domain": "example.com",
        "selector": "s1",
        "algorithm": "rsa-sha256",
        "reason": "body hash mismatch",
        "reason_code": "body_hash_mismatch",
        "testing": False,
    }
    assert record["arc"]["sealers"] == [
        {"domain": "hop.example", "selector": "s1", "vouches": False, "unvouched": "no_dmarc"}
    ]
    assert record["arc"]["oldest_pass"] == 0
    policy = record["policy"]
    assert (policy["domain"], policy["p"], policy["sp"], policy["np"]) == (
        "example.com",
        "reject",
        "quarantine",
        "none",
    )
    assert (policy["adkim"], policy["aspf"], policy["pct"], policy["t"]) == ("s", "r", 0, None)
    assert (policy["psd"], policy["fo"], policy["rua"], policy["ruf"]) == (
        "u",
        "1",
        ["mailto:a@example.com"],
        ["mailto:f@x.com"],
    )
    assert (policy["discovery"], policy["organizational_domain"]) == ("treewalk", "example.com")
    assert record["dmarc"] == {
        "result": "fail",
        "aligned": [],
        "requested": "quarantine",
        "published": "reject",
        "tag": "p",
        "reason": "no aligned identifier passed",
        "reason_code": "no_aligned_identifier",
        "dns_failures": [],
        "troubles": [],
        "possibly_aligned": [],
    }
    assert (record["disposition"], record["sampled_out"], record["action"]) == ("quarantine", True, "quarantine")
    assert record["overrides"] == [
        {
            "type": "local_policy",
            "comment": "not selected by pct",
            "comment_code": "pct_not_selected",
            "rfc7489": "sampled_out",
            "entry": None,
        }
    ]
    assert record["would_disposition"] == "quarantine"


def test_record_of_a_passing_message():
    record = outcomes.recorded(PASSED)
    assert record["dmarc"]["aligned"] == [{"mechanism": "spf", "domain": "example.com", "mode": "r"}]
    assert (record["disposition"], record["action"], record["overrides"]) == ("none", "accept", [])


def test_record_of_what_else_the_decision_rested_on():
    entry = {"name": "no list", "list_id": "a.example", "client": "192.0.2.0/24", "action": "quarantine"}
    outcome = outcomes.outcome(
        outcomes.evidence(),
        outcomes.message("List-Id: A <l.a.example>", "Precedence: list"),
        outcomes.rules(overrides=[entry]),
        exempt=Exempt.SOME,
        deferred_for=61.7,
        rollout_draw=12,
        client_names=ClientNames((Domain("mx.a.example"),)),
        recipients=(b"secret-rcpt@example.net",),
    )
    record = outcomes.recorded(outcome)
    assert record["lists"] == {"ids": ["l.a.example"], "traces": ["List-Id", "Precedence"]}
    assert (record["exempt"], record["deferred_for"]) == ("some", 61)
    assert record["draws"] == {"pct": None, "rollout": 12}
    assert record["client_names"] == {"confirmed": ["mx.a.example"], "failed": False}
    assert record["overrides"][0]["entry"] == "no list"
    assert " override=local_policy:no_list,local_policy " in outcome.log_line()
    assert "secret" not in json.dumps(record)


def test_record_of_a_temperror_says_what_dns_kept_from_us():
    found = outcomes.evidence(dkim=[outcomes.dkim("temperror example.com")], spf=outcomes.spf("temperror example.com"))
    assert outcomes.recorded(outcomes.outcome(found))["dmarc"]["troubles"] == ["spf", "dkim_key"]


def test_sampled_out_is_said_only_of_failing_messages():
    found = outcomes.evidence(record="v=DMARC1; p=reject; pct=0", spf=outcomes.spf("pass example.com"))
    assert outcomes.recorded(outcomes.outcome(found, draw=50))["sampled_out"] is False


def test_record_without_author():
    record = outcomes.recorded(WITHOUT_AUTHOR)
    assert (record["author_domain"], record["author_problem"]) == (None, "missing")
    assert record["policy"] is None
    assert (record["discovery_notes"], record["faulty_records"]) == ([], [])
    assert record["dmarc"]["tag"] is None
    assert (record["dmarc"]["result"], record["action"]) == ("permerror", "reject")


def test_record_without_envelope():
    mail = outcomes.message(client_ip=None, mail_from=b"", helo=b"", queue_id="")
    outcome = outcomes.outcome(mail=mail, mail_from_domain=None)
    record = outcomes.recorded(outcome)
    assert (record["client_ip"], record["mail_from_domain"], record["helo"]) == (None, None, "")
    assert outcome.log_line().startswith("-: from=example.com ")


@pytest.mark.parametrize(
    ("record", "t"), [("v=DMARC1; p=none; t=y", "y"), ("v=DMARC1; p=none; t=n", "n"), ("v=DMARC1; p=none", None)]
)
def test_t_is_shown_as_it_is_written(record, t):
    assert outcomes.recorded(outcomes.outcome(outcomes.evidence(record=record)))["policy"]["t"] == t


def test_recipients_and_local_parts_are_not_recorded():
    mail = outcomes.message("From: secret-author@example.com", recipients=(b"secret-rcpt@example.net",))
    text = json.dumps(outcomes.recorded(outcomes.outcome(mail=mail))) + outcomes.outcome(mail=mail).log_line()
    assert "secret" not in text
    assert "sender@" not in text


def test_effort():
    outcome = replace(FULL, effort=Effort(3, 2, 12.3456, 45.678))
    assert outcomes.recorded(outcome)["dns"] == {"queries": 3, "cache_hits": 2, "milliseconds": 12.35}
    assert outcomes.recorded(outcome)["milliseconds"] == 45.68
    assert outcome.log_line().endswith(" dns=3 ms=46")


def test_log_line():
    assert FULL.log_line() == (
        "4ABC: from=example.com dmarc=fail policy=p=reject disposition=quarantine action=quarantine "
        "spf=pass:bounce.example.net dkim=fail:example.com arc=pass override=local_policy client=192.0.2.1 "
        "size=1000 dns=0 ms=0"
    )
    monitored = outcomes.outcome(rules=outcomes.rules(mode="monitor")).log_line()
    assert " disposition=none action=accept would=reject spf=none:- " in monitored
    assert WITHOUT_AUTHOR.log_line().startswith("4ABC: from=missing dmarc=permerror disposition=reject action=reject ")


def test_log_line_shows_only_so_many_signatures():
    found = outcomes.evidence(dkim=[outcomes.dkim(f"fail d{n}.example") for n in range(50)])
    assert len(outcomes.outcome(found).log_line()) < 600


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"mta.example.net", "mta.example.net"),
        (b"a\r\nb", "a\\x0d\\x0ab"),
        (b"\xff\x00", "\\xff\\x00"),
        ("é".encode(), "\\xc3\\xa9"),
        (b"x" * 300, "x" * MAX_SHOWN),
    ],
)
def test_shown(raw, text):
    assert shown(raw) == text


# No surrogates: selectors and identities are what the domain parser returns.
HOSTILE = st.text(st.characters(codec="utf-8") | st.sampled_from("\r\n\t \x00\x85\u2028"), max_size=60)
NAMES = st.text(st.sampled_from("a.-_é\n \x00"), max_size=20).map(parse) | st.just(Domain("example.org"))


@given(
    st.tuples(st.binary(max_size=400), st.binary(max_size=400)),
    st.tuples(HOSTILE, HOSTILE),
    st.tuples(NAMES, NAMES),
    st.binary(max_size=300),
)
@settings(max_examples=150, deadline=None)
def test_hostile_messages_give_one_line_of_json_and_of_log(envelope, signed, names, record):
    helo, sender = envelope
    selector, identity = signed
    name, author = names
    signature = DkimResult(DkimWord.FAIL, name, selector, "rsa-sha256", identity, identity)
    found = outcomes.evidence(
        author=author or "example.net",
        record="v=DMARC1; p=reject; " + record.decode("latin-1"),
        dkim=[signature],
    )
    mail = outcomes.message(helo=helo, mail_from=sender)
    outcome = outcomes.outcome(found, mail, mail_from_domain=name)
    written = json.dumps(outcomes.recorded(outcome))
    assert json.loads(written) == outcomes.recorded(outcome)
    assert "\n" not in written
    first, *pairs = outcome.log_line().split(" ")
    assert first == "4ABC:"
    assert all("=" in pair and pair.isascii() and pair.isprintable() for pair in pairs)


RENAMED = {
    "quarantine_method": "set_apart",
    "quarantine_method_reason": "set_apart_reason",
    "would_action": "would",
    "arc.unresolved": "arc.unsettled",
    "dmarc.dns_failures": "dmarc.troubles",
}


def _without(values, key):
    part, _, name = key.rpartition(".")
    if part:
        return values | {part: _without(values[part], name)}
    return {key: value for key, value in values.items() if key != name}


@pytest.mark.parametrize(("name", "former"), RENAMED.items())
def test_renamed_keys_are_read_under_either_name_and_written_under_both(name, former):
    values = outcomes.recorded(FULL) | {"quarantine_method_reason": "why", "set_apart_reason": "why"}
    for absent in (name, former):
        assert json.loads(encoded(outcomes.read(_without(values, absent)))) == values


def test_a_record_without_the_action_that_would_be_taken_is_none():
    with pytest.raises(UndecodableError):
        outcomes.read(_without(_without(outcomes.recorded(FULL), "would"), "would_action"))


WHOLE = outcomes.recorded(FULL)
WRONG = [
    *({key: {"no": "value"}} for key in WHOLE if key not in ("draws", "lists", "dns")),
    *({key: "text"} for key in ("v", "size", "dkim", "sampled_out", "policy", "dmarc", "draws", "lists", "dns")),
]


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_values_of_wrong_types_are_no_record(changes):
    with pytest.raises(UndecodableError):
        outcomes.read(WHOLE | changes)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"", "truncated"),
        (b"[1]", "object"),
        (b"null", "object"),
        (b"{}", "missing"),
        (b'{"v":2}', "version 2 of the outcome object"),
        (b'{"v":1,"time":"\xff"}', "UTF-8"),
        (b'{"v":1,"unknown":' + b"[" * 100_000, "RecursionError"),
        (json.dumps(WHOLE).encode()[:-1], "truncated"),
        (json.dumps(WHOLE | {"v": 9}).encode(), "version 9 of the outcome object"),
        (json.dumps(WHOLE | {"helo": "\ud800"}).encode(), "surrogate"),
    ],
)
def test_lines_that_are_no_record(line, problem):
    with pytest.raises(UndecodableError, match=f"(?i){problem}"):
        decoded(line)
