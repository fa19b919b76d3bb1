"""Tables report_withheld and report_domains: reports withheld because no mail of the domain passed DMARC lately.

If no mail of a domain passes, it is probably only forged, or made up, and its owner learns nothing from a report. When
some mail of it passes later, the reports withheld for it are made.
"""

from datetime import date, timedelta

from dmarcmilter.history.day_number import day_number
from dmarcmilter.history.store import DatabaseConnection, Store, execute

_RECORD_PASS = """
    INSERT INTO report_domains (domain, passed_day) VALUES (:domain, :day) ON CONFLICT (domain) DO UPDATE
    SET passed_day = excluded.passed_day WHERE report_domains.passed_day < excluded.passed_day"""
_PASSED_DAY = "SELECT passed_day FROM report_domains WHERE domain = :domain"
_WITHHOLD = "INSERT INTO report_withheld (day, domain) VALUES (:day, :domain) ON CONFLICT (day, domain) DO NOTHING"
_DOMAINS = "SELECT domain FROM report_withheld WHERE day = :day"
_RELEASED = """
    SELECT w.domain FROM report_withheld w JOIN report_domains d ON d.domain = w.domain
    WHERE w.day = :day AND d.passed_day >= :since ORDER BY w.domain"""
_REMOVE = "DELETE FROM report_withheld WHERE day = :day AND domain = :domain"


def record_pass(connection: DatabaseConnection, domain: str, day: date) -> None:
    """Record that some mail of this policy domain passed on this day, in the transaction of its report."""
    execute(connection, _RECORD_PASS, domain=domain, day=day_number(day))


class WithheldReports:
    """Aggregate reports withheld until mail of their domain passes. Each method is one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def passed_since(self, domain: str, day: date) -> bool:
        """Whether some mail of this policy domain passed on this day or later."""
        passed = self._store.query(_PASSED_DAY, domain=domain)
        return bool(passed) and passed[0].passed_day >= day_number(day)

    def add(self, domain: str, day: date) -> None:
        self._store.change(_WITHHOLD, day=day_number(day), domain=domain)

    def domains(self, day: date) -> set[str]:
        """Policy domains whose reports of this day are withheld."""
        return {row.domain for row in self._store.query(_DOMAINS, day=day_number(day))}

    def released(self, day: date, window: timedelta) -> list[str]:
        """Policy domains with withheld reports of this day, of which some mail has passed since `day - window`."""
        released = self._store.query(_RELEASED, day=day_number(day), since=day_number(day - window))
        return [row.domain for row in released]

    def remove(self, domain: str, day: date) -> None:
        self._store.change(_REMOVE, day=day_number(day), domain=domain)
