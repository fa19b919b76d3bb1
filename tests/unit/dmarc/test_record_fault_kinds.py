"""Faults of published records by kind, as operators meet them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dmarc import record
from dmarcmilter.dmarc.record_fault_kinds import FAULT_TEXTS, FaultKind, of_no_record


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("v=spf1 include:_spf.example.com ~all", "spf_record"),
        ('"v=spf1 -all"', "spf_record"),
        ("spf2.0/pra -all", "spf_record"),
        ("v=DMARC1: p=none", "colon_for_semicolon"),
        ("v=DMARC1:p=none:rua=mailto:a@x.example", "colon_for_semicolon"),
        ("v=dmarc1: p=none", "colon_for_semicolon"),
        ("v=DMARC1 p=none", "missing_semicolon"),
        ("v=DMARC1, p=none", "missing_semicolon"),
        ("v=DMARC1p=none", "missing_semicolon"),
        ("v:DMARC1; p=none", "colon_for_equals"),
        ("v=dmarc1; p=none", "version_case"),
        ("v=Dmarc1", "version_case"),
        ("v=DMARC; p=none", "wrong_version"),
        ("v=DMARC2; p=none", "wrong_version"),
        ("v=DMARC 1; p=none", "wrong_version"),
        ("v=DMRAC1; p=none", "wrong_version"),
        ("v=DKIM1; p=reject", "wrong_version"),
        ("DMARC1; p=none", "no_version"),
        ("p=none; v=DMARC1", "no_version"),
        ("p=reject; rua=mailto:a@x.example", "no_version"),
        (";p=none", "no_version"),
        ("\ufeffv=DMARC1; p=none", "no_version"),
        ('"v=DMARC1; p=none"', "quoted"),
        ("'v=DMARC1; p=none'", "quoted"),
        ("v=DMARC1\\; p=none", "quoted"),
        ('v="DMARC1"; p=none', "quoted"),
        ("v=", "only_version"),
        ("v=;", "only_version"),
    ],
)
def test_what_is_no_record(text, kind):
    raw = text.encode()
    assert not record.is_policy_record(raw)
    assert of_no_record(raw) == kind
    assert record.near_miss(raw).kind == kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "google-site-verification=x",
        "v=DKIM1; k=rsa; p=MIGfMA0",
        "v=STSv1; id=1",
        "v=BIMI1; l=; a=",
        "v=spf",
    ],
)
def test_what_was_not_meant_as_one(text):
    assert of_no_record(text.encode()) is None


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("v=DMARC1", "only_version"),
        ("v=DMARC1;", "only_version"),
        ("v=DMARC1; ;", "only_version"),
        ("v=DMARC1; rua=mailto:a@x.example", "no_policy"),
        ("v=DMARC1; sp=none", "no_policy"),
        ("v=DMARC1; none", "not_a_tag no_policy"),
        ("v=DMARC1; p=monitor", "policy_monitor"),
        ("v=DMARC1; p=Monitoring", "policy_monitor"),
        ("v=DMARC1; p=quarentena", "policy_misspelled"),
        ("v=DMARC1; p=quarentine", "policy_misspelled"),
        ("v=DMARC1; p=quarantaine", "policy_misspelled"),
        ("v=DMARC1; p=quarantined", "policy_misspelled"),
        ("v=DMARC1; p=cuarentena", "policy_misspelled"),
        ("v=DMARC1; p=rejected", "policy_misspelled"),
        ("v=DMARC1; p=non", "policy_misspelled"),
        ("v=DMARC1; p='none'", "policy_misspelled"),
        ("v=DMARC1; p=p=none", "policy_misspelled"),
        ("v=DMARC1; p=none; sp=rejct", "policy_misspelled"),
        ("v=DMARC1; p=block", "policy_unknown"),
        ("v=DMARC1; p=on", "policy_unknown"),
        ("v=DMARC1; p=", "empty_value"),
        ("v=DMARC1; p=none: rua=mailto:a@x.example", "colon_for_semicolon"),
        ("v=DMARC1; p=none:sp=none", "colon_for_semicolon"),
        ("v=DMARC1; p=none, rua=mailto:a@x.example", "missing_semicolon"),
        ("v=DMARC1; p=none rua=mailto:a@x.example", "missing_semicolon"),
        ("v=DMARC1; p=none; adkim=r aspf=r", "missing_semicolon"),
        ("v=DMARC1; p:none", "colon_for_equals no_policy"),
        ("v=DMARC1; p=none; rua=a@x.example", "no_mailto"),
        ("v=DMARC1; p=none; rua=a@x.example:b", "no_mailto"),
        ("v=DMARC1; p=none; ruf=mailto:a", "invalid_address"),
        ("v=DMARC1; p=none; rua=mailto://a b", "invalid_address"),
        ("v=DMARC1; p=none; rua=mailto:a@x.example; mailto:b@x.example", "semicolon_in_addresses"),
        ("v=DMARC1; p=none; rua=mailto:a@x.example; b@x.example", "semicolon_in_addresses"),
        ("v=DMARC1; p=none; adkim=strict", "invalid_value"),
        ("v=DMARC1; p=none; fo=2; ruf=mailto:a@x.example", "invalid_value"),
        ("v=DMARC1; p=none; p=none", "tag_twice"),
        ("v=DMARC1; p=none; hello", "not_a_tag"),
        ("v=DMARC1; p=none; x=y", "unknown_tag"),
        ("v=DMARC1; p=none; pct=100; pct=1", "obsolete_tag tag_twice"),
        ("v=DMARC1; p=none; pct=x", "obsolete_tag"),
        ("v=DMARC1; p=\u201cnone\u201d", "invalid_characters"),
        ("v=DMARC1; p=none" + ";" * 65, "too_long"),
        ("v=DMARC1; p=none; rua=" + ",".join(["mailto:a@x.example"] * 17), "too_long"),
        ("v=DMARC1; p=reject; rua=mailto:a@x.example; fo=1", ""),
    ],
)
def test_records_with_faults(text, kinds):
    found = record.parse(text.encode())
    assert {fault.kind for fault in found.faults} == set(map(FaultKind, kinds.split()))


def test_every_kind_has_a_text_of_its_own():
    assert set(FAULT_TEXTS) == set(FaultKind)
    assert len(set(FAULT_TEXTS.values())) == len(FaultKind)


WORDS = ["v", "=", "DMARC1", "dmarc", ":", ";", ",", " ", '"', "\\", "p=none", "sp:", "@", "mailto:", "v=spf1", "\x00"]


@given(st.one_of(st.binary(max_size=400), st.lists(st.sampled_from(WORDS), max_size=40).map("".join).map(str.encode)))
@settings(max_examples=300, deadline=None)
def test_anything_has_a_kind_or_none(raw):
    assert of_no_record(raw) in {None, *FaultKind}
    for fault in (record.parse(b"v=DMARC1;" + raw) or record.parse(b"v=DMARC1")).faults:
        assert fault.kind in FAULT_TEXTS
