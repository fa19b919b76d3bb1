"""The outcomes of one day from the store, as reports need them: one policy configuration after another."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import groupby, islice
from typing import Any

from dmarcmilter.history import rows as outcomes
from dmarcmilter.history.store import Store, rows, stream
from dmarcmilter.reports.grouping import Configuration, Group, Grouping, Outcome, published

MAX_SOURCES = 200_000
"""Counted in one report, for our memory's sake; what is beyond makes a supplement at the next look at the day."""

Source = tuple[int, str]
"""Verdict and client address: what one row of a report counts."""

_POLICIES = """
    SELECT * FROM policies WHERE rua <> '[]' AND id IN (
        SELECT policy_id FROM verdicts WHERE id IN (SELECT verdict_id FROM outcomes WHERE day = :day))
    ORDER BY domain, id"""
_COUNTS = """
    SELECT v.id AS verdict, c.ip AS ip, count(*) AS messages
    FROM verdicts v JOIN outcomes o ON o.verdict_id = v.id AND o.day = :day JOIN clients c ON c.id = o.client_id
    WHERE v.policy_id = :policy AND c.ip IS NOT NULL GROUP BY v.id, c.ip ORDER BY v.id, c.ip"""
_VERDICT = "SELECT * FROM verdicts WHERE id = :id"
_SIGNATURES = "SELECT * FROM signatures WHERE verdict_id = :id ORDER BY position"
_OVERRIDES = "SELECT * FROM overrides WHERE verdict_id = :id ORDER BY position"
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


def number(day: date) -> int:
    """As the column `day` of the store has it."""
    return day.year * 10_000 + day.month * 100 + day.day


def date_of(day: int) -> date:
    return date(day // 10_000, day // 100 % 100, day % 100)


def configurations(store: Store, day: date, domain: str = "") -> dict[Configuration, list[dict[str, Any]]]:
    """Those of the day that ask for reports, each with its rows of `policies`; of one policy domain, if given."""
    found: defaultdict[Configuration, list[dict[str, Any]]] = defaultdict(list)
    with store.reading() as connection:
        for row in rows(connection, _POLICIES, day=number(day)):
            policy = dict(row._mapping)  # noqa: SLF001  the documented name of SQLAlchemy
            if domain in ("", policy["domain"]):
                whole = policy | {"rua": json.loads(policy["rua"])}
                found[Configuration(published(whole), tuple(whole["rua"]))].append(policy)
    return dict(found)


def collect(store: Store, day: date, policies: list[dict[str, Any]], reported: Mapping[Source, int]) -> Found | None:
    """What is to be reported of these policies, which are of one configuration; None: nothing.

    What was reported before is taken off row by row, so that late arrivals are found in whatever order they came.
    """
    grouping = Grouping()
    sources: dict[Source, int] = {}
    with store.reading() as connection:
        for outcome, verdict, counts in _outcomes(connection, day, policies):
            room = MAX_SOURCES - len(sources)
            more = ((ip, count - reported.get((verdict, ip), 0)) for ip, count in counts.items())
            new = dict(islice(((ip, count) for ip, count in more if count > 0), room))
            grouping.add_sources(outcome, new)
            sources |= {(verdict, ip): count for ip, count in new.items()}
    groups = grouping.groups()
    return Found(groups[0], sources) if groups else None


def _outcomes(
    connection: Any, day: date, policies: list[dict[str, Any]]
) -> Iterator[tuple[Outcome, int, dict[str, int]]]:
    """Each verdict of these policies: what its messages share, its id, and how many came from each address."""
    for policy in policies:
        counts = stream(connection, _COUNTS, day=number(day), policy=policy["id"])
        for verdict, found in groupby(counts, key=lambda row: row.verdict):
            yield _outcome(connection, verdict, policy), verdict, {row.ip: row.messages for row in found}


def _outcome(connection: Any, verdict: int, policy: dict[str, Any]) -> Outcome:
    """The outcome object that all messages of a verdict share."""

    def found(sql: str) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in rows(connection, sql, id=verdict)]  # noqa: SLF001

    return outcomes.rebuilt(
        outcomes.Stored(
            outcome=dict(_NO_MESSAGE),
            verdict=found(_VERDICT)[0],
            policy=policy,
            client={"ip": None, "helo": None},
            signatures=found(_SIGNATURES),
            overrides=found(_OVERRIDES),
        )
    )
