"""What was planned, sent and refused: the memory of reports, in tables of their own beside the outcomes.

Every step is one transaction, so that a run that ends at any instruction is taken up by the next one where it was.
docs/reports.md explains the tables; history/schema.py makes them.
"""

import secrets
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

from dmarcmilter.history.store import execute, execute_many, rows
from dmarcmilter.reports.aggregate import Shape
from dmarcmilter.reports.book import Delivery, Kind, Planned, PlannedFailure, State
from dmarcmilter.reports.days import SAW_PASS, Days
from dmarcmilter.reports.grouping import period
from dmarcmilter.reports.message import Attachment
from dmarcmilter.reports.stored import Source, date_of, number

TOKEN_OCTETS = 8
"""Of what a bounce must know: with its guess anybody could end the reports to somebody else."""
DELIVERIES_AT_ONCE = 500
"""Held in memory."""
MAX_DETAIL = 300
"""Characters of another server's words that are remembered."""


class Ledger(Days):
    """Days, domains, reports and their deliveries."""

    def reported(self, day: date, digest: str) -> tuple[int, dict[Source, int]]:
        """How many reports of this day and configuration there are, and what they counted."""
        values = {"day": number(day), "digest": digest}
        reports = self._all("SELECT id FROM reports WHERE day = :day AND digest = :digest", **values)
        if not reports:
            return 0, {}
        found = self._all(
            "SELECT s.verdict_id, s.ip, sum(s.messages) AS messages FROM report_sources s JOIN reports r "
            "ON r.id = s.report WHERE r.day = :day AND r.digest = :digest GROUP BY s.verdict_id, s.ip",
            **values,
        )
        return len(reports), {(row.verdict_id, row.ip): int(row.messages) for row in found}

    def keep(self, planned: Planned, now: int) -> None:
        """Report, what it counts, and where it is to go: all or nothing."""
        with self._store.writing() as connection:
            report = _insert_report(connection, _values(planned, now), planned.uris, now)
            execute_many(connection, _INSERT_SOURCE, [
                {"report": report, "verdict": verdict, "ip": ip, "messages": count}
                for (verdict, ip), count in planned.sources.items()
            ])  # fmt: skip
            if planned.has_pass:
                execute(connection, SAW_PASS, domain=planned.attachment.domain, day=number(planned.day))

    def keep_failure(self, planned: PlannedFailure, now: int) -> None:
        """All or nothing."""
        with self._store.writing() as connection:
            _insert_report(connection, _values_of_failure(connection, planned, now), planned.uris, now)

    def is_known(self, report_id: str) -> bool:
        return bool(self._all("SELECT id FROM reports WHERE report_id = :id", id=report_id))

    def failures_since(self, then: int) -> list[tuple[str, str]]:
        """Policy domain and kind of the failure reports that were made."""
        sql = "SELECT domain, digest FROM reports WHERE created > :then AND kind = 'failure'"
        return [(row.domain, row.digest) for row in self._all(sql, then=then)]

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

    def deliveries(self, kind: Kind, state: State, now: int) -> Iterator[Delivery]:
        """Those whose turn has come, oldest first. What is done with one does not bring it up again."""
        last = 0
        while True:
            values = {"state": str(state), "now": now, "kind": str(kind), "last": last}
            some = self._all(_DUE, **values)
            yield from map(_delivery, some)
            if len(some) < DELIVERIES_AT_ONCE:
                return
            last = some[-1].id

    def waiting(self, kind: Kind, state: State, now: int) -> int:
        """How many these are."""
        sql = """SELECT count(*) AS n FROM report_deliveries d JOIN reports r ON r.id = d.report
            WHERE d.state = :state AND d.due <= :now AND r.kind = :kind"""
        return int(self._all(sql, state=str(state), now=now, kind=str(kind))[0].n)

    def verified(self, delivery: Delivery, addresses: Iterable[str], now: int) -> None:
        """The destination agreed. An address that stands in two URIs gets one copy."""
        with self._store.writing() as connection:
            sql = "SELECT address FROM report_deliveries WHERE report = :id AND address IS NOT NULL"
            known = {row.address for row in rows(connection, sql, id=delivery.report)}
            new = [address for address in addresses if address not in known]
            execute(connection, "DELETE FROM report_deliveries WHERE id = :id", id=delivery.id)
            for address in new:
                _insert_delivery(connection, delivery.report, delivery.uri, State.PENDING, now, address=address)

    def set_state(self, delivery: Delivery, state: State, now: int, detail: str = "") -> None:
        self._change(
            "UPDATE report_deliveries SET state = :state, changed = :now, detail = :detail WHERE id = :id",
            id=delivery.id, state=str(state), now=now, detail=detail[:MAX_DETAIL],
        )  # fmt: skip

    def postpone(self, delivery: Delivery, state: State, due: int, now: int, detail: str) -> None:
        self._change(
            "UPDATE report_deliveries SET state = :state, attempts = attempts + 1, due = :due, changed = :now, "
            "detail = :detail WHERE id = :id",
            id=delivery.id, state=str(state), due=due, now=now, detail=detail[:MAX_DETAIL],
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

    def sent_since(self, kind: Kind, then: int) -> dict[str, int]:
        """How many reports went out, by the domain of the address."""
        counts: dict[str, int] = {}
        for row in self._all(
            "SELECT d.address FROM report_deliveries d JOIN reports r ON r.id = d.report WHERE d.changed > :then "
            "AND d.state IN ('sending', 'sent', 'uncertain', 'bounced') AND r.kind = :kind",
            then=then, kind=str(kind),
        ):  # fmt: skip
            domain = row.address.rpartition("@")[2]
            counts[domain] = counts.get(domain, 0) + 1
        return counts

    def by_token(self, token: str) -> Delivery | None:
        found = self._all(f"{_DELIVERIES} WHERE d.token = :token AND d.address IS NOT NULL", token=token)
        return _delivery(found[0]) if found else None


_INSERT_DELIVERY = """
    INSERT INTO report_deliveries (report, uri, address, state, attempts, due, token, changed, detail)
    VALUES (:report, :uri, :address, :state, 0, :now, :token, :now, '')"""
_INSERT_SOURCE = """
    INSERT INTO report_sources (report, verdict_id, ip, messages) VALUES (:report, :verdict, :ip, :messages)"""
_INSERT_REPORT = """
    INSERT INTO reports
        (report_id, kind, day, domain, digest, supplement, shape, submitter, messages, record, content, created)
    VALUES
        (:report_id, :kind, :day, :domain, :digest, :supplement, :shape, :submitter, :messages, :record, :content, :now)
    RETURNING id"""
_DELIVERIES = """
    SELECT d.*, r.kind, r.domain, r.record, r.shape, r.created FROM report_deliveries d JOIN reports r
    ON r.id = d.report"""
_DUE = f"""{_DELIVERIES} WHERE d.state = :state AND d.id > :last AND d.due <= :now AND r.kind = :kind
    ORDER BY d.id LIMIT {DELIVERIES_AT_ONCE}"""


def _insert_report(connection: Any, values: dict[str, Any], uris: Iterable[str], now: int) -> int:
    report: int = rows(connection, _INSERT_REPORT, **values)[0].id
    for uri in uris:
        _insert_delivery(connection, report, uri, State.UNVERIFIED, now)
    return report


def _values(planned: Planned, now: int) -> dict[str, Any]:
    found = planned.attachment
    return {
        "report_id": found.report_id, "kind": str(Kind.AGGREGATE), "day": number(planned.day),
        "domain": found.domain, "digest": planned.digest, "supplement": planned.supplement,
        "shape": str(found.shape), "submitter": found.submitter,
        "messages": found.messages, "record": planned.record, "content": found.content, "now": now,
    }  # fmt: skip


def _values_of_failure(connection: Any, planned: PlannedFailure, now: int) -> dict[str, Any]:
    """The number among those of its kind and day stands where an aggregate report has that of its supplement."""
    same = {"day": number(planned.day), "digest": planned.digest}
    sql = "SELECT count(*) AS n FROM reports WHERE day = :day AND digest = :digest"
    return same | {
        "report_id": planned.report_id, "kind": str(Kind.FAILURE), "domain": planned.domain,
        "supplement": rows(connection, sql, **same)[0].n, "shape": str(planned.shape),
        "submitter": planned.submitter, "messages": planned.incidents, "record": planned.record,
        "content": planned.content, "now": now,
    }  # fmt: skip


def _insert_delivery(
    connection: Any, report: int, uri: str, state: State, now: int, *, address: str | None = None
) -> None:
    token = secrets.token_hex(TOKEN_OCTETS)
    values = {"report": report, "uri": uri, "address": address, "state": str(state), "now": now, "token": token}
    execute(connection, _INSERT_DELIVERY, **values)


def _attachment(row: Any) -> Attachment:
    begin, end = period(date_of(row.day))
    return Attachment(
        row.report_id, row.domain, begin, end, Shape(row.shape), row.submitter, bytes(row.content), row.messages
    )


def _delivery(row: Any) -> Delivery:
    return Delivery(
        row.id, row.report, Kind(row.kind), row.domain, row.record, Shape(row.shape), row.uri, row.address or "",
        row.attempts, row.token, row.created,
    )  # fmt: skip
