"""What was planned, sent and refused: the memory of reports, in tables of their own beside the outcomes.

Every step is one transaction, so that a run that ends at any instruction is taken up by the next one where it was.
docs/reports.md explains the tables; history/schema.py makes them.
"""

import secrets
from collections import Counter
from collections.abc import Iterable
from datetime import date
from itertools import islice
from typing import Any

from dmarcmilter.config.schema import ReportFormat
from dmarcmilter.history.store import execute, execute_many, rows, stream
from dmarcmilter.reports.aggregate.day_outcomes import date_of, number
from dmarcmilter.reports.aggregate.days import SAW_PASS, Days
from dmarcmilter.reports.aggregate.grouping import period
from dmarcmilter.reports.aggregate.mail_message import Attachment
from dmarcmilter.reports.delivery.report_tables import Delivery, Due, Kind, Planned, PlannedFailure, State

DAY = 86_400
TOKEN_OCTETS = 8
"""Of what a bounce must know: with its guess anybody could end the reports to somebody else."""
SOURCES_AT_ONCE = 1000
"""Rows of report_sources written by one statement."""
MAX_DUE = 50_000
"""Deliveries considered in one run."""
HORIZON = 2 * DAY
"""Seconds. What is due later is due now: nothing is put off for so long, unless by a clock that was wrong."""
SKEW = 3600
"""Seconds that the clock of another machine may be ahead. Times beyond it are those of a clock that was wrong."""
BOUNCE_WITHIN = 10 * DAY
"""Seconds after a report within which a bounce counts: mail is tried for five days (RFC 5321 4.5.4.1)."""
MAX_DETAIL = 300
"""Characters of another server's words that are remembered."""


