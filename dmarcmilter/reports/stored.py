"""The outcomes of one day from the store, as reports need them: one policy configuration after another."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import groupby, islice
from typing import Any

from dmarcmilter.history import rows as outcomes
from dmarcmilter.history.store import Connection, Store, execute, rows, stream
from dmarcmilter.reports.grouping import Configuration, Group, Grouping, published
from dmarcmilter.reports.row import Outcome

MAX_SOURCES = 200_000
"""Counted in one report, for our memory's sake; what is beyond makes a supplement."""

Source = tuple[int, str]
"""Verdict and client address: what one row of a report counts."""
Row = dict[str, Any]

# CROSS JOIN keeps SQLite to this order: it would read the whole day for each policy otherwise.
_TABLE = "CREATE TEMPORARY TABLE day_verdicts (policy_id BIGINT NOT NULL, verdict_id BIGINT NOT NULL)"
_FILL = """
    INSERT INTO day_verdicts SELECT v.policy_id, v.id
    FROM (SELECT DISTINCT verdict_id FROM outcomes WHERE day = :day) d CROSS JOIN verdicts v
    WHERE v.id = d.verdict_id AND v.policy_id IN
        (SELECT id FROM policies WHERE rua <> '[]' AND (domain = :domain OR :domain = ''))"""
_INDEX = "CREATE INDEX day_verdicts_policy ON day_verdicts (policy_id, verdict_id)"
_GONE = "DROP TABLE IF EXISTS day_verdicts"
_DOMAINS = "SELECT DISTINCT domain FROM policies WHERE id IN (SELECT policy_id FROM day_verdicts)"
_POLICIES = """
    SELECT * FROM policies p WHERE p.domain = :domain
    AND EXISTS (SELECT 1 FROM day_verdicts d WHERE d.policy_id = p.id) ORDER BY p.id"""
_COUNTS = """
    SELECT d.verdict_id AS id, c.ip AS ip, count(*) AS messages
    FROM day_verdicts d CROSS JOIN outcomes o CROSS JOIN clients c
    WHERE d.policy_id = :policy AND o.day = :day AND o.verdict_id = d.verdict_id
        AND c.id = o.client_id AND c.ip IS NOT NULL
    GROUP BY d.verdict_id, c.ip ORDER BY d.verdict_id, c.ip"""
_VERDICTS = """
    SELECT v.* FROM day_verdicts d CROSS JOIN verdicts v WHERE d.policy_id = :policy AND v.id = d.verdict_id
    ORDER BY d.verdict_id"""
_SIGNATURES = """
    SELECT s.* FROM day_verdicts d CROSS JOIN signatures s WHERE d.policy_id = :policy AND s.verdict_id = d.verdict_id
    ORDER BY d.verdict_id, s.position"""
_OVERRIDES = """
    SELECT o.* FROM day_verdicts d CROSS JOIN overrides o WHERE d.policy_id = :policy AND o.verdict_id = d.verdict_id
    ORDER BY d.verdict_id, o.position"""
_NO_MESSAGE = {
    "time": 0, "queue_id": None, "size": 0, "dns_queries": 0, "dns_cache_hits": 0, "dns_microseconds": 0,
    "microseconds": 0, "message_id_hash": None, "detail": None,
}  # fmt: skip
"""What the verdict does not share: no report needs it."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a day holds for one configuration, beyond what was already reported."""

    group: Group
    sources: dict[Source, int]
    has_more: bool
    """There were more than MAX_SOURCES."""


def number(day: date) -> int:
    """As the column `day` of the store has it."""
    return day.year * 10_000 + day.month * 100 + day.day


