import pytest

from dmarcmilter.dmarc.record_lookup import fetch
from dmarcmilter.mail.domain import Domain
from tests.support.zone import Zone

REJECT, NONE = "v=DMARC1; p=reject", "v=DMARC1; p=none"


@pytest.mark.parametrize(
    ("texts", "policy", "several"),
    [
        ([REJECT], "reject", False),
        ([REJECT, NONE], None, True),
        ([REJECT, REJECT], None, True),
        (["v=spf1 -all", REJECT, "hello"], "reject", False),
        (["v=spf1 -all"], None, False),
        ([], None, False),
    ],
)
def test_records_at_one_name(texts, policy, several):
    # RFC 9989 4.10 step 2
    zone = Zone({"_dmarc.example.com": texts})
    found = fetch(Domain("example.com"), zone)
    assert (found.record.p if found.record else None) == policy
    assert (found.several, found.failed, found.name_exists) == (several, None, True)
    assert zone.asked == [("_dmarc.example.com", "TXT")]


@pytest.mark.parametrize(
    ("texts", "meant"),
    [(["v=DMARC 1; p=none"], True), (["v=dmarc1; p=none"], True), (["v=spf1 -all"], True), (["hello"], False),
     ([REJECT], False), ([REJECT, NONE], False), (["v=dmarc1", REJECT], False), ([], False)],
)  # fmt: skip
def test_what_was_meant_as_a_record(texts, meant):
    assert fetch(Domain("example.com"), Zone({"_dmarc.example.com": texts})).near_miss is meant


def test_no_and_no_answer_are_different():
    # DISC-34
    assert fetch(Domain("example.com"), Zone({})).failed is None
    failed = fetch(Domain("example.com"), Zone({}, ["_dmarc.example.com"]))
    assert str(failed.failed) == "TXT _dmarc.example.com: timeout"
    assert failed.record is None


def test_nxdomain_proves_nothing_and_nodata_that_the_domain_exists():
    # POL-06
    assert fetch(Domain("example.com"), Zone({})).name_exists is False
    assert fetch(Domain("example.com"), Zone({"_dmarc.example.com": {"A": ["192.0.2.1"]}})).name_exists is True
