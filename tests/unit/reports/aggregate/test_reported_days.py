"""Which days were planned, and how many outcomes they had then."""

from datetime import date

import pytest

from dmarcmilter.reports.aggregate.reported_days import NEVER, PARTLY, ReportedDays
from dmarcmilter.reports.delivery.made_reports_table import ReportLedger
from tests.support.planned_reports import DAY, NOW, aggregate, failure

TODAY = date(2027, 1, 17)


@pytest.fixture
def days(store):
    return ReportedDays(store)


def test_a_day_that_was_not_planned(days):
    assert days.outcomes_when_planned(DAY) == NEVER
    assert days.planned() == {}


def test_planning_again_replaces_what_is_known(days):
    days.set_planned(DAY, TODAY, PARTLY)
    assert days.outcomes_when_planned(DAY) == PARTLY
    days.set_planned(DAY, date(2027, 1, 18), 7)
    assert days.outcomes_when_planned(DAY) == 7
    assert days.planned() == {20270116: 20270118}


def test_recent_days_with_their_aggregate_reports_alone(days, store):
    for day in (14, 15, 16):
        days.set_planned(date(2027, 1, day), TODAY, 5)
    ledger = ReportLedger(store)
    ledger.add(aggregate(), NOW)
    ledger.add(aggregate("b.example"), NOW)
    ledger.add_failure(failure(), NOW)
    assert days.recent(2) == [(20270116, 2, 2), (20270115, 0, 0)]
