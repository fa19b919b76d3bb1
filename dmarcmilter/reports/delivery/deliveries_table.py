"""Table report_deliveries: one row for each report and each destination that it goes to."""

import secrets
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from dmarcmilter.config.schema import ReportFormat
from dmarcmilter.history.store import DatabaseConnection, Store, execute, rows, stream
from dmarcmilter.value import Value

DAY_SECONDS = 86_400
TOKEN_BYTES = 8
"""Bytes of the random token in a bounce address. Not guessable: a bounce suppresses reports to an address."""
MAX_DUE = 50_000
"""Deliveries considered in one run. Further ones wait for the next run."""
HORIZON_SECONDS = 2 * DAY_SECONDS
"""Longest time that a delivery waits, in seconds. One that is due later was postponed under a wrong clock, and is due
now.
"""
CLOCK_SKEW_SECONDS = 3600
"""Seconds that the clock of another machine may be ahead. A time further ahead was written by a wrong clock."""
BOUNCE_WITHIN_SECONDS = 10 * DAY_SECONDS
"""Seconds after sending in which a bounce counts. Mail is tried for five days (RFC 5321 4.5.4.1)."""
MAX_PROBLEMS = 20
"""Deliveries that did not succeed, as `report status` shows them; older ones are left out."""
MAX_DETAIL = 300
"""Characters kept of another server's reply."""


class ReportKind(StrEnum):
    """Kind of report; the value is what the column `kind` holds."""

    AGGREGATE = "aggregate"
    FAILURE = "failure"


class DeliveryState(StrEnum):
    """State of the delivery of one report to one destination."""

    UNVERIFIED = "unverified"
    """It is not yet known whether the destination wants the report."""
    PENDING = "pending"
    SENDING = "sending"
    """The message is being handed over, or the run ended while it was."""
    SENT = "sent"
    UNCERTAIN = "uncertain"
    """The run or the connection ended during the hand-over. The message may have arrived, so it is not sent again."""
    REFUSED = "refused"
    """Not sent: the destination did not agree or is excluded, or the report is no longer kept."""
    FAILED = "failed"
    """The destination's server refused the message, or did not accept it for days."""
    BOUNCED = "bounced"


class Delivery(Value):
    """One row of the table, with the columns of its report that sending needs."""

    id: int
    report: int
    """The id of the report."""
    kind: ReportKind
    domain: str
    """The policy domain."""
    organization: str
    """The Organizational Domain of the policy domain."""
    record: str
    """The DMARC record as published."""
    report_format: ReportFormat
    uri: str
    address: str
    """Empty until the destination is verified."""
    attempts: int
    token: str
    created: int
    """When the report was made, in seconds since 1970."""


class DueDelivery(Value):
    """A delivery that may be tried now."""

    id: int
    organization: str
    """The Organizational Domain of the policy domain."""
    state: DeliveryState
    rank: int
    """Order within a turn: 0 for a known policy domain, 1 for a new one (no report about it is older than a day); 2 is
    added when an earlier attempt failed.
    """


class DeliveryProblem(Value):
    """A delivery that did not succeed, as `report status` shows it."""

    domain: str
    """The policy domain."""
    target: str
    """Address, or URI if not yet verified."""
    state: str
    detail: str


# Reports of versions without the column have an empty organization; the policy domain is used instead.
_ORGANIZATION = "CASE WHEN r.organization = '' THEN r.domain ELSE r.organization END"
_INSERT = """
    INSERT INTO report_deliveries (report, uri, address, state, attempts, due, token, changed, detail)
    VALUES (:report, :uri, :address, :state, 0, :now, :token, :now, '') RETURNING id"""
_SELECT = f"""
    SELECT d.id, d.report, r.kind, r.domain, {_ORGANIZATION} AS organization, r.record, r.shape AS report_format, d.uri,
        d.address, d.attempts, d.token, r.created
    FROM report_deliveries d JOIN reports r ON r.id = d.report"""  # noqa: S608  constants
_DUE = f"""
    SELECT q.id, q.organization, q.state, q.attempts,
        CASE WHEN EXISTS (SELECT 1 FROM reports o WHERE o.domain = q.domain AND o.created < :before) THEN 1 ELSE 0 END
        AS known
    FROM (
        SELECT d.id AS id, d.state AS state, d.attempts AS attempts, r.domain AS domain,
            {_ORGANIZATION} AS organization,
            row_number() OVER (PARTITION BY {_ORGANIZATION} ORDER BY d.id) AS place
        FROM report_deliveries d JOIN reports r ON r.id = d.report
        WHERE d.state IN ('unverified', 'pending') AND (d.due <= :now OR d.due > :horizon) AND r.kind = :kind
    ) q WHERE q.place <= :places ORDER BY q.place, q.id LIMIT :limit"""  # noqa: S608
