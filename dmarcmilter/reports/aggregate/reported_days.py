"""Table report_days: the days that were planned, when, and how many outcomes each had then."""

from datetime import date

from dmarcmilter.history.day_number import day_number
from dmarcmilter.history.store import Store

NEVER, PARTLY = -1, -2
"""Stored instead of a number of outcomes: the day was not planned, or only some of its domains were."""

_SET = """
    INSERT INTO report_days (day, examined, outcomes) VALUES (:day, :today, :outcomes)
    ON CONFLICT (day) DO UPDATE SET examined = excluded.examined, outcomes = excluded.outcomes"""
_RECENT = """
    SELECT d.day, count(r.id) AS reports, coalesce(sum(r.messages), 0) AS messages
    FROM report_days d LEFT JOIN reports r ON r.day = d.day AND r.kind = 'aggregate'
    GROUP BY d.day ORDER BY d.day DESC LIMIT :limit"""


class ReportedDays:
    """The days whose aggregate reports were planned. Each method is one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def planned(self) -> dict[int, int]:
        """Each planned day, and the day on which it was last planned (both YYYYMMDD)."""
        return {row.day: row.examined for row in self._store.query("SELECT day, examined FROM report_days")}

    def outcomes_when_planned(self, day: date) -> int:
        """The number of outcomes that the day had when it was last planned; NEVER or PARTLY if not planned whole."""
        planned = self._store.query("SELECT outcomes FROM report_days WHERE day = :day", day=day_number(day))
        return int(planned[0].outcomes) if planned else NEVER

    def set_planned(self, day: date, today: date, outcomes: int) -> None:
        """Record that `day` was planned `today`, when it had this number of outcomes (or NEVER or PARTLY)."""
        self._store.change(_SET, day=day_number(day), today=day_number(today), outcomes=outcomes)

    def recent(self, limit: int = 7) -> list[tuple[int, int, int]]:
        """Day, number of reports and number of messages of the newest days, newest first."""
        return [(row.day, row.reports, int(row.messages)) for row in self._store.query(_RECENT, limit=limit)]
