"""Which days are due: no gaps, no overlap, nothing twice."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.history.day_number import date_of_number
from dmarcmilter.reports.aggregate.planning import CATCH_UP_DAYS, LATE_DAYS, due_days, reason_not_plannable

NOW = datetime(2027, 1, 20, 3, 0, tzinfo=UTC)


def at(day, hour=3):
    return datetime(2027, 1, day, hour, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("known", "now", "due"),
    [
        pytest.param({}, at(20), [19], id="the first run reports yesterday"),
        pytest.param({}, at(20, hour=0), [18], id="yesterday is not yet settled"),
        pytest.param({20270118: 20270119}, at(20), [18, 19], id="yesterday, and the day before for what came late"),
        pytest.param({20270118: 20270120, 20270119: 20270120}, at(20), [], id="the second run of a day has nothing"),
        pytest.param({20270115: 20270116}, at(20), [15, 16, 17, 18, 19], id="days without runs are made up for"),
        pytest.param(
            {20270100 + day: 20270101 + day for day in range(1, 19)},
            at(20),
            [13, 14, 15, 16, 17, 18, 19],
            id="no day is looked at for longer than a week",
        ),
    ],
)  # fmt: skip
def test_due_days(known, now, due):
    # AGG-24
    assert due_days(known, now) == [date(2027, 1, day) for day in due]


def test_a_long_pause_is_made_up_for_only_in_part():
    due = due_days({20250101: 20250102}, NOW)
    assert len(due) == CATCH_UP_DAYS
    assert due[-1] == date(2027, 1, 19)


@given(st.lists(st.integers(min_value=1, max_value=200), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_no_day_is_left_out(pauses):
    """Whenever the timer fires, as long as no pause is longer than what is made up for."""
    known, now = {}, NOW
    for hours in pauses:
        for day in due_days(known, now):
            known[day.year * 10000 + day.month * 100 + day.day] = int(f"{now:%Y%m%d}")
        now += timedelta(hours=hours)
    days = sorted(date_of_number(day) for day in known)
    assert days == [days[0] + timedelta(days=n) for n in range(len(days))]


@pytest.mark.parametrize(
    ("day", "problem"),
    [
        (date(2027, 1, 19), ""),
        (date(2027, 1, 20), "has not ended"),
        (date(2027, 1, 14), ""),
        (date(2027, 1, 13), "too long ago"),
        (date(2027, 1, 12), ""),
    ],
)
def test_days_that_are_asked_for(day, problem):
    known = {20270114: 20270115, 20270113: 20270114}
    assert problem in reason_not_plannable(day, known, NOW)
    assert bool(problem) == bool(reason_not_plannable(day, known, NOW))
    assert LATE_DAYS == 7
