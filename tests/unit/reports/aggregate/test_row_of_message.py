"""One message as a row of an aggregate report (RFC 9990 3.1.1)."""

import pytest

from dmarcmilter.auth.results import DkimWord, SpfScope, SpfWord
from dmarcmilter.policy.rules import ReasonType
from dmarcmilter.reports.aggregate.row_of_message import row_of
from dmarcmilter.reports.aggregate.xml_report import MAX_DKIM, AlignmentResult, ReportedDisposition, SpfAuth
from tests.support.report_outcomes import outcome, passed


def row(record=None, **changes):
    return row_of(record or outcome(**changes), "example.com")


def signature(domain, result="pass", selector="s1"):
    return {"domain": domain, "result": result, "selector": selector}


def test_a_failing_message():
    found = row()
    assert (found.source_ip, found.count, found.header_from) == ("192.0.2.1", 1, "example.com")
    assert (found.dkim, found.spf) == (AlignmentResult.FAIL, AlignmentResult.FAIL)
    assert found.spf_result == SpfAuth("bounce.example.com", SpfScope.MFROM, SpfWord.FAIL)
    assert (found.disposition, found.reasons) == (ReportedDisposition.REJECT, ())


@pytest.mark.parametrize(
    ("published", "disposition"),
    [
        ("none", ReportedDisposition.NONE),
        ("quarantine", ReportedDisposition.PASS),
        ("reject", ReportedDisposition.PASS),
    ],
)
def test_pass_is_a_disposition_only_where_the_policy_asks_for_more(published, disposition):
    """RFC 9990 appendix A."""
    assert row(passed(dmarc={"published": published})).disposition is disposition


def test_a_null_reverse_path_and_spf_without_a_domain():
    found = row(mail_from_domain=None, spf={"result": "none", "domain": None})
    assert (found.envelope_from, found.spf_result) == ("", None)


# --- reasons for another disposition than the published one (RFC 9990 3.1.1.9)


def override(word="mailing_list", comment=""):
    return {"type": word, "comment": comment, "rfc7489": word}


def reasons(**changes):
    return [(reason.type, reason.comment) for reason in row(**changes).reasons]


def test_overrides_are_reasons():
    assert reasons(overrides=[override()], disposition="none") == [(ReasonType.MAILING_LIST, "")]


def test_a_disposition_without_an_override_needs_a_reason():
    assert reasons(disposition="none") == [(ReasonType.LOCAL_POLICY, "")]
    [(kind, comment)] = reasons(disposition="none", dmarc={"result": "temperror"})
    assert kind is ReasonType.OTHER
    assert comment


def test_the_published_disposition_and_a_pass_need_none():
    assert reasons() == reasons(disposition="none", dmarc={"published": "none"}) == []
    assert row(passed()).reasons == ()


# --- signatures (RFC 9990 3.1.3)


def signers(**changes):
    return [result.domain for result in row(passed(**changes)).dkim_results]


def test_signatures_come_in_the_order_of_their_importance():
    dkim = [
        signature("failed.example", "fail"),
        signature("other.example"),
        signature("mail.example.com"),
        signature("example.com"),
    ]
    aligned = [{"mechanism": "dkim", "domain": name} for name in ("mail.example.com", "example.com")]
    expected = ["example.com", "mail.example.com", "other.example", "failed.example"]
    assert signers(dkim=dkim, dmarc={"aligned": aligned}) == expected


def test_signatures_beyond_the_limit_are_left_out_and_the_aligned_one_is_not():
    dkim = [*(signature(f"d{number}.example", "fail") for number in range(MAX_DKIM)), signature("example.com")]
    found = signers(dkim=dkim)
    assert len(found) == MAX_DKIM
    assert found[0] == "example.com"


def test_a_signature_that_was_never_verified_is_left_out():
    found = row(dkim=[signature(None, "neutral"), signature("a.example", "neutral", selector=None)])
    assert [(each.domain, each.selector, each.result) for each in found.dkim_results] == [
        ("a.example", "", DkimWord.NEUTRAL)
    ]
