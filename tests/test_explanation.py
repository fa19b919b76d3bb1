import outcomes
import pytest

from dmarcmilter.evidence import ArcResult, ArcWord, SpfResult, SpfScope, SpfWord
from dmarcmilter.explanation import explain


def explained(found=None, rules=outcomes.RULES, **options):
    return explain(outcomes.outcome(found, None, rules, **options).record())


def evidence(**options):
    return outcomes.evidence(**options)


CASES = {
    "reject": (
        evidence(spf=outcomes.spf("softfail example.net"), dkim=[outcomes.dkim("fail example.com")]),
        outcomes.RULES,
        [
            "The message is From example.com: that domain's DMARC policy is the one to apply.",
            "SPF: softfail for example.net of MAIL FROM.",
            "DKIM: fail for example.com.",
            "The policy comes from _dmarc.example.com: v=DMARC1; p=reject",
            "It asks for p=reject when a message fails.",
            "DMARC fails: no aligned identifier passed.",
            "The message is refused.",
        ],
    ),
    "pass by both": (
        evidence(spf=outcomes.spf("pass example.com"), dkim=[outcomes.dkim("pass example.com")]),
        outcomes.RULES,
        [
            "DMARC passes: SPF of example.com and DKIM of example.com are aligned with the Author Domain.",
            "The message is accepted.",
        ],
    ),
    "pass by one": (
        evidence(spf=outcomes.spf("pass example.com")),
        outcomes.RULES,
        ["DMARC passes: SPF of example.com is aligned with the Author Domain."],
    ),
    "null sender": (
        evidence(spf=outcomes.spf("pass mta.example.net helo")),
        outcomes.RULES,
        ["SPF: pass for mta.example.net of HELO, since the sender is null."],
    ),
    "no policy": (
        evidence(record=""),
        outcomes.RULES,
        [
            "No DMARC policy was found.",
            "DMARC does not apply: no policy record for example.com.",
            "The message is accepted.",
        ],
    ),
    "record that cannot be used": (
        evidence(record="v=DMARC1; p=bogus"),
        outcomes.RULES,
        [
            "The policy comes from _dmarc.example.com: v=DMARC1; p=bogus",
            "DMARC does not apply: the record of example.com holds no valid policy and no address for reports.",
        ],
    ),
    "several From fields": (
        evidence(problem="several-fields"),
        outcomes.RULES,
        [
            "The From field names no single Author Domain (several-fields): DMARC cannot be evaluated.",
            "DKIM: the message has no signature.",
            "DMARC cannot be evaluated: several-fields From field.",
            "The message is refused.",
        ],
    ),
    "temperror deferred": (
        evidence(record="", failed=["_dmarc.example.com"]),
        outcomes.rules(temperror="tempfail"),
        [
            "DMARC cannot be evaluated now: TXT _dmarc.example.com: timeout.",
            "The message is deferred; the client will try again.",
        ],
    ),
    "monitor": (
        evidence(),
        outcomes.rules(mode="monitor"),
        [
            "Overridden (local_policy): mode is monitor: would be reject.",
            "The message is accepted.",
            "In mode enforce the MTA would be told: reject.",
        ],
    ),
    "hold": (evidence(record="v=DMARC1; p=quarantine"), outcomes.RULES, ["The message is put on hold."]),
    "marked only": (
        evidence(record="v=DMARC1; p=quarantine"),
        outcomes.rules(quarantine_action="header"),
        ["The message is delivered, marked as quarantined in Authentication-Results."],
    ),
    "trusted ARC": (
        evidence(
            arc=outcomes.arc("pass", [("b.example", "b; dmarc=pass header.from=example.com"), ("a.example", "a")])
        ),
        outcomes.rules(trusted_sealers=["b.example"]),
        ["ARC: the chain passes; sealed by b.example, a.example (newest first).", "The message is accepted."],
    ),
    "failing ARC": (
        evidence(arc=ArcResult(ArcWord.FAIL, reason="seal mismatch")),
        outcomes.RULES,
        ["ARC: the chain fails (seal mismatch), which counts as no chain."],
    ),
    "SPF with a reason": (
        evidence(spf=SpfResult(SpfWord.PERMERROR, "example.net", SpfScope.MFROM, "Too many DNS lookups")),
        outcomes.RULES,
        ["SPF: permerror for example.net of MAIL FROM (Too many DNS lookups)."],
    ),
    "SPF without a name": (evidence(), outcomes.RULES, ["SPF: none; there was no domain to check."]),
}


@pytest.mark.parametrize(("found", "rules", "sentences"), CASES.values(), ids=CASES)
def test_sentences(found, rules, sentences):
    said = explained(found, rules)
    assert [sentence for sentence in said if sentence in sentences] == sentences


@pytest.mark.parametrize(("found", "rules", "sentences"), CASES.values(), ids=CASES)
def test_the_last_word_is_what_happens_to_the_message(found, rules, sentences):
    said = explained(found, rules)
    assert any(sentence.startswith(("The message is ", "In mode enforce")) for sentence in said[-1:])
    assert all(sentence.endswith(".") or sentence.startswith("The policy comes from") for sentence in said)


def test_no_arc_says_nothing_of_arc():
    assert not [sentence for sentence in explained() if sentence.startswith("ARC")]


def test_signature_with_all_its_parts():
    record = outcomes.outcome(evidence(dkim=[outcomes.dkim("permerror")])).record()
    record["dkim"][0] |= {"selector": "s1", "reason": "no key"}
    assert "DKIM: permerror for an unreadable domain, selector s1 (no key)." in explain(record)
