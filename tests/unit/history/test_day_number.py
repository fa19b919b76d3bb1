"""Days as numbers, as the database holds them."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmarcmilter.history.day_number import date_of_number, day_number


@given(st.dates(), st.dates())
def test_numbers_are_read_back_and_sort_as_days(day, other):
    assert date_of_number(day_number(day)) == day
    assert (day < other) == (day_number(day) < day_number(other))


def test_the_form():
    assert day_number(date(2026, 11, 28)) == 20261128


@pytest.mark.parametrize("number", [0, 20260230, 20261301, 20260100])
def test_no_day(number):
    with pytest.raises(ValueError, match=r"out of range|must be in"):
        date_of_number(number)
