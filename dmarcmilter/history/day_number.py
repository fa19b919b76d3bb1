"""Days of UTC as numbers YYYYMMDD, as the columns `day` of the database hold them."""

from datetime import date


def day_number(day: date) -> int:
    """The number of a day: 20261128 for 2026-11-28."""
    return day.year * 10_000 + day.month * 100 + day.day


def date_of_number(number: int) -> date:
    """The day of such a number. ValueError if there is no such day."""
    return date(number // 10_000, number // 100 % 100, number % 100)
