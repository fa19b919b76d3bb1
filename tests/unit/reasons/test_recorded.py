"""Reasons in records: by code and parameters; by their texts in records of versions that had no codes."""

import json
import time

import msgspec
import pytest
from msgspec import UNSET

from dmarcmilter.outcome_record import RecordedArc, RecordedSpf
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.reasons.recorded import (
    MAX_TEXT,
    RecordedReason,
    read,
    reason_of,
    reasons_of,
    recognized,
    recorded,
    spf_reason,
)
from tests.support.paths import TESTS

GOLDEN = (TESTS / "golden" / "reason_texts.jsonl").read_text(encoding="utf-8").splitlines()
"""Every text that versions without codes recorded, with its code and parameters. Frozen: nothing is changed here."""
NESTED = Reason.of(
    Code.SPF_AT_TERM,
    reason=Reason.of(Code.SPF_DNS_FAILED, rdtype="TXT", reason=Reason.of(Code.DNS_RCODE, rcode="SERVFAIL")),
    term="include:a.example",
)


@pytest.mark.parametrize("line", GOLDEN)
def test_old_texts(line):
    expected = json.loads(line)
    text = expected.pop("text")
    reason = recognized(text)
    assert msgspec.to_builtins(recorded(reason)) == expected
    assert str(reason) == text, "records and reports have the same text as before"


def parameters_of(values):
    """Parameters as they come from a line of the journal."""
    line = json.dumps({"code": "any", "parameters": values})
    return msgspec.json.decode(line, type=RecordedReason).parameters


def spf(result, reason, code=UNSET, parameters=UNSET):
    return RecordedSpf(
        result=result, domain=None, scope="mfrom", reason=reason, reason_code=code, reason_parameters=parameters
    )


def test_what_is_recorded_is_read_again():
    arc = RecordedArc(
        result="fail",
        sealers=(),
        oldest_pass=None,
        reason=str(NESTED),
        reason_code=str(NESTED.code),
        reason_parameters=parameters_of(msgspec.to_builtins(recorded(NESTED))["parameters"]),
    )
    assert reason_of(arc) == NESTED
    assert reason_of(spf("none", "no key", "key_missing")) == Reason.of(Code.KEY_MISSING)


def test_the_code_decides_and_not_the_text():
    assert read("no key", "key_revoked") == Reason.of(Code.KEY_REVOKED)


@pytest.mark.parametrize(
    ("code", "parameters"),
    [
        ("of_a_newer_version", {}),
        ("key_missing", {"more": 1}),
        ("arc_seal", {"number": 1}),
        ("arc_seal", {"number": 1, "reason": {"code": "of_a_newer_version"}}),
    ],
)
def test_codes_that_are_not_known_leave_the_text(code, parameters):
    parameters = parameters_of(parameters)
    assert read("key revoked", code, parameters) == Reason.of(Code.KEY_REVOKED)
    assert read("words", code, parameters) == Reason.of(Code.UNRECOGNIZED, text="words")
    assert read("", code, parameters) is None


def test_reasons_within_reasons_are_bounded():
    value = {"code": "key_missing"}
    for _ in range(100):
        value = {"code": "seal_would_not_verify", "parameters": {"reason": value}}
    assert read("x", value["code"], parameters_of(value["parameters"])) == Reason.of(Code.UNRECOGNIZED, text="x")


def test_lists_of_reasons():
    text = "several DMARC records at _dmarc.a.example: none of them counts"
    reason = Reason.of(Code.SEVERAL_POLICY_RECORDS, name="_dmarc.a.example")
    assert reasons_of([text]) == (reason,)
    assert reasons_of(["x"], [recorded(reason)]) == (reason,)
    assert reasons_of([text], []) == (reason,)
    assert reasons_of(UNSET) == ()


def test_the_term_that_decided_spf():
    term = Reason.of(Code.SPF_MATCHED_TERM, term="no key")
    assert spf_reason(spf("fail", "no key")) == term
    assert spf_reason(spf("fail", "")) is None
    assert spf_reason(spf("none", "no key")) == Reason.of(Code.KEY_MISSING)
    coded = spf("fail", "-all", "spf_matched_term", {"term": "-all"})
    assert spf_reason(coded) == Reason.of(Code.SPF_MATCHED_TERM, term="-all")


@pytest.mark.parametrize(
    "piece", ["ARC-Seal 1: ", "TXT a: ", "DNS TXT a: ", "spf of a ", "x: ", "it would not verify: "]
)
def test_recognition_is_quick_for_any_text(piece):
    start = time.process_time()
    for number in range(20):
        recognized(f"{piece * 500}"[: MAX_TEXT - 20] + str(number))
    assert time.process_time() - start < 2
