"""Dates and times as command options: one parser, so that every option accepts the same forms."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click

UNITS = {"h": "hours", "d": "days", "w": "weeks"}
FORMS = "12h, 7d, 2w, 2026-01-31 or 2026-01-31T12:00 (UTC)"
"""The forms of a time, for help and errors."""
LONGEST = timedelta(days=3653)
"""Oldest time accepted, about ten years ago: `stats` shows a line for each day. An older one is an error."""

_AGO = re.compile(r"([0-9]{1,5})([hdw])")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})?)?"
)


def parse(text: str, now: datetime) -> datetime | None:
    """Parse `12h`, `7d`, `2w` before now, a day, or an RFC 3339 time (UTC unless it has an offset), else None."""
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{UNITS[ago[2]]: int(ago[1])})
    if not _TIME.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class When(click.ParamType[datetime]):
    """A time at most ten years ago."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        now = datetime.now(UTC)
        moment = parse(str(value).strip(), now)
        if moment is None or now - moment > LONGEST:
            self.fail(f"{value!r} is none of {FORMS}, or longer ago than ten years", param, ctx)
        return moment


class Day(click.ParamType[date]):
    """The UTC day of a time."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        return value if type(value) is date else When().convert(value, param, ctx).date()


class Days(click.ParamType[int]):
    """A number of whole UTC days before today; also as a time in any other form."""

    name = "days"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip()
        if re.fullmatch(r"[0-9]{1,5}", text):
            return int(text)
        now = datetime.now(UTC)
        moment = parse(text, now)
        if moment is None or moment > now:
            self.fail(f"{value!r} is neither a number of days nor one of {FORMS} in the past", param, ctx)
        return (now.date() - moment.date()).days