_SENT = f"""
    SELECT {_ORGANIZATION} AS organization, d.address FROM report_deliveries d JOIN reports r ON r.id = d.report
    WHERE d.changed > :then AND d.changed <= :now AND d.state IN ('sending', 'sent', 'uncertain', 'bounced')
    AND r.kind = :kind"""  # noqa: S608
_TRIED = f"""
    SELECT {_ORGANIZATION} AS organization, count(*) AS n FROM report_deliveries d JOIN reports r ON r.id = d.report
    WHERE d.changed > :then AND d.changed <= :now AND r.kind = :kind
    AND (d.state IN ('unverified', 'pending') AND d.attempts > 0 OR d.state = 'failed')
    GROUP BY {_ORGANIZATION}"""  # noqa: S608
_SET_STATE = "UPDATE report_deliveries SET state = :state, changed = :now, detail = :detail WHERE id = :id"
_POSTPONE = """
    UPDATE report_deliveries SET state = :state, attempts = attempts + 1, due = :due, changed = :now, detail = :detail
    WHERE id = :id"""
_WAIT = "UPDATE report_deliveries SET due = :due, changed = :now, detail = :detail WHERE id = :id"
_END_WAITING = "UPDATE report_deliveries SET due = :now WHERE address = :address AND state = 'pending'"
_GIVE_UP = """
    UPDATE report_deliveries SET state = 'failed', changed = :now,
        detail = substr('given up: it waited too long; ' || detail, 1, :length)
    WHERE state IN ('unverified', 'pending') AND report IN (SELECT id FROM reports WHERE created < :then)"""
_MARK_INTERRUPTED = """
    UPDATE report_deliveries SET state = 'uncertain', changed = :now,
        detail = 'the run ended while the message was on its way'
    WHERE state = 'sending'"""
_RESEND_UNCERTAIN = """
    UPDATE report_deliveries SET state = 'pending', due = :now, changed = :now WHERE state = 'uncertain'"""
# The time stays that of sending, which counts for the limits.
_MARK_BOUNCED = """
    UPDATE report_deliveries SET state = 'bounced', detail = 'a bounce came back'
    WHERE token = :token AND state IN ('sending', 'sent', 'uncertain') AND changed > :then"""
_COUNTS = """
    SELECT d.state, count(*) AS n FROM report_deliveries d JOIN reports r ON r.id = d.report
    WHERE r.kind = :kind GROUP BY d.state"""
_PROBLEMS = """
    SELECT r.domain, coalesce(d.address, d.uri) AS target, d.state, d.detail
    FROM report_deliveries d JOIN reports r ON r.id = d.report
    WHERE d.detail <> '' AND d.state <> 'sent' ORDER BY d.changed DESC, d.id DESC LIMIT :limit"""


def insert_unverified(connection: DatabaseConnection, report: int, uris: Iterable[str], now: int) -> None:
    """Add a delivery for each URI of a new report, in the transaction that adds the report."""
    for uri in uris:
        _insert(connection, report, uri, DeliveryState.UNVERIFIED, now, address=None)


def _insert(
    connection: DatabaseConnection, report: int, uri: str, state: DeliveryState, now: int, *, address: str | None
) -> int:
    token = secrets.token_hex(TOKEN_BYTES)
    values = {"report": report, "uri": uri, "address": address, "state": str(state), "now": now, "token": token}
    inserted: int = rows(connection, _INSERT, **values)[0].id
    return inserted


