import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth.pyspf_wording import WORDINGS
from dmarcmilter.auth.results import SpfWord
from dmarcmilter.auth.signature_fault import SignatureFault
from dmarcmilter.outcome_record import RecordedOverride, RecordedPolicy, RecordedSignature, RecordedSpf
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.reasons.recorded import recorded
from dmarcmilter.reports.aggregate import publishable_reasons
from tests.support import journals
from tests.support.reasons import reason_values

NAMES = {"domain": "example.com", "selector": None, "algorithm": None, "testing": False, "scope": "mfrom"}


def spf(result, **values):
    return msgspec.convert(NAMES | {"result": result} | values, RecordedSpf)


def signature(result, **values):
    return msgspec.convert(NAMES | {"result": result} | values, RecordedSignature)


def policy(**values):
    return msgspec.convert(journals.record("reject")["policy"] | values, RecordedPolicy)


LOCAL = "zqzqa-kxkxb+wvwvc"
PIECES = ("zqzqa", "kxkxb", "wvwvc")

OLD = [
    ("permerror", f"redirect domain has no SPF record: {LOCAL}._spf.example.com", "redirect domain has no SPF record"),
    ("temperror", f"DNS TXT 127.0.0.1 port 53 answered SERVFAIL: include:{LOCAL}.example", "DNS TXT lookup failed"),
    ("temperror", "DNS A budget of 20 s for DNS spent", "DNS A lookup failed"),
    ("fail", f"-exists:{LOCAL}.example", "-exists"),
    ("fail", "-all", "-all"),
    ("softfail", "~ip4:192.0.2.0/24", "~ip4:192.0.2.0/24"),
    ("neutral", "?ip6:2001:db8::/32", "?ip6:2001:db8::/32"),
    ("fail", "-mx/24//64", "-mx"),
    ("fail", LOCAL, ""),
    ("permerror", f"{LOCAL}: Unknown mechanism found", ""),
    ("permerror", "Unknown mechanism found: ipv4:1.2.3.4", "Unknown mechanism found"),
    ("none", "", ""),
    ("pass", f"a:{LOCAL}.example", ""),
]


@pytest.mark.parametrize(("result", "text", "told"), OLD)
def test_old_reasons_of_spf(result, text, told):
    assert publishable_reasons.spf_human_result(spf(result, reason=text)) == told


@given(
    st.text(max_size=40),
    st.sampled_from([*PIECES, "127.0.0.1 port 53", "/etc/dmarcmilter"]),
    st.sampled_from(list(SpfWord)),
)
@settings(max_examples=400, deadline=None)
def test_reports_give_known_reasons_only(before, secret, result):
    known = [one for _, one, _ in OLD]
    for reason in (
        before + secret,
        *(one + secret for one in known),
        secret + before,
        *(f"{secret} {one}" for one in known),
    ):
        assert secret not in publishable_reasons.spf_human_result(spf(result, reason=reason))
        assert secret not in publishable_reasons.dkim_human_result(signature(result, reason=reason))
        assert not publishable_reasons.notes(policy(notes=[f"{reason}\n"]))


@pytest.mark.parametrize("fault", SignatureFault)
def test_faults_of_signatures_are_told(fault):
    text = str(fault.reason)
    assert publishable_reasons.dkim_human_result(signature("fail", reason=text)) == text
    assert publishable_reasons.dkim_human_result(signature("fail", **reason_values("reason", fault.reason))) == text


@pytest.mark.parametrize(("wording", "code"), WORDINGS)
def test_wordings_of_spf_are_told(wording, code):
    assert publishable_reasons.spf_human_result(spf("permerror", reason=f"{wording}: {LOCAL}")) == wording
    reason = Reason.of(Code.SPF_AT_TERM, reason=Reason.of(code), term=LOCAL)
    assert publishable_reasons.spf_human_result(spf("permerror", **reason_values("reason", reason))) == wording


def test_why_dns_failed_is_not_told():
    cause = Reason.of(Code.DNS_SERVER_RCODE, server="192.0.2.53", rcode="SERVFAIL")
    reason = Reason.of(Code.SPF_DNS_FAILED, rdtype="MX", reason=cause)
    assert (
        publishable_reasons.spf_human_result(spf("temperror", **reason_values("reason", reason)))
        == "DNS MX lookup failed"
    )


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ({"comment": "not selected by pct"}, "not selected by pct"),
        ({"comment": "words of nobody"}, ""),
        ({"comment": "ticket 4711", "entry": "partner"}, "ticket 4711"),
        (reason_values("comment", Reason.of(Code.OPERATOR_COMMENT, text="ticket 4711")), "ticket 4711"),
        (reason_values("comment", Reason.of(Code.FORWARDER_NETWORK)), "client in [forwarders] networks"),
        ({"comment": ""}, ""),
    ],
)
def test_comments_of_overrides(override, told):
    found = msgspec.convert({"type": "other", "rfc7489": "other"} | override, RecordedOverride)
    assert publishable_reasons.override_comment(found) == told


def test_notes_of_the_policy():
    known = Reason.of(Code.SEVERAL_POLICY_RECORDS, name="_dmarc.a.example")
    unknown = Reason.of(Code.OPENDMARC_REBUILT)
    texts = [str(known), str(unknown)]
    codes = [msgspec.to_builtins(recorded(note)) for note in (known, unknown)]
    assert publishable_reasons.notes(policy(notes=texts, notes_codes=codes)) == [str(known)]
    assert publishable_reasons.notes(policy(notes=texts)) == [str(known)]
