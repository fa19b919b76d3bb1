"""What is remembered of reports, as values, and SQL on the tables of reports for those who remember it."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from dmarcmilter.config.schema import ReportFormat
from dmarcmilter.history.store import Store, execute, rows
from dmarcmilter.reports.aggregate.day_outcomes import Source
from dmarcmilter.reports.aggregate.mail_message import Attachment


class Kind(StrEnum):
    """Of a report."""

    AGGREGATE = "aggregate"
    FAILURE = "failure"


class State(StrEnum):
    """Of the delivery of one report to one address."""

    UNVERIFIED = "unverified"
    """Not yet known whether the destination wants it."""
    PENDING = "pending"
    SENDING = "sending"
    """The message is on its way, or the run ended while it was."""
    SENT = "sent"
    UNCERTAIN = "uncertain"
    """The run or the connection ended while the message was on its way: it may have arrived, and is not sent again."""
    REFUSED = "refused"
    """Not sent: the destination did not agree or is excluded, or the report is no longer kept."""
    FAILED = "failed"
    """The destination's server said no, or no answer came for days."""
    BOUNCED = "bounced"


@dataclass(frozen=True, slots=True)
class Planned:
    """A report as it is laid down before anything is sent."""

    attachment: Attachment
    organization: str
    """The Organizational Domain of the policy domain."""
    day: date
    digest: str
    supplement: int
    record: str
    sources: dict[Source, int]
    uris: tuple[str, ...]
    has_pass: bool
    """Some of its messages passed, so that the domain is known as somebody's."""


@dataclass(frozen=True, slots=True)
class PlannedFailure:
    """The same of a failure report."""

    report_id: str
    domain: str
    """The policy domain."""
    organization: str
    day: date
    digest: str
    """Of its kind: failure.kind."""
    shape: ReportFormat
    submitter: str
    incidents: int
    record: str
    content: bytes
    """The message but for To and Date."""
    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    id: int
    report: int
    kind: Kind
    domain: str
    organization: str
    record: str
    shape: ReportFormat
    uri: str
    address: str
    attempts: int
    token: str
    created: int
    """Of the report."""


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery whose time has come."""

    id: int
    organization: str
    """Of the policy domain."""
    state: State
    rank: int
    """Within a turn: 0, 1 for a newcomer (no report about the policy domain was made before the last day), and 2 more
    for what was tried before.
    """


class Book:
    """SQL on the tables of reports."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def _all(self, sql: str, **values: Any) -> list[Any]:
        with self._store.reading() as connection:
            return rows(connection, sql, **values)

    def _change(self, sql: str, **values: Any) -> int:
        """Number of rows changed."""
        with self._store.writing() as connection:
            return execute(connection, sql, **values)
