"""What is said of a message, by rows, and that it can be said of every message in both languages."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter import explain as explanations
from dmarcmilter.auth.results import ArcResult, ArcWord, DkimWord, SpfResult, SpfScope, SpfWord
from dmarcmilter.auth.signature_fault import SignatureFault
from dmarcmilter.config import load
from dmarcmilter.config.schema import Config
from dmarcmilter.explain import as_text, as_values
from dmarcmilter.reasons import Code, Language, Reason
from dmarcmilter.reasons.recorded import BY_TERM, recognized
from dmarcmilter.value import replace
from tests.support import journals, outcomes, pipeline_rows, policy_rows
from tests.support.cases import case_table
from tests.support.paths import TESTS

ROWS = case_table("explanation")["row"]


def explain(record, language=Language.EN):
    """Of a record as plain JSON values."""
    return explanations.explain(outcomes.read(record), language)


def heading(record, language):
    return explanations.heading(outcomes.read(record), language)


def said(record, language=Language.EN):
    return as_text(explain(record, language), language)


def recorded(found=None, rules=outcomes.RULES, **options):
    return outcomes.recorded(outcomes.outcome(found, None, rules, **options))


def spf(text):
    result, *reason = text.split(" | ")
    found = outcomes.spf(result)
    if not reason:
        return found
    term = Reason.of(Code.SPF_MATCHED_TERM, term=reason[0])
    return replace(found, reason=term if found.result in BY_TERM else recognized(reason[0]))


def dkim(text):
    result, *rest = text.split(" | ")
    reason, selector = [*rest, "", ""][:2]
    return replace(outcomes.dkim(result), reason=recognized(reason) if reason else None, selector=selector or None)


def record_of(row):
    found = outcomes.evidence(
        problem=row.get("problem", ""),
        record=row.get("record", ""),
        failed=row.get("failed", ()),
        spf=spf(row.get("spf", "none")),
        dkim=map(dkim, row.get("dkim", ())),
        arc=outcomes.arc(row.get("arc", "none"), row.get("sets", ())),
    )
    mail = outcomes.message(*row.get("header", ()))
    return outcomes.recorded(outcomes.outcome(found, mail, outcomes.rules(**row.get("rules", {}))))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_advice(row):
    explained = explain(record_of(row))
    assert [one.code for one in explained.sender] == row.get("sender", [])
    assert [one.code for one in explained.administrator] == row.get("administrator", [])
    assert set(row.get("decided", ())) <= {one.code for one in explained.decided}
    assert set(row.get("found", ())) <= {one.code for one in explained.found}
    offered = "\n".join(one.conf for one in explained.administrator).splitlines()
    assert set(row.get("conf", ())) <= set(offered)
    assert row.get("said", "") in said(record_of(row))


def test_a_limit_is_not_called_a_dns_failure():
    beyond = replace(outcomes.dkim("policy a.example.com"), cut_off=True, reason=SignatureFault.TOO_MANY.reason)
    explained = explain(recorded(outcomes.evidence(dkim=[beyond])))
    assert explained.sender == ()
    assert [one.code for one in explained.administrator] == ["administrator.limit", "administrator.release"]
    assert "DNS" not in said(recorded(outcomes.evidence(dkim=[beyond])))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_conf_lines_that_are_offered_are_a_conf_file(row, tmp_path):
    for one in explain(record_of(row)).administrator:
        if one.conf:
            path = tmp_path / "c.toml"
            path.write_text(one.conf, encoding="utf-8")
            assert load.load(path) != Config()


OFFERED = [
    row
    for row in ROWS
    if any("entry" in code or "sealer" in code or "list" in code for code in row.get("administrator", ()))
]


@pytest.mark.parametrize("row", OFFERED, ids=lambda row: row["name"])
def test_conf_lines_let_this_message_through_and_no_forgery_of_the_same_author(row, tmp_path):
    from dmarcmilter import receiver
    from dmarcmilter.dmarc.discovery import Method
    from dmarcmilter.explain import replay

    for one in explain(record_of(row)).administrator:
        if not one.conf:
            continue
        (tmp_path / "list.dat").write_text("com\nexample\n", encoding="utf-8")
        path = tmp_path / "c.toml"
        more = "" if "[[override]]" in one.conf else "\n"
        path.write_text(f'{one.conf}{more}\n[dmarc]\npsl_file = "{tmp_path}/list.dat"\n', encoding="utf-8")
        rules = replace(receiver.build(load.load(path), keep_key=False).pipeline.rules, mode=outcomes.Mode.ENFORCE)
        terms = replay.Terms(rules, Method.TREEWALK, honor_pct=True, suffixes=outcomes.SUFFIXES)
        assert replay.decide_again(outcomes.read(record_of(row)), terms).decision.action == "accept", one.conf
        forged = record_of(row | {"dkim": [], "spf": "fail", "arc": "none", "sets": []})
        assert replay.decide_again(outcomes.read(forged), terms).decision.action != "accept", one.conf


NOT_CHECKED = SpfResult(SpfWord.NONE, "example.net", SpfScope.MFROM, Reason.of(Code.SPF_NO_CLIENT_ADDRESS))
SENTENCES = {
    "reject": (
        outcomes.evidence(spf=outcomes.spf("softfail example.net"), dkim=[outcomes.dkim("fail example.com")]),
        outcomes.RULES,
        [
            "The message is From example.com: that domain's DMARC policy is the one to apply.",
            "SPF: softfail for example.net of MAIL FROM: the client 192.0.2.1 probably may not send for this domain.",
            "DKIM: fail for example.com.",
            "The policy comes from _dmarc.example.com: v=DMARC1; p=reject",
            "It asks for p=reject when a message fails.",
            "DMARC fails: no aligned identifier passed.",
            "The message is refused.",
        ],
    ),
    "pass by both": (
        outcomes.evidence(spf=outcomes.spf("pass example.com"), dkim=[outcomes.dkim("pass example.com")]),
        outcomes.RULES,
        [
            "DMARC passes: SPF of example.com and DKIM of example.com are aligned with the Author Domain.",
            "The message is accepted.",
        ],
    ),
    "null sender": (
        outcomes.evidence(spf=outcomes.spf("pass mx.example helo")),
        outcomes.RULES,
        ["SPF: pass for mx.example of HELO, since the sender is null: the client 192.0.2.1 may send for this domain."],
    ),
    "no policy": (
        outcomes.evidence(record=""),
        outcomes.RULES,
        ["No DMARC policy was found.", "DMARC does not apply: no policy record for example.com."],
    ),
    "temperror deferred": (
        outcomes.evidence(record="", failed=["_dmarc.example.com"]),
        outcomes.rules(temperror="tempfail"),
        [
            "DMARC cannot be evaluated now: TXT _dmarc.example.com: timeout.",
            "The message is deferred; the client will try again.",
        ],
    ),
    "monitor": (
        outcomes.evidence(),
        outcomes.rules(mode="monitor"),
        [
            "Overridden (local_policy): mode is monitor: would be reject.",
            "The message is accepted.",
            "If the policy were enforced, the MTA would be told: reject.",
        ],
    ),
    "hold": (outcomes.evidence(record="v=DMARC1; p=quarantine"), outcomes.RULES, ["The message is put on hold."]),
    "failing ARC": (
        outcomes.evidence(arc=ArcResult(ArcWord.FAIL, reason=recognized("ARC-Seal 1: signature mismatch"))),
        outcomes.RULES,
        ["ARC: the chain fails (ARC-Seal 1: signature mismatch), which counts as no chain."],
    ),
    "SPF with a reason": (
        outcomes.evidence(spf=SpfResult(SpfWord.PERMERROR, "a.test", SpfScope.MFROM, recognized("no client"))),
        outcomes.RULES,
        ["SPF: permerror for a.test of MAIL FROM (no client): the domain's SPF record cannot be evaluated."],
    ),
    "SPF not checked": (
        outcomes.evidence(
            spf=SpfResult(SpfWord.NONE, "example.net", SpfScope.MFROM, Reason.of(Code.SPF_NO_CLIENT_ADDRESS))
        ),
        outcomes.RULES,
        ["SPF: none for example.net of MAIL FROM (the client has no IP address)."],
    ),
}


@pytest.mark.parametrize(("found", "rules", "sentences"), SENTENCES.values(), ids=SENTENCES)
def test_english(found, rules, sentences):
    lines = [line.strip() for line in said(recorded(found, rules)).splitlines()]
    assert [line for line in lines if line in sentences] == sentences


def test_japanese():
    found = outcomes.evidence(
        spf=outcomes.spf("fail example.com"),
        dkim=[replace(outcomes.dkim("fail example.com"), selector="s1", reason=SignatureFault.BODY_MISMATCH.reason)],
    )
    golden = (TESTS / "golden" / "explanation_ja.txt").read_text(encoding="utf-8")
    assert said(recorded(found), Language.JA) + "\n" == golden


@pytest.mark.parametrize("word", DkimWord)
def test_every_dkim_result_is_said(word):
    found = outcomes.evidence(dkim=[outcomes.dkim(f"{word} example.com")])
    for language in Language:
        assert str(word) in said(recorded(found), language)


@pytest.mark.parametrize("word", SpfWord)
def test_every_spf_result_is_said(word):
    found = outcomes.evidence(spf=outcomes.spf(f"{word} example.com"))
    for language in Language:
        assert str(word) in said(recorded(found), language)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("row", policy_rows.ROWS, ids=lambda row: row["name"])
def test_every_decision_can_be_explained(row, language):
    explained = explain(outcomes.recorded(policy_rows.judged(row)), language)
    assert explained.found
    assert explained.decided
    text = as_text(explained, language)
    # An operator's own comment is quoted, and what only these tests say; all else is in the catalogue.
    own = [entry.get("comment", "") for entry in row.get("rules", {}).get("overrides", ())]
    known = [*filter(None, own), "timeout", "From field", "seal mismatch"]
    assert not [
        line for line in text.splitlines() if re.search("「[ -~]", line) and not any(word in line for word in known)
    ]


@pytest.mark.parametrize("row", pipeline_rows.ROWS, ids=lambda row: row["name"])
def test_every_message_can_be_explained(row):
    record = outcomes.recorded(pipeline_rows.processed(row)[0])
    codes = [
        [[one["code"] for one in part] for part in as_values(explain(record, language)).values()]
        for language in Language
    ]
    assert codes[0] == codes[1]


def test_what_was_meant_as_a_record():
    record = recorded(outcomes.evidence(record="v=dmarc1; p=reject"))
    assert record["faulty_records"] == ["example.com"]
    codes = {one.code for part in ("found", "sender") for one in getattr(explain(record), part)}
    assert {"policy.none", "policy.faulty", "sender.record"} <= codes


def test_several_records():
    zone = {"_dmarc.example.com": {"TXT": ["v=DMARC1; p=none", "v=DMARC1; p=reject"]}}
    record = recorded(outcomes.evidence(record="", zone=zone))
    text = said(record, Language.JA)
    assert "_dmarc.example.com に DMARC レコードが複数あるため" in text


@pytest.mark.parametrize(("sealed", "code"), [(True, "done.sealed"), (False, "done.not_sealed")])
def test_arc_seal_of_ours(sealed, code):
    record = recorded() | {"sealed": sealed, "seal_reason": "internal error"}
    assert code in {one.code for one in explain(record).decided}
    assert not [one for one in explain(recorded()).decided if "seal" in one.code]


def test_unsigned_duplicates():
    record = recorded(outcomes.evidence(dkim=[outcomes.dkim("pass example.com subject,to")]))
    assert record["unsigned_duplicates"] == record["dkim"][0]["unsigned_duplicates"] == ["subject", "to"]
    assert "may have been added after signing: subject, to." in said(record)
    assert "署名の後で追加された可能性があります: subject、to" in said(record, Language.JA)
    held = recorded(
        outcomes.evidence(dkim=[outcomes.dkim("pass example.com subject")]),
        outcomes.rules(on_unsigned_duplicate="quarantine"),
    )
    assert "fields added beside signed ones: subject" in said(held)


def test_values_for_json():
    values = as_values(explain(record_of(ROWS[8])))
    assert list(values) == ["found", "decided", "sender", "administrator"]
    assert values["administrator"][0]["code"] == "administrator.entry"
    assert values["administrator"][0]["conf"].startswith("[[override]]\n")
    assert "conf" not in values["found"][0]


HOSTILE = "\x1b]0;x\x07\r\n\u202e\u0000{0}{author}\x9b31m"


def spoilt(value):
    """A record with the same shape in which every text holds what a terminal must not get."""
    if isinstance(value, str):
        return value + HOSTILE
    if isinstance(value, dict):
        return {name: spoilt(inner) for name, inner in value.items()}
    return [spoilt(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("kind", journals.KINDS)
def test_hostile_strings_never_reach_the_terminal_raw(kind, language):
    record = json.loads(json.dumps(journals.record(kind)))
    for name in [*record, "everything"]:
        changed = spoilt(record) if name == "everything" else record | {name: spoilt(record[name])}
        for text in (said(changed, language), heading(changed, language)):
            assert all(line.isprintable() for line in text.split("\n")), name


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(journals.KINDS)), st.text(), st.sampled_from(list(Language)))
def test_any_text_may_stand_anywhere(kind, text, language):
    record = journals.record(kind)
    for key in ("queue_id", "helo", "author_domain", "author_problem", "client_ip"):
        record[key] = text
    record["spf"] = record["spf"] | {"domain": text, "reason": text, "result": text}
    signature = {"result": text, "domain": text, "selector": text, "algorithm": text, "reason": text, "testing": True}
    record["dkim"] = [signature]
    record["overrides"] = [{"type": text, "comment": text, "rfc7489": text, "entry": text}]
    record["lists"] = {"ids": [text], "traces": [text]}
    printed = said(record, language) + heading(record, language)
    assert all(line.isprintable() for line in printed.split("\n"))


def test_heading():
    record = journals.record(queue_id="4ABC", helo="h.example")
    assert heading(record, Language.EN) == (
        "2027-01-15 08:00:00.123 UTC, queue id 4ABC, client 192.0.2.1, HELO h.example"
    )
    assert heading(record, Language.JA) == (
        "2027-01-15 08:00:00.123 UTC、キュー ID 4ABC、接続元 192.0.2.1、HELO h.example"
    )


def test_outcomes_of_before_the_newer_keys_can_be_explained():
    newer = (
        *("would_disposition", "exempt", "draws", "lists", "client_names", "deferred_for", "sealed"),
        *("quarantine_method", "set_apart"),
    )
    for kind in journals.KINDS:
        record = {name: value for name, value in journals.record(kind).items() if name not in newer}
        assert said(record)


@pytest.mark.parametrize("error", ["header", "quarantine", "redirect", "reply", "internal", "of a later version"])
def test_what_the_mta_did_not_take_is_told(error):
    codes = {one.code for one in explain(recorded() | {"apply_error": error}).decided}
    assert ("apply.internal" if " " in error else f"apply.{error}") in codes
    assert not [one for one in explain(recorded()).decided if one.code.startswith("apply.")]
