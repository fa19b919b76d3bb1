"""Reports withheld until some mail of their domain passes."""

from datetime import date, timedelta

import pytest

from dmarcmilter.reports.aggregate import withheld_reports
from dmarcmilter.reports.aggregate.withheld_reports import WithheldReports

DAY = date(2027, 1, 16)
WEEK = timedelta(days=7)


@pytest.fixture
def withheld(store):
    return WithheldReports(store)


@pytest.fixture
def record_pass(store):
    def record(domain, day):
        with store.writing() as connection:
            withheld_reports.record_pass(connection, domain, day)

    return record


def test_withheld_once_however_often_planned(withheld):
    for _ in range(2):
        withheld.add("a.example", DAY)
    withheld.add("b.example", DAY + timedelta(days=1))
    assert withheld.domains(DAY) == {"a.example"}


def test_released_when_mail_passed_within_the_window(withheld, record_pass):
    for name in ("old.example", "new.example", "never.example", "later.example"):
        withheld.add(name, DAY)
    record_pass("old.example", DAY - timedelta(days=8))
    record_pass("new.example", DAY - WEEK)
    record_pass("later.example", DAY + timedelta(days=3))
    record_pass("unknown.example", DAY)
    assert withheld.released(DAY, WEEK) == ["later.example", "new.example"]


def test_an_earlier_pass_does_not_replace_a_later_one(withheld, record_pass):
    record_pass("a.example", DAY)
    record_pass("a.example", DAY - WEEK)
    assert withheld.passed_since("a.example", DAY)
    assert not withheld.passed_since("a.example", DAY + timedelta(days=1))
    assert not withheld.passed_since("b.example", DAY - WEEK)


def test_a_report_that_was_made_is_no_longer_withheld(withheld, record_pass):
    record_pass("a.example", DAY)
    for day in (DAY, DAY + timedelta(days=1)):
        withheld.add("a.example", day)
    withheld.remove("a.example", DAY)
    assert withheld.released(DAY, WEEK) == []
    assert withheld.domains(DAY + timedelta(days=1)) == {"a.example"}