class Deliveries:
    """The deliveries of all reports. Each method is one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def due(self, kind: ReportKind, now: int, places: int) -> list[DueDelivery]:
        """Deliveries that may be tried now, at most `places` for each organization.

        The first of each organization come first, then the second ones, and so on; the oldest first among equals.
        """
        due = self._store.query(
            _DUE,
            kind=str(kind),
            now=now,
            horizon=now + HORIZON_SECONDS,
            before=now - DAY_SECONDS,
            places=places,
            limit=MAX_DUE,
        )
        return [
            DueDelivery(row.id, row.organization, DeliveryState(row.state), (not row.known) + 2 * (row.attempts > 0))
            for row in due
        ]

    def get(self, identifier: int) -> Delivery | None:
        """One delivery; None if it no longer exists."""
        deliveries = self._store.query(f"{_SELECT} WHERE d.id = :id", id=identifier)
        return _delivery(deliveries[0]) if deliveries else None

    def replace_by_addresses(self, delivery: Delivery, addresses: Iterable[str], now: int) -> list[int]:
        """Replace a verified delivery by one for each of its addresses, and return their ids.

        An address that appears in two URIs of a report gets one copy.
        """
        with self._store.writing() as connection:
            sql = "SELECT address FROM report_deliveries WHERE report = :id AND address IS NOT NULL"
            known = {row.address for row in rows(connection, sql, id=delivery.report)}
            new = [address for address in addresses if address not in known]
            execute(connection, "DELETE FROM report_deliveries WHERE id = :id", id=delivery.id)
            return [
                _insert(connection, delivery.report, delivery.uri, DeliveryState.PENDING, now, address=address)
                for address in new
            ]

    def set_state(self, delivery: Delivery, state: DeliveryState, now: int, detail: str = "") -> None:
        self._store.change(_SET_STATE, id=delivery.id, state=str(state), now=now, detail=detail[:MAX_DETAIL])

    def is_sending(self, delivery: Delivery) -> bool:
        """Whether the hand-over of the message had begun, so that it may have arrived."""
        states = self._store.query("SELECT state FROM report_deliveries WHERE id = :id", id=delivery.id)
        return bool(states) and states[0].state == DeliveryState.SENDING

    def postpone(self, delivery: Delivery, state: DeliveryState, due: int, now: int, detail: str) -> None:
        """Count a failed attempt, and try again at `due`."""
        values = {"state": str(state), "due": due, "now": now, "detail": detail[:MAX_DETAIL]}
        self._store.change(_POSTPONE, id=delivery.id, **values)

    def wait(self, delivery: Delivery, due: int, now: int, detail: str) -> None:
        """Try again at `due`, without counting an attempt."""
        self._store.change(_WAIT, id=delivery.id, due=due, now=now, detail=detail[:MAX_DETAIL])

    def end_waiting(self, address: str, now: int) -> int:
        """Make what waits for this address due now; returns the number of deliveries."""
        return self._store.change(_END_WAITING, address=address, now=now)

    def give_up(self, created_before: int, now: int) -> int:
        """Fail what still waits of reports made before this time; returns the number of deliveries."""
        return self._store.change(_GIVE_UP, then=created_before, now=now, length=MAX_DETAIL)

    def mark_interrupted(self, now: int) -> int:
        """Mark as uncertain what a crashed run was sending; returns the number of deliveries."""
        return self._store.change(_MARK_INTERRUPTED, now=now)

    def resend_uncertain(self, now: int) -> int:
        """Send again what may or may not have arrived; returns the number of deliveries."""
        return self._store.change(_RESEND_UNCERTAIN, now=now)

    def sent_since(self, kind: ReportKind, then: int, now: int) -> list[tuple[str, str, int]]:
        """Organization of the policy domain, domain of the address, and how many reports were sent."""
        counts: Counter[tuple[str, str]] = Counter()
        with self._store.reading() as connection:
            for row in stream(connection, _SENT, then=then, now=now + CLOCK_SKEW_SECONDS, kind=str(kind)):
                counts[row.organization, row.address.rpartition("@")[2]] += 1
        return [(organization, host, count) for (organization, host), count in counts.items()]

    def failed_attempts_since(self, kind: ReportKind, then: int, now: int) -> dict[str, int]:
        """By organization: deliveries that failed, or failed for now and wait for another attempt."""
        counts = self._store.query(_TRIED, then=then, now=now + CLOCK_SKEW_SECONDS, kind=str(kind))
        return {row.organization: int(row.n) for row in counts}

    def mark_bounced(self, token: str, now: int) -> tuple[Delivery | None, bool]:
        """Mark the delivery with this token as bounced, and return it and whether the bounce counts.

        It does not count if an earlier one did, or if the message was sent too long ago.
        """
        deliveries = self._store.query(f"{_SELECT} WHERE d.token = :token AND d.address IS NOT NULL", token=token)
        if not deliveries:
            return None, False
        counts = self._store.change(_MARK_BOUNCED, token=token, then=now - BOUNCE_WITHIN_SECONDS)
        return _delivery(deliveries[0]), counts > 0

    def counts(self, kind: ReportKind = ReportKind.AGGREGATE) -> dict[str, int]:
        """Number of deliveries by state."""
        return {row.state: row.n for row in self._store.query(_COUNTS, kind=str(kind))}

    def problems(self) -> list[DeliveryProblem]:
        """Deliveries that did not succeed, latest first, MAX_PROBLEMS at most."""
        return [DeliveryProblem(**row._asdict()) for row in self._store.query(_PROBLEMS, limit=MAX_PROBLEMS)]


def _delivery(row: Any) -> Delivery:
    values = row._asdict()
    typed = {
        "kind": ReportKind(row.kind),
        "report_format": ReportFormat(row.report_format),
        "address": row.address or "",
    }
    return Delivery(**values | typed)
