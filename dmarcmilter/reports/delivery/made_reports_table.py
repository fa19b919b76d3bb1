"""Tables reports and report_sources: every report that was made, its content, and what it counts.

A report is recorded before anything of it is sent, so that a run that ends at any instruction is continued by the next
one. docs/dev/schema.md explains the tables; history/migrations.py creates them.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from itertools import islice
from typing import Any, TypedDict

from dmarcmilter.config.schema import ReportFormat
from dmarcmilter.history.day_number import date_of_number, day_number
from dmarcmilter.history.store import DatabaseConnection, Store, execute_many, rows
from dmarcmilter.reports.aggregate import withheld_reports
from dmarcmilter.reports.aggregate.day_outcomes import VerdictSource
from dmarcmilter.reports.aggregate.grouping import period
from dmarcmilter.reports.aggregate.mail_message import Attachment
from dmarcmilter.reports.delivery import deliveries_table
from dmarcmilter.reports.delivery.deliveries_table import CLOCK_SKEW_SECONDS, ReportKind
from dmarcmilter.value import Value

SOURCES_AT_ONCE = 1000
"""Rows of report_sources inserted by one statement."""


class PlannedReport(Value):
    """An aggregate report to be recorded."""

    attachment: Attachment
    organization: str
    """The Organizational Domain of the policy domain."""
    day: date
    digest: str
    """Digest of the policy configuration: grouping.Configuration.digest."""
    supplement: int
    """0 for the first report of a day and policy domain; further ones count what arrived later."""
    record: str
    sources: Mapping[VerdictSource, int]
    """Messages by verdict and client address."""
    uris: tuple[str, ...]
    has_pass: bool
    """Whether some of its messages passed DMARC."""


class PlannedFailureReport(Value):
    """A failure report to be recorded."""

    report_id: str
    domain: str
    """The policy domain."""
    organization: str
    day: date
    digest: str
    """The kind of incident: failure.kind."""
    report_format: ReportFormat
    submitter: str
    incidents: int
    record: str
    content: bytes
    """The message without To and Date."""
    uris: tuple[str, ...]


class FailureReportLine(Value):
    """A failure report and one of its destinations, as `report failures show` lists them."""

    id: str
    created: int
    """Seconds since 1970."""
    domain: str
    incidents: int
    target: str
    """Address, or URI if not yet verified."""
    state: str


_INSERT_REPORT = """
    INSERT INTO reports
        (report_id, kind, day, domain, organization, digest, supplement, shape, submitter, messages, record, content,
         created)
    VALUES
        (:report_id, :kind, :day, :domain, :organization, :digest, :supplement, :shape, :submitter, :messages, :record,
         :content, :created)
    RETURNING id"""
_INSERT_SOURCE = """
    INSERT INTO report_sources (report, verdict_id, ip, messages) VALUES (:report, :verdict_id, :ip, :messages)"""
_COUNT = "SELECT count(*) AS n FROM reports WHERE day = :day AND domain = :domain AND kind = 'aggregate'"
_COUNT_OF_DIGEST = "SELECT count(*) AS n FROM reports WHERE day = :day AND digest = :digest"
_COUNT_BY_ORGANIZATION = """
    SELECT organization, count(*) AS n FROM reports WHERE day = :day AND kind = 'aggregate' GROUP BY organization"""
_DOMAINS = "SELECT DISTINCT domain FROM reports WHERE day = :day AND kind = 'aggregate'"
_FAILURES = "SELECT domain, digest FROM reports WHERE created > :then AND created <= :now AND kind = 'failure'"
_ATTACHMENT = """
    SELECT report_id, day, domain, shape, submitter, messages, content FROM reports
    WHERE id = :id AND content IS NOT NULL"""
_CONTENT = "SELECT content FROM reports WHERE id = :id AND content IS NOT NULL"
_FAILURE_CONTENT = """
    SELECT content FROM reports WHERE report_id = :report_id AND kind = 'failure' AND content IS NOT NULL"""
_FAILURE_LINES = """
    SELECT r.report_id AS id, r.created, r.domain, r.messages AS incidents, coalesce(d.address, d.uri) AS target,
        d.state
    FROM reports r JOIN report_deliveries d ON d.report = r.id
    WHERE r.kind = 'failure' ORDER BY r.id DESC, d.id LIMIT :limit"""


class ReportLedger:
    """The reports that were made. Each method is one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, planned: PlannedReport, now: int) -> None:
        """Record an aggregate report with its sources and deliveries: all of it or nothing."""
        attachment = planned.attachment
        values = {
            "report_id": attachment.report_id,
            "kind": str(ReportKind.AGGREGATE),
            "day": day_number(planned.day),
            "domain": attachment.domain,
            "organization": planned.organization,
            "digest": planned.digest,
            "supplement": planned.supplement,
            "shape": str(attachment.report_format),
            "submitter": attachment.submitter,
            "messages": attachment.messages,
            "record": planned.record,
            "content": attachment.content,
            "created": now,
        }
        with self._store.writing() as connection:
            report = _insert_report(connection, values)
            deliveries_table.insert_unverified(connection, report, planned.uris, now)
            for sources in _batches(planned.sources, report):
                execute_many(connection, _INSERT_SOURCE, sources)
            if planned.has_pass:
                withheld_reports.record_pass(connection, attachment.domain, planned.day)

    def add_failure(self, planned: PlannedFailureReport, now: int) -> None:
        """Record a failure report with its deliveries: all of it or nothing."""
        day = day_number(planned.day)
        values = {
            "report_id": planned.report_id,
            "kind": str(ReportKind.FAILURE),
            "day": day,
            "domain": planned.domain,
            "organization": planned.organization,
            "digest": planned.digest,
            "shape": str(planned.report_format),
            "submitter": planned.submitter,
            "messages": planned.incidents,
            "record": planned.record,
            "content": planned.content,
            "created": now,
        }
        with self._store.writing() as connection:
            # (day, digest, supplement) is unique. Failure reports of one kind and day are numbered in `supplement`.
            supplement = rows(connection, _COUNT_OF_DIGEST, day=day, digest=planned.digest)[0].n
            report = _insert_report(connection, values | {"supplement": supplement})
            deliveries_table.insert_unverified(connection, report, planned.uris, now)

    def count(self, day: date, domain: str) -> int:
        """Number of aggregate reports made of this day and policy domain."""
        return int(self._store.query(_COUNT, day=day_number(day), domain=domain)[0].n)

    def counts_by_organization(self, day: date) -> dict[str, int]:
        """Number of aggregate reports made of this day, by organization."""
        return {row.organization: row.n for row in self._store.query(_COUNT_BY_ORGANIZATION, day=day_number(day))}

    def domains(self, day: date) -> set[str]:
        """Policy domains for which aggregate reports of this day were made."""
        return {row.domain for row in self._store.query(_DOMAINS, day=day_number(day))}

    def is_known(self, report_id: str) -> bool:
        return bool(self._store.query("SELECT id FROM reports WHERE report_id = :id", id=report_id))

    def failures_since(self, then: int, now: int) -> list[tuple[str, str]]:
        """Policy domain and digest of the failure reports that were made."""
        made = self._store.query(_FAILURES, then=then, now=now + CLOCK_SKEW_SECONDS)
        return [(row.domain, row.digest) for row in made]

    def attachment(self, report: int) -> Attachment | None:
        """An aggregate report as it was composed; None if its content is no longer kept."""
        reports = self._store.query(_ATTACHMENT, id=report)
        return _attachment(reports[0]) if reports else None

    def failure_message(self, report: int) -> bytes | None:
        """The message of a failure report without To and Date; None if it is no longer kept."""
        reports = self._store.query(_CONTENT, id=report)
        return bytes(reports[0].content) if reports else None

    def failure_message_of(self, report_id: str) -> bytes | None:
        """The same by the report's public id; None also if there is no such report."""
        reports = self._store.query(_FAILURE_CONTENT, report_id=report_id)
        return bytes(reports[0].content) if reports else None

    def failure_lines(self, limit: int) -> list[FailureReportLine]:
        """One line for each destination of a failure report, newest report first."""
        return [FailureReportLine(**row._asdict()) for row in self._store.query(_FAILURE_LINES, limit=limit)]


def _insert_report(connection: DatabaseConnection, values: Mapping[str, Any]) -> int:
    report: int = rows(connection, _INSERT_REPORT, **values)[0].id
    return report


class _SourceRow(TypedDict):
    """A row of report_sources."""

    report: int
    verdict_id: int
    ip: str
    messages: int


def _batches(sources: Mapping[VerdictSource, int], report: int) -> Iterator[list[_SourceRow]]:
    """Rows of report_sources, SOURCES_AT_ONCE at a time."""
    remaining = iter(sources.items())
    while batch := [
        _SourceRow(report=report, verdict_id=verdict, ip=ip, messages=messages)
        for (verdict, ip), messages in islice(remaining, SOURCES_AT_ONCE)
    ]:
        yield batch


def _attachment(row: Any) -> Attachment:
    begin, end = period(date_of_number(row.day))
    return Attachment(
        report_id=row.report_id,
        domain=row.domain,
        begin=begin,
        end=end,
        report_format=ReportFormat(row.shape),
        submitter=row.submitter,
        content=bytes(row.content),
        messages=row.messages,
    )