class Ledger(Days):
    """Days, domains, reports and their deliveries."""

    def reports_of(self, day: date, domain: str) -> int:
        """How many reports of this day and policy domain were made."""
        sql = "SELECT count(*) AS n FROM reports WHERE day = :day AND domain = :domain AND kind = 'aggregate'"
        return int(self._all(sql, day=number(day), domain=domain)[0].n)

    def keep(self, planned: Planned, now: int) -> None:
        """Report, what it counts, and where it is to go: all or nothing."""
        with self._store.writing() as connection:
            report = _insert_report(connection, _values(planned, now), planned.uris, now)
            counted = iter(planned.sources.items())
            while some := [
                {"report": report, "verdict": verdict, "ip": ip, "messages": count}
                for (verdict, ip), count in islice(counted, SOURCES_AT_ONCE)
            ]:
                execute_many(connection, _INSERT_SOURCE, some)
            if planned.has_pass:
                execute(connection, SAW_PASS, domain=planned.attachment.domain, day=number(planned.day))

    def keep_failure(self, planned: PlannedFailure, now: int) -> None:
        """All or nothing."""
        with self._store.writing() as connection:
            _insert_report(connection, _values_of_failure(connection, planned, now), planned.uris, now)

    def is_known(self, report_id: str) -> bool:
        return bool(self._all("SELECT id FROM reports WHERE report_id = :id", id=report_id))

    def failures_since(self, then: int, now: int) -> list[tuple[str, str]]:
        """Policy domain and kind of the failure reports that were made."""
        sql = "SELECT domain, digest FROM reports WHERE created > :then AND created <= :now AND kind = 'failure'"
        return [(row.domain, row.digest) for row in self._all(sql, then=then, now=now + SKEW)]

    def is_authenticated(self, domain: str) -> bool:
        """Some mail under this policy passed, as far back as the history goes."""
        sql = """SELECT v.id FROM verdicts v JOIN policies p ON p.id = v.policy_id
            WHERE p.domain = :domain AND v.dmarc_result = 'pass' LIMIT 1"""
        return bool(self._all(sql, domain=domain))

    def attachment(self, report: int) -> Attachment | None:
        """As it was composed; None: no longer kept."""
        (row,) = self._all("SELECT * FROM reports WHERE id = :id", id=report)
        return None if row.content is None else _attachment(row)

    def failure(self, report: int) -> bytes | None:
        """The message of a failure report but for To and Date; None: no longer kept."""
        (row,) = self._all("SELECT content FROM reports WHERE id = :id", id=report)
        return None if row.content is None else bytes(row.content)

    def due(self, kind: Kind, now: int, places: int) -> list[Due]:
        """Deliveries whose time has come, at most so many of an organization: in the order of these, oldest first."""
        values = {
            "kind": str(kind), "now": now, "horizon": now + HORIZON, "before": now - DAY, "places": places,
            "limit": MAX_DUE,
        }  # fmt: skip
        found = self._all(_DUE, **values)
        return [
            Due(row.id, row.organization, State(row.state), (not row.known) + 2 * (row.attempts > 0)) for row in found
        ]

    def delivery(self, identifier: int) -> Delivery | None:
        """None: it is gone."""
        found = self._all(f"{_DELIVERIES} WHERE d.id = :id", id=identifier)
        return _delivery(found[0]) if found else None

    def verified(self, delivery: Delivery, addresses: Iterable[str], now: int) -> list[int]:
        """The destination agreed: the ids of the new deliveries. An address that stands in two URIs gets one copy."""
        with self._store.writing() as connection:
            sql = "SELECT address FROM report_deliveries WHERE report = :id AND address IS NOT NULL"
            known = {row.address for row in rows(connection, sql, id=delivery.report)}
            new = [address for address in addresses if address not in known]
            execute(connection, "DELETE FROM report_deliveries WHERE id = :id", id=delivery.id)
            return [
                _insert_delivery(connection, delivery.report, delivery.uri, State.PENDING, now, address=address)
                for address in new
            ]

    def set_state(self, delivery: Delivery, state: State, now: int, detail: str = "") -> None:
        self._change(
            "UPDATE report_deliveries SET state = :state, changed = :now, detail = :detail WHERE id = :id",
            id=delivery.id, state=str(state), now=now, detail=detail[:MAX_DETAIL],
        )  # fmt: skip

    def is_sending(self, delivery: Delivery) -> bool:
        """The message was on its way, so it may have arrived."""
        found = self._all("SELECT state FROM report_deliveries WHERE id = :id", id=delivery.id)
        return bool(found) and found[0].state == State.SENDING

    def postpone(self, delivery: Delivery, state: State, due: int, now: int, detail: str) -> None:
        self._change(
            "UPDATE report_deliveries SET state = :state, attempts = attempts + 1, due = :due, changed = :now, "
            "detail = :detail WHERE id = :id",
            id=delivery.id, state=str(state), due=due, now=now, detail=detail[:MAX_DETAIL],
        )  # fmt: skip

    def wait(self, delivery: Delivery, due: int, now: int, detail: str) -> None:
        """Leave it for later, without counting this as an attempt."""
        self._change(
            "UPDATE report_deliveries SET due = :due, changed = :now, detail = :detail WHERE id = :id",
            id=delivery.id, due=due, now=now, detail=detail[:MAX_DETAIL],
        )  # fmt: skip

    def end_waiting(self, address: str, now: int) -> int:
        """Bring up what waits for this address; how much it is."""
        return self._change(
            "UPDATE report_deliveries SET due = :now WHERE address = :address AND state = 'pending'",
            address=address, now=now,
        )  # fmt: skip

    def give_up(self, created_before: int, now: int) -> int:
        """End what waited for too long to be of use; how much it is."""
        return self._change(
            "UPDATE report_deliveries SET state = 'failed', changed = :now, "
            "detail = substr('given up: it waited too long; ' || detail, 1, :length) "
            "WHERE state IN ('unverified', 'pending') "
            "AND report IN (SELECT id FROM reports WHERE created < :then)",
            then=created_before, now=now, length=MAX_DETAIL,
        )  # fmt: skip

    def interrupted(self, now: int) -> int:
        """What a run that crashed left on its way."""
        return self._change(
            "UPDATE report_deliveries SET state = 'uncertain', changed = :now, detail = :detail "
            "WHERE state = 'sending'",
            now=now, detail="the run ended while the message was on its way",
        )  # fmt: skip

    def resend_uncertain(self, now: int) -> int:
        return self._change(
            "UPDATE report_deliveries SET state = 'pending', due = :now, changed = :now WHERE state = 'uncertain'",
            now=now,
        )

    def sent_since(self, kind: Kind, then: int, now: int) -> list[tuple[str, str, int]]:
        """Organization of the policy domain, domain of the address, and how many reports went out."""
        counts: Counter[tuple[str, str]] = Counter()
        with self._store.reading() as connection:
            for row in stream(connection, _SENT, then=then, now=now + SKEW, kind=str(kind)):
                counts[row.organization, row.address.rpartition("@")[2]] += 1
        return [(organization, host, count) for (organization, host), count in counts.items()]

    def tried_since(self, kind: Kind, then: int, now: int) -> dict[str, int]:
        """By organization, how many deliveries were tried in vain and wait for another try, or were refused."""
        found = self._all(_TRIED, then=then, now=now + SKEW, kind=str(kind))
        return {row.organization: int(row.n) for row in found}

    def bounce(self, token: str, now: int) -> tuple[Delivery | None, bool]:
        """The delivery that was sent from the address with this token, marked as bounced.

        False: this bounce does not count, because one came before, or nothing was sent so lately.
        """
        found = self._all(f"{_DELIVERIES} WHERE d.token = :token AND d.address IS NOT NULL", token=token)
        if not found:
            return None, False
        counts = self._change(
            # The time stays that of sending, which counts for the limits.
            "UPDATE report_deliveries SET state = 'bounced', detail = 'a bounce came back' "
            "WHERE token = :token AND state IN ('sending', 'sent', 'uncertain') AND changed > :then",
            token=token, then=now - BOUNCE_WITHIN,
        )  # fmt: skip
        return _delivery(found[0]), counts > 0