def date_of(day: int) -> date:
    return date(day // 10_000, day // 100 % 100, day % 100)


@contextmanager
def day_of(store: Store, day: date, domain: str = "") -> Iterator["DayView"]:
    """One day, of one policy domain if given. What the day has no part in is not looked at, however much there is."""
    with store.reading() as connection:
        execute(connection, _GONE)
        execute(connection, _TABLE)
        execute(connection, _FILL, day=number(day), domain=domain)
        execute(connection, _INDEX)
        view = DayView(connection, number(day))
        view.pause()
        try:
            yield view
        finally:
            execute(connection, _GONE)
            view.pause()


class DayView:
    """On a connection of its own, whose temporary table tells which verdicts the day has under which policy."""

    def __init__(self, connection: Connection, day: int) -> None:
        self._connection = connection
        self._day = day

    def pause(self) -> None:
        """End the transaction: what is read in hours must not hold up the database's own tidying."""
        self._connection.commit()

    def domains(self) -> list[str]:
        return sorted(row.domain for row in rows(self._connection, _DOMAINS))

    def configurations(self, domain: str) -> dict[Configuration, list[Row]]:
        """Each with its rows of `policies`."""
        found: defaultdict[Configuration, list[Row]] = defaultdict(list)
        for policy in map(_dict, rows(self._connection, _POLICIES, domain=domain)):
            whole = policy | {"rua": json.loads(policy["rua"])}
            found[Configuration(published(whole), tuple(whole["rua"]))].append(policy)
        return dict(found)

    def collect(self, policies: list[Row], reported: Mapping[Source, int]) -> Found | None:
        """What is to be reported of these policies, which are of one configuration; None: nothing.

        What was reported before is taken off row by row, so that late arrivals are found in whatever order they came.
        """
        grouping = Grouping()
        sources: dict[Source, int] = {}
        has_more = False
        for outcome, verdict, counts in self._outcomes(policies):
            room = MAX_SOURCES - len(sources)
            more = {ip: count - reported.get((verdict, ip), 0) for ip, count in counts.items()}
            new = dict(islice(((ip, count) for ip, count in more.items() if count > 0), room))
            has_more |= sum(count > 0 for count in more.values()) > len(new)
            grouping.add_sources(outcome, new)
            sources |= {(verdict, ip): count for ip, count in new.items()}
        groups = grouping.groups()
        return Found(groups[0], sources, has_more) if groups else None

    def _outcomes(self, policies: list[Row]) -> Iterator[tuple[Outcome, int, dict[str, int]]]:
        """Each verdict of these policies: what its messages share, its id, and how many came from each address."""
        for policy in policies:
            counts = self._grouped(_COUNTS, policy, "id")
            signatures = self._grouped(_SIGNATURES, policy, "verdict_id")
            overrides = self._grouped(_OVERRIDES, policy, "verdict_id")
            for verdict in stream(self._connection, _VERDICTS, policy=policy["id"]):
                found = {row["ip"]: row["messages"] for row in counts.of(verdict.id)}
                parts = signatures.of(verdict.id), overrides.of(verdict.id)
                if found:
                    yield _outcome(_dict(verdict), policy, *parts), verdict.id, found

    def _grouped(self, sql: str, policy: Row, key: str) -> "_Grouped":
        day = {"day": self._day} if ":day" in sql else {}
        return _Grouped(stream(self._connection, sql, policy=policy["id"], **day), key)


class _Grouped:
    """Rows in the order of verdicts, taken a verdict at a time: all streams of a policy go side by side."""

    def __init__(self, found: Iterator[Any], key: str) -> None:
        self._groups = groupby(map(_dict, found), key=lambda row: row[key])
        self._next = next(self._groups, None)

    def of(self, verdict: int) -> list[Row]:
        if self._next is None or self._next[0] != verdict:
            return []
        found = list(self._next[1])
        self._next = next(self._groups, None)
        return found


def _dict(row: Any) -> Row:
    return dict(row._mapping)  # noqa: SLF001  the documented name of SQLAlchemy


def _outcome(verdict: Row, policy: Row, signatures: list[Row], overrides: list[Row]) -> Outcome:
    """The outcome object that all messages of a verdict share."""
    return outcomes.rebuilt(
        outcomes.Stored(
            outcome=dict(_NO_MESSAGE),
            verdict=verdict,
            policy=policy,
            client={"ip": None, "helo": None},
            signatures=signatures,
            overrides=overrides,
        )
    )
