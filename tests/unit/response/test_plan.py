from ipaddress import ip_address

import authres
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth.authentication_results_writer import render
from dmarcmilter.auth.results import DkimResult, DkimWord, SpfWord
from dmarcmilter.config.schema import PolicySection
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.message import Header
from dmarcmilter.policy.rules import Action
from dmarcmilter.reasons.recorded import recognized
from dmarcmilter.response.actions import DeleteHeader, InsertHeader, Quarantine, SmtpReply
from dmarcmilter.response.plan import ResponseSettings, respond, results
from dmarcmilter.response.reply_templates import MAX_REPLY, ReplyTexts
from dmarcmilter.value import replace
from tests.support import outcomes
from tests.support.cases import case_table

CASES = case_table("actions")
ID = "mx.example.net"
DEFAULTS = PolicySection()
TEXTS = ReplyTexts(DEFAULTS.reject_text, DEFAULTS.author_text, DEFAULTS.defer_text, DEFAULTS.info_url)
FAILED = {"failed": ["_dmarc.example.com"], "record": ""}


def planned(outcome, texts=TEXTS, further_ids=(), channel=outcomes.CHANNEL):
    settings = ResponseSettings(texts, further_ids)
    return respond(outcome, authserv_id=ID, settings=settings, quarantine=channel).actions


def field_of(outcome):
    return next(action for action in planned(outcome) if isinstance(action, InsertHeader)).value


def signature(row):
    return DkimResult(
        DkimWord(row.get("result", "pass")),
        Domain(row["domain"]) if "domain" in row else None,
        row.get("selector"),
        row.get("algorithm"),
        row.get("identity"),
        row.get("signature", ""),
        recognized(row["reason"]) if "reason" in row else None,
        row.get("testing", False),
    )


def outcome_of(row):
    found = outcomes.evidence(
        problem=row.get("problem", ""),
        record=row.get("record", ""),
        failed=row.get("failed", ()),
        spf=outcomes.spf(row.get("spf", "none")),
        dkim=map(signature, row.get("dkim", ())),
        arc=outcomes.arc(row.get("arc", "none"), row.get("sets", ())),
    )
    client = row.get("client_ip", "192.0.2.1")
    mail = outcomes.message(*row.get("header", ()), client_ip=ip_address(client) if client else None)
    return outcomes.outcome(found, mail, outcomes.rules(**row.get("rules", {})), draw=row.get("draw", 0))


@pytest.mark.parametrize("row", CASES["results"], ids=lambda row: row["name"])
def test_authentication_results(row):
    value = field_of(outcome_of(row))
    assert " ".join(value.split()) == " ".join(row["field"].split())


@pytest.mark.parametrize("row", CASES["results"], ids=lambda row: row["name"])
def test_another_parser_reads_what_was_meant(row):
    # AR-14, AR-17: registered properties only, each where the other parser finds it.
    outcome = outcome_of(row)
    parsed = authres.AuthenticationResultsHeader.parse(f"Authentication-Results: {field_of(outcome)}")
    assert parsed.authserv_id == ID
    read = [
        (found.method, found.result, [(f"{p.type}.{p.name}", p.value) for p in found.properties])
        for found in parsed.results
    ]
    assert read == [(found.method, found.result, list(found.properties)) for found in results(outcome)]


@pytest.mark.parametrize("row", CASES["reply"], ids=lambda row: row["name"])
def test_reply(row):
    texts = ReplyTexts(**{"reject": "", "author": "", "defer": "", "info_url": ""} | row["texts"])
    outcome = outcome_of(row)
    if "queue_id" in row:
        mail = replace(outcome.message, envelope=replace(outcome.message.envelope, queue_id=row["queue_id"]))
        outcome = replace(outcome, message=mail)
    (reply,) = planned(outcome, texts)
    assert f"{reply.code} {reply.enhanced} {reply.text}" == row["reply"]


def test_default_texts_name_dmarc_the_domain_and_the_message():
    # RES-41, RES-45
    rejected = planned(outcomes.outcome())[0].text
    assert all(word in rejected for word in ("DMARC", "example.com", "4ABC"))
    unclear = planned(outcomes.outcome(outcomes.evidence(problem="several-fields")))[0].text
    assert all(word in unclear for word in ("DMARC", "several-fields", "4ABC"))
    deferred = planned(outcomes.outcome(outcomes.evidence(**FAILED), rules=outcomes.rules(temperror="tempfail")))[0]
    assert (deferred.code, deferred.enhanced) == ("451", "4.7.1")
    assert all(word in deferred.text for word in ("DMARC", "example.com", "4ABC"))


def test_a_refusal_is_only_a_reply():
    # RES-40: nothing else is asked of the MTA for a message that it does not take.
    mail = outcomes.message(f"Authentication-Results: {ID}; dmarc=pass")
    assert [type(action) for action in planned(outcomes.outcome(mail=mail))] == [SmtpReply]


def test_forged_fields_go_bottom_up_then_ours_at_the_top_then_the_hold():
    # AR-03, AR-06
    mail = outcomes.message(
        f"Authentication-Results: {ID}; dmarc=pass",
        "Subject: x",
        "Authentication-Results: other.example; dmarc=pass",
        f"AUTHENTICATION-RESULTS:\r\n\t(comment) {ID.upper()}; spf=pass",
        f'Authentication-results: "{ID}" 1; none',
        "Authentication-Results: alias.example; none",
        f"X-Authentication-Results: {ID}; none",
    )
    outcome = outcomes.outcome(outcomes.evidence(record="v=DMARC1; p=quarantine"), mail)
    *deleted, inserted, held = planned(outcome, further_ids=("Alias.example",))
    assert deleted == [DeleteHeader("Authentication-Results", number) for number in (5, 4, 3, 1)]
    assert inserted.name == "Authentication-Results"
    assert inserted.value.startswith(f"{ID};")
    assert held == Quarantine("DMARC: example.com")


