"""Suppressions: how long an address gets no reports, and about whom."""

import pytest

from dmarcmilter.reports.delivery.deliveries_table import DAY_SECONDS, Deliveries
from dmarcmilter.reports.delivery.suppressions import (
    FIRST_SECONDS,
    LATEST_SECONDS,
    LONGEST_SECONDS,
    REFUSING_ORGANIZATIONS,
    Suppressions,
    record_bounce,
)
from tests.support.planned_reports import NOW

ADDRESS = "dmarc@vendor.example"


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/history.db"


@pytest.fixture
def suppressions(store):
    return Suppressions(store)


def refuse(suppressions, organization="a.example", now=NOW, *, at_rcpt=True):
    return suppressions.add_refusal(organization, ADDRESS, now, "550 no", at_rcpt=at_rcpt)


@pytest.mark.parametrize(("at_rcpt", "seconds"), [(True, FIRST_SECONDS), (False, DAY_SECONDS)])
def test_a_refusal_suppresses_reports_about_one_organization(suppressions, at_rcpt, seconds):
    assert refuse(suppressions, at_rcpt=at_rcpt) == NOW + seconds
    assert suppressions.get("a.example", ADDRESS, NOW).detail == "550 no"
    assert suppressions.get("a.example", ADDRESS, NOW + seconds) is None
    assert suppressions.get("b.example", ADDRESS, NOW) is None
    assert suppressions.get("a.example", "other@vendor.example", NOW) is None


def test_each_further_refusal_doubles_the_time_up_to_the_longest(suppressions):
    lengths, now = [], NOW
    for _ in range(20):
        until = refuse(suppressions, now=now)
        lengths.append(until - now)
        now = until
    assert lengths[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert lengths[-1] == LONGEST_SECONDS


def test_quiet_time_makes_refusals_count_less(suppressions):
    until = refuse(suppressions, now=refuse(suppressions))
    length = 2 * FIRST_SECONDS
    assert refuse(suppressions, now=until + 2 * length) == until + 2 * length + FIRST_SECONDS


def test_refusals_at_rcpt_for_many_organizations_suppress_the_address(suppressions):
    for number in range(REFUSING_ORGANIZATIONS):
        assert suppressions.get("other.example", ADDRESS, NOW) is None
        refuse(suppressions, f"o{number}.example")
    whole = suppressions.get("other.example", ADDRESS, NOW)
    assert (whole.organization, whole.failures) == ("", REFUSING_ORGANIZATIONS)
    assert suppressions.all(NOW)[0] == whole
    suppressions.record_acceptance(ADDRESS)
    assert suppressions.get("other.example", ADDRESS, NOW) is None


def test_refused_messages_and_bounces_never_suppress_the_address(suppressions):
    for number in range(2 * REFUSING_ORGANIZATIONS):
        refuse(suppressions, f"o{number}.example", at_rcpt=False)
        suppressions.add_bounce(f"p{number}.example", ADDRESS, NOW)
    assert suppressions.get("other.example", ADDRESS, NOW) is None
    assert len(suppressions.all(NOW)) == 4 * REFUSING_ORGANIZATIONS


def test_removal(suppressions):
    refuse(suppressions)
    refuse(suppressions, "b.example")
    assert suppressions.remove(ADDRESS)
    assert suppressions.all(NOW) == []
    assert not suppressions.remove(ADDRESS)


def test_suppressions_of_a_wrong_clock_do_not_count_and_are_deleted(suppressions, store):
    refuse(suppressions, now=NOW + LATEST_SECONDS)
    assert suppressions.get("a.example", ADDRESS, NOW) is None
    suppressions.prune(NOW)
    assert store.query("SELECT * FROM report_suppressions") == []


def test_an_unknown_token_bounces_nothing(suppressions, store):
    assert record_bounce(Deliveries(store), suppressions, "unknown", NOW) == ""
    assert suppressions.all(NOW) == []
