"""Read the outcomes of one day from the database for aggregate reports, one policy domain after another."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from itertools import groupby, islice
from typing import Any

from dmarcmilter.history import outcome_rows
from dmarcmilter.history.day_number import date_of_number, day_number
from dmarcmilter.history.outcome_rows import DatabaseRow
from dmarcmilter.history.store import DatabaseConnection, Store, execute, rows, stream
from dmarcmilter.outcome_record import OutcomeRecord, UndecodableError
from dmarcmilter.reports.aggregate.grouping import Group, Grouping
from dmarcmilter.value import Value

log = logging.getLogger(__name__)

MAX_SOURCES = 100_000
"""Sources counted in one report, which bounds memory. Further ones are reported in a supplement."""
MAX_DOMAINS = 200_000
"""Policy domains of one day, which bounds memory. Beyond it, only those known for longest get reports."""
VERDICTS_AT_ONCE = 100
"""Verdicts held in memory at once: one made by an attacker can have tens of thousands of bytes."""

VerdictSource = tuple[int, str]
"""Id of the verdict, and client address: the messages that one row of a report counts."""

# CROSS JOIN makes SQLite join in this order. Otherwise it would read the whole day for each policy.
_TABLE = "CREATE TEMPORARY TABLE day_verdicts (policy_id BIGINT NOT NULL, verdict_id BIGINT NOT NULL)"
# The conditions are those of grouping.is_reportable.
_FILL_TABLE = """
    INSERT INTO day_verdicts SELECT v.policy_id, v.id
    FROM (SELECT DISTINCT verdict_id FROM outcomes WHERE day = :day) d CROSS JOIN verdicts v
    WHERE v.id = d.verdict_id AND v.author_domain <> '' AND v.action <> 'tempfail' AND v.policy_id IN
        (SELECT id FROM policies WHERE rua <> '[]' AND usable AND (domain = :domain OR :domain = ''))"""
_INDEX = "CREATE INDEX day_verdicts_policy ON day_verdicts (policy_id, verdict_id)"
_DROP = "DROP TABLE IF EXISTS day_verdicts"
_DOMAINS = """
    SELECT domain, min(id) AS first FROM policies WHERE id IN (SELECT policy_id FROM day_verdicts)
    GROUP BY domain ORDER BY first LIMIT :limit"""
_POLICIES = """
    SELECT * FROM policies p WHERE p.domain = :domain
    AND EXISTS (SELECT 1 FROM day_verdicts d WHERE d.policy_id = p.id) LIMIT 2"""
_FINAL = """
    SELECT p.id AS id, max(o.time) AS last FROM policies p CROSS JOIN day_verdicts d CROSS JOIN outcomes o
    WHERE p.domain = :domain AND d.policy_id = p.id AND o.day = :day AND o.verdict_id = d.verdict_id
    GROUP BY p.id ORDER BY last DESC, p.id DESC LIMIT 1"""
_POLICY = "SELECT * FROM policies WHERE id = :id"
_REPORTED = """ - coalesce((
        SELECT sum(s.messages) FROM reports r CROSS JOIN report_sources s
        WHERE r.domain = :domain AND r.day = :day AND r.kind = 'aggregate'
            AND s.report = r.id AND s.verdict_id = d.verdict_id AND s.ip = c.ip), 0)"""
_COUNTS = """
    SELECT d.verdict_id AS verdict_id, c.ip AS ip, count(*){reported} AS messages
    FROM policies p CROSS JOIN day_verdicts d CROSS JOIN outcomes o CROSS JOIN clients c
    WHERE p.domain = :domain AND d.policy_id = p.id AND o.day = :day AND o.verdict_id = d.verdict_id
        AND c.id = o.client_id AND c.ip IS NOT NULL
    GROUP BY p.id, d.verdict_id, c.ip HAVING count(*){reported} > 0 ORDER BY p.id, d.verdict_id, c.ip"""
_OF_DAY = "FROM policies p CROSS JOIN day_verdicts d CROSS JOIN"
_VERDICTS = f"""
    SELECT v.* {_OF_DAY} verdicts v WHERE p.domain = :domain AND d.policy_id = p.id AND v.id = d.verdict_id
    ORDER BY p.id, d.verdict_id"""
_SIGNATURES = f"""
    SELECT s.* {_OF_DAY} signatures s WHERE p.domain = :domain AND d.policy_id = p.id AND s.verdict_id = d.verdict_id
    ORDER BY p.id, d.verdict_id, s.position"""
_OVERRIDES = f"""
    SELECT o.* {_OF_DAY} overrides o WHERE p.domain = :domain AND d.policy_id = p.id AND o.verdict_id = d.verdict_id
    ORDER BY p.id, d.verdict_id, o.position"""
_NO_MESSAGE = {
    "time": 0,
    "queue_id": None,
    "size": 0,
    "dns_queries": 0,
    "dns_cache_hits": 0,
    "dns_microseconds": 0,
    "microseconds": 0,
    "message_id_hash": None,
    "detail": None,
}
"""The columns that differ from message to message under one verdict. Reports do not use them."""


class DomainDay(Value):
    """The messages of one day under the policy of one domain that were not reported before."""

    group: Group
    sources: dict[VerdictSource, int]
    has_more: bool
    """There are more than MAX_SOURCES sources."""


def count_outcomes(store: Store, day: date) -> int:
    """Number of outcomes of this day in the database."""
    return int(store.query("SELECT count(*) AS n FROM outcomes WHERE day = :day", day=day_number(day))[0].n)


def newest_day(store: Store) -> date | None:
    """The last day with outcomes in the database; None if it is empty."""
    newest = store.query("SELECT max(day) AS day FROM outcomes")[0].day
    return None if newest is None else date_of_number(newest)


def has_passing_mail(store: Store, domain: str) -> bool:
    """Whether the database has any message under the policy of this domain that passed DMARC."""
    sql = """SELECT v.id FROM verdicts v JOIN policies p ON p.id = v.policy_id
        WHERE p.domain = :domain AND v.dmarc_result = 'pass' LIMIT 1"""
    return bool(store.query(sql, domain=domain))


@contextmanager
def day_view(store: Store, day: date, domain: str = "") -> Iterator["DayView"]:
    """Open the outcomes of one day, or those of one policy domain on that day. Reads no other day."""
    with store.reading() as connection:
        execute(connection, _DROP)
        execute(connection, _TABLE)
        execute(connection, _FILL_TABLE, day=day_number(day), domain=domain)
        execute(connection, _INDEX)
        view = DayView(connection, day_number(day))
        view.pause()
        try:
            yield view
        finally:
            execute(connection, _DROP)
            view.pause()


class DayView:
    """The outcomes of one day, by policy domain. A temporary table holds the verdicts of the day and their policies."""

    def __init__(self, connection: DatabaseConnection, day: int) -> None:
        self._connection = connection
        self._day = day

    def pause(self) -> None:
        """End the transaction, so that planning for hours does not keep the database from cleaning up."""
        self._connection.commit()

    def domains(self) -> list[str]:
        """The policy domains of the day, those known for longest first."""
        return [row.domain for row in rows(self._connection, _DOMAINS, limit=MAX_DOMAINS)]

    def collect(self, domain: str, *, beyond_reported: bool) -> DomainDay | None:
        """What is to be reported to this policy domain, under its final policy of the day; None if there is nothing.

        Messages that were reported before are subtracted row by row, so late ones are found in whatever order they
        were ingested.
        """
        policy = self._final(domain)
        if policy is None:
            return None
        grouping = Grouping()
        sources: dict[VerdictSource, int] = {}
        has_more = False
        for record, verdict, counts in self._outcomes(domain, policy, beyond_reported=beyond_reported):
            new = dict(list(counts.items())[: MAX_SOURCES - len(sources)])
            try:
                grouping.add_sources(record, new)
            except ValueError as error:  # of a newer version, say: it must not keep the others from being reported
                log.warning("reports: verdict %s of the database not reported: %.200s", verdict, error)
                continue
            has_more = len(new) < len(counts)
            sources |= {(verdict, ip): count for ip, count in new.items()}
            if has_more:
                break
        groups = grouping.groups()
        return DomainDay(groups[0], sources, has_more) if groups else None

    def _final(self, domain: str) -> DatabaseRow | None:
        """The policy of the last message of the day."""
        policies = rows(self._connection, _POLICIES, domain=domain)
        if len(policies) > 1:
            final = rows(self._connection, _FINAL, domain=domain, day=self._day)[0]
            policies = rows(self._connection, _POLICY, id=final.id)
        return _dict(policies[0]) if policies else None

    def _outcomes(
        self, domain: str, policy: DatabaseRow, *, beyond_reported: bool
    ) -> Iterator[tuple[OutcomeRecord, int, dict[str, int]]]:
        """For each verdict of this domain: the record that its messages share, its id, and their counts by address."""
        sql = _COUNTS.format(reported=_REPORTED if beyond_reported else "")
        counts = _Grouped(stream(self._connection, sql, domain=domain, day=self._day))
        signatures = _Grouped(stream(self._connection, _SIGNATURES, domain=domain))
        overrides = _Grouped(stream(self._connection, _OVERRIDES, domain=domain))
        for verdict in stream(self._connection, _VERDICTS, at_once=VERDICTS_AT_ONCE, domain=domain):
            sources = {row["ip"]: int(row["messages"]) for row in counts.of(verdict.id, MAX_SOURCES + 1)}
            parts = signatures.of(verdict.id), overrides.of(verdict.id)
            record = _record(_dict(verdict), policy, *parts) if sources else None
            if record is not None:
                yield record, verdict.id, sources


class _Grouped:
    """A stream of rows ordered by verdict, read one verdict at a time, in step with other streams."""

    def __init__(self, ordered_rows: Iterator[Any]) -> None:
        self._groups = groupby(map(_dict, ordered_rows), key=lambda row: row["verdict_id"])
        self._next = next(self._groups, None)

    def of(self, verdict: int, limit: int | None = None) -> list[DatabaseRow]:
        """The first `limit` rows of a verdict; all if None."""
        if self._next is None or self._next[0] != verdict:
            return []
        verdict_rows = list(islice(self._next[1], limit))
        self._next = next(self._groups, None)
        return verdict_rows


def _dict(row: Any) -> DatabaseRow:
    return dict(row._mapping)  # noqa: SLF001  the documented name of SQLAlchemy


def _record(
    verdict: DatabaseRow, policy: DatabaseRow, signatures: list[DatabaseRow], overrides: list[DatabaseRow]
) -> OutcomeRecord | None:
    """The outcome record that all messages of a verdict share; None if the rows cannot be decoded."""
    stored = outcome_rows.StoredOutcome(
        outcome=dict(_NO_MESSAGE),
        verdict=verdict,
        policy=policy,
        client={"ip": None, "helo": None},
        signatures=signatures,
        overrides=overrides,
    )
    try:
        return outcome_rows.rebuilt(stored)
    except UndecodableError as error:
        log.warning("reports: verdict %s of the database not read: %s", verdict["id"], error)
        return None