@pytest.mark.parametrize("action", ["accept", "quarantine", "reject", "tempfail"])
def test_what_is_asked_for_each_action(action):
    outcome = outcomes.outcome()
    outcome = replace(outcome, decision=replace(outcome.decision, action=Action(action)))
    kinds = {
        "accept": [InsertHeader],
        "quarantine": [InsertHeader, Quarantine],
        "reject": [SmtpReply],
        "tempfail": [SmtpReply],
    }
    assert [type(step) for step in planned(outcome)] == kinds[action]


def test_hold_reason_of_a_message_without_author():
    outcome = outcomes.outcome(
        outcomes.evidence(problem="several-domains"), rules=outcomes.rules(on_multiple="quarantine")
    )
    assert planned(outcome)[-1] == Quarantine("DMARC: several-domains")


@pytest.mark.parametrize(
    ("signatures", "shown"),
    [
        (["AAAAAAAAAA"], [8]),
        (["abcdefghij", "ABCDEFGHIJ"], [8, 8]),  # compared case-sensitively
        (["AAAAAAAAAA", "AAAAAAAABB"], [9, 9]),
        (["AAAAAAAAAAAAX", "AAAAAAAAAAAAY", "B" * 20], [13, 13, 13]),
        (["A" * 80, "A" * 79 + "B"], [64, 64]),  # no honest signatures agree in so much
        (["A" * 20, "A" * 20], [8, 8]),  # the same signature twice cannot be told apart
        (["AAAA", "AAAAAAAAAA"], [4, 8]),
        (["", "AAAAAAAAAA"], [0, 8]),
    ],
)
def test_header_b_tells_signatures_apart(signatures, shown):
    # AR-13
    found = outcomes.evidence(dkim=[signature({"domain": "example.com", "signature": b}) for b in signatures])
    values = [dict(r.properties).get("header.b", "") for r in results(outcomes.outcome(found)) if r.method == "dkim"]
    assert [len(value) for value in values] == shown
    assert all(full.startswith(value) for full, value in zip(signatures, values, strict=True))


HOSTILE = st.text(st.characters(codec="utf-8") | st.sampled_from('\r\n";()\\@<>='), max_size=300)
URLS = st.sampled_from(["", "https://a.example/?d={domain}", "https://a.example/"])


@given(HOSTILE, HOSTILE, HOSTILE, URLS)
@settings(max_examples=200, deadline=None)
def test_a_reply_is_one_short_line_of_ascii(template, queue_id, reason, info_url):
    outcome = outcomes.outcome()
    outcome = replace(
        outcome,
        message=outcomes.message(queue_id=queue_id),
        evaluation=replace(outcome.evaluation, reason=recognized(reason)),
    )
    texts = ReplyTexts(template + "{queue_id} {reason}", "", "", info_url)
    (reply,) = planned(outcome, texts)
    assert reply.text.isascii()
    assert not reply.text or reply.text.isprintable()
    assert len(f"{reply.code} {reply.enhanced} {reply.text}\r\n") <= 512
    assert len(reply.text) <= MAX_REPLY


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
@settings(max_examples=200, deadline=None)
def test_hostile_signatures_cannot_forge_a_result(selector, identity, value, reason):
    # AR-18
    hostile = DkimResult(
        DkimWord.FAIL,
        Domain("evil.example"),
        selector,
        "rsa-sha256",
        identity,
        value,
        recognized(reason),
        testing=False,
    )
    outcome = outcomes.outcome(
        outcomes.evidence(record="v=DMARC1; p=none", dkim=[hostile], spf=outcomes.spf("fail example.com"))
    )
    field = field_of(outcome)
    assert field.isascii()
    parsed = authres.AuthenticationResultsHeader.parse(f"Authentication-Results: {field}")
    assert [(found.method, found.result) for found in parsed.results] == [
        ("spf", SpfWord.FAIL),
        ("dkim", DkimWord.FAIL),
        ("arc", "none"),
        ("dmarc", "fail"),
    ]


@given(st.lists(st.tuples(st.sampled_from([b"Authentication-Results", b"From", b"To"]), st.binary(max_size=60))))
@settings(max_examples=200, deadline=None)
def test_deletions_are_descending_and_within_the_fields(pairs):
    # AR-03
    mail = replace(outcomes.message(), headers=tuple(Header(name, value) for name, value in pairs))
    outcome = outcomes.outcome(outcomes.evidence(record="v=DMARC1; p=none"), mail)
    numbers = [action.occurrence for action in planned(outcome) if isinstance(action, DeleteHeader)]
    assert numbers == sorted(set(numbers), reverse=True)
    assert all(1 <= number <= sum(name == b"Authentication-Results" for name, _ in pairs) for number in numbers)


def test_the_field_is_what_render_makes_of_the_results():
    outcome = outcomes.outcome(outcomes.evidence(record="v=DMARC1; p=none"))
    assert field_of(outcome) == render(ID, results(outcome))
