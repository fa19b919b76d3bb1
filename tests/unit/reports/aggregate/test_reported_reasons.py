import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth.results import SpfWord
from dmarcmilter.auth.signature_fault import Fault
from dmarcmilter.auth.spf import _REASONS
from dmarcmilter.reports.aggregate import reported_reasons

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


@pytest.mark.parametrize(("result", "recorded", "told"), OLD)
def test_old_reasons_of_spf(result, recorded, told):
    assert reported_reasons.of_spf(result, recorded) == told


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
        told = reported_reasons.of_spf(result, reason) + reported_reasons.of_dkim(result, reason)
        assert secret not in told
        assert not reported_reasons.is_note(f"{reason}\n")


@pytest.mark.parametrize("fault", Fault)
def test_faults_of_signatures_are_told(fault):
    assert reported_reasons.of_dkim("fail", fault.reason) == fault.reason


@pytest.mark.parametrize("reason", _REASONS)
def test_wordings_of_spf_are_told(reason):
    assert reported_reasons.of_spf("permerror", f"{reason}: {LOCAL}") == reason
