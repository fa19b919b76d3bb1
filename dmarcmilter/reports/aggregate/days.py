"""Which days were reported, when they were last looked at, and what of them is to be looked at again."""

from datetime import date, timedelta

from dmarcmilter.reports.aggregate.day_outcomes import date_of, number
from dmarcmilter.reports.delivery.report_tables import Book

SAW_PASS = """
    INSERT INTO report_domains (domain, passed_day) VALUES (:domain, :day) ON CONFLICT (domain) DO UPDATE
    SET passed_day = excluded.passed_day WHERE report_domains.passed_day < excluded.passed_day"""
"""The last day of which some mail of that domain passed."""


NEVER, PARTLY = -1, -2
"""In place of the number of outcomes of a day: it was not planned, or not all of it was."""


class Days(Book):
    def days(self) -> dict[int, int]:
        """Days that were planned, and the day on which each was last looked at."""
        return {row.day: row.examined for row in self._all("SELECT day, examined FROM report_days")}

    def outcomes(self, day: date) -> int:
        """How many the store holds of this day now."""
        return int(self._all("SELECT count(*) AS n FROM outcomes WHERE day = :day", day=number(day))[0].n)

    def newest(self) -> date | None:
        """The last day of which the store holds outcomes."""
        found = self._all("SELECT max(day) AS day FROM outcomes")
        return None if found[0].day is None else date_of(found[0].day)

    def planned_of(self, day: date) -> int:
        """How many there were when the day was last looked at; NEVER; PARTLY: a run planned some of its domains."""
        found = self._all("SELECT outcomes FROM report_days WHERE day = :day", day=number(day))
        return int(found[0].outcomes) if found else NEVER

    def examined(self, day: date, today: date, outcomes: int) -> None:
        self._change(
            "INSERT INTO report_days (day, examined, outcomes) VALUES (:day, :today, :outcomes) "
            "ON CONFLICT (day) DO UPDATE SET examined = excluded.examined, outcomes = excluded.outcomes",
            day=number(day), today=number(today), outcomes=outcomes,
        )  # fmt: skip

    def planned_domains(self, day: date) -> set[str]:
        """Policy domains of which reports of that day were made or withheld."""
        sql = """SELECT domain FROM reports WHERE day = :day AND kind = 'aggregate'
            UNION SELECT domain FROM report_withheld WHERE day = :day"""
        return {row.domain for row in self._all(sql, day=number(day))}

    def made_of_organizations(self, day: date) -> dict[str, int]:
        """How many reports of that day were made, by organization."""
        sql = """SELECT organization, count(*) AS n FROM reports WHERE day = :day AND kind = 'aggregate'
            GROUP BY organization"""
        return {row.organization: row.n for row in self._all(sql, day=number(day))}

    def passed_since(self, domain: str, day: date) -> bool:
        found = self._all("SELECT passed_day FROM report_domains WHERE domain = :domain", domain=domain)
        return bool(found) and found[0].passed_day >= number(day)

    def withheld(self, domain: str, day: date) -> None:
        """For want of authenticated mail: some that comes later releases it."""
        sql = "INSERT INTO report_withheld (day, domain) VALUES (:day, :domain) ON CONFLICT (day, domain) DO NOTHING"
        self._change(sql, day=number(day), domain=domain)

    def released(self, day: date, window: timedelta) -> list[str]:
        """Policy domains whose reports of that day were withheld, and of which authenticated mail has come."""
        found = self._all(
            "SELECT w.domain FROM report_withheld w JOIN report_domains d ON d.domain = w.domain "
            "WHERE w.day = :day AND d.passed_day >= :since ORDER BY w.domain",
            day=number(day), since=number(day - window),
        )  # fmt: skip
        return [row.domain for row in found]

    def release(self, domain: str, day: date) -> None:
        sql = "DELETE FROM report_withheld WHERE day = :day AND domain = :domain"
        self._change(sql, day=number(day), domain=domain)