_INSERT_DELIVERY = """
    INSERT INTO report_deliveries (report, uri, address, state, attempts, due, token, changed, detail)
    VALUES (:report, :uri, :address, :state, 0, :now, :token, :now, '') RETURNING id"""
_INSERT_SOURCE = """
    INSERT INTO report_sources (report, verdict_id, ip, messages) VALUES (:report, :verdict, :ip, :messages)"""
_INSERT_REPORT = """
    INSERT INTO reports
        (report_id, kind, day, domain, organization, digest, supplement, shape, submitter, messages, record, content,
         created)
    VALUES
        (:report_id, :kind, :day, :domain, :organization, :digest, :supplement, :shape, :submitter, :messages, :record,
         :content, :now)
    RETURNING id"""
# Reports of an older program have no organization: the policy domain stands for it.
_ORGANIZATION = "CASE WHEN r.organization = '' THEN r.domain ELSE r.organization END"
_DELIVERIES = f"""
    SELECT d.*, r.kind, r.domain, {_ORGANIZATION} AS organization, r.record, r.shape, r.created
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


def _insert_report(connection: Any, values: dict[str, Any], uris: Iterable[str], now: int) -> int:
    report: int = rows(connection, _INSERT_REPORT, **values)[0].id
    for uri in uris:
        _insert_delivery(connection, report, uri, State.UNVERIFIED, now)
    return report


def _values(planned: Planned, now: int) -> dict[str, Any]:
    found = planned.attachment
    return {
        "report_id": found.report_id, "kind": str(Kind.AGGREGATE), "day": number(planned.day),
        "domain": found.domain, "organization": planned.organization, "digest": planned.digest,
        "supplement": planned.supplement,
        "shape": str(found.shape), "submitter": found.submitter,
        "messages": found.messages, "record": planned.record, "content": found.content, "now": now,
    }  # fmt: skip


def _values_of_failure(connection: Any, planned: PlannedFailure, now: int) -> dict[str, Any]:
    """The number among those of its kind and day stands where an aggregate report has that of its supplement."""
    same = {"day": number(planned.day), "digest": planned.digest}
    sql = "SELECT count(*) AS n FROM reports WHERE day = :day AND digest = :digest"
    return same | {
        "report_id": planned.report_id, "kind": str(Kind.FAILURE), "domain": planned.domain,
        "organization": planned.organization,
        "supplement": rows(connection, sql, **same)[0].n, "shape": str(planned.shape),
        "submitter": planned.submitter, "messages": planned.incidents, "record": planned.record,
        "content": planned.content, "now": now,
    }  # fmt: skip


def _insert_delivery(
    connection: Any, report: int, uri: str, state: State, now: int, *, address: str | None = None
) -> int:
    token = secrets.token_hex(TOKEN_OCTETS)
    values = {"report": report, "uri": uri, "address": address, "state": str(state), "now": now, "token": token}
    inserted: int = rows(connection, _INSERT_DELIVERY, **values)[0].id
    return inserted


def _attachment(row: Any) -> Attachment:
    begin, end = period(date_of(row.day))
    return Attachment(
        row.report_id, row.domain, begin, end, ReportFormat(row.shape), row.submitter, bytes(row.content), row.messages
    )


def _delivery(row: Any) -> Delivery:
    return Delivery(
        row.id, row.report, Kind(row.kind), row.domain, row.organization, row.record, ReportFormat(row.shape), row.uri,
        row.address or "", row.attempts, row.token, row.created,
    )  # fmt: skip
