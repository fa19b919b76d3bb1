"""Statistics of a period from the database: results, dispositions, domains, clients, cost, and adoption."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.history.adoption_survey import Survey, survey
from dmarcmilter.history.store import DatabaseConnection, execute, rows
from dmarcmilter.value import Value

TOP = 20
"""Lines of each list, at most. Further ones are left out."""
HOURLY_UP_TO = timedelta(days=3)
"""Periods up to this length are shown by hour, longer ones by day."""
DAILY_UP_TO = timedelta(days=62)
"""Adoption over periods up to this length is shown by day, over longer ones by week."""
WEEKLY_UP_TO = timedelta(days=731)
"""Adoption over periods up to this length is shown by week, over longer ones by month."""
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class StepLength(StrEnum):
    """Length of the steps of adoption over time, in UTC. Weeks begin on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def start(self, day: datetime) -> datetime:
        """The start of the step that contains this moment."""
        day = day.replace(hour=0, minute=0, second=0, microsecond=0)
        if self is StepLength.WEEK:
            return day - timedelta(days=day.weekday())
        return day.replace(day=1) if self is StepLength.MONTH else day


class Period(Value):
    """A span of time, `until` excluded."""

    since: datetime
    until: datetime

    @property
    def step(self) -> timedelta:
        """The length of one step of the timeline."""
        return HOUR if self.until - self.since <= HOURLY_UP_TO else DAY

    @property
    def by(self) -> StepLength:
        """The length of the steps of adoption over time, if the user chose none."""
        length = self.until - self.since
        if length <= DAILY_UP_TO:
            return StepLength.DAY
        return StepLength.WEEK if length <= WEEKLY_UP_TO else StepLength.MONTH


class Count(Value):
    """The number of messages with one result, action or mode."""

    name: str
    messages: int


class Moment(Value):
    """Messages by disposition in one step of time."""

    start: datetime
    none: int
    quarantine: int
    reject: int


class RefusedAuthor(Value):
    """An Author Domain whose messages were rejected, or would be in mode enforce."""

    domain: str
    refused: int
    would: int
    """Messages that were rejected, or would be in mode enforce."""


class AuthenticatedSender(Value):
    """A domain authenticated by SPF or DKIM in mail that fails DMARC: a forwarder, mailing list or unaligned sender."""

    domain: str
    messages: int
    author_domains: int
    refused: int


class OverrideCount(Value):
    """The number of messages with one policy override."""

    type: str
    comment: str
    entry: str
    """The [[override]] entry of the conf file; empty if no entry caused it."""
    messages: int

    @property
    def reason(self) -> str:
        """The override as one line."""
        return f"{self.type}: {self.comment}" + (f" [[override]] {self.entry}" if self.entry else "")


class FailingSource(Value):
    """A client that sent mail that fails DMARC."""

    ip: str
    failed: int
    author_domains: int


class Cost(Value):
    """DNS queries and time spent on all messages."""

    queries: int
    cache_hits: int
    dns_seconds: float
    """Seconds spent waiting for DNS."""
    seconds: float
    """Seconds from end of message to the decision."""


class Statistics(Value):
    """The statistics of one period. Field names are keys of `stats --json`."""

    period: Period
    messages: int
    octets: int
    """Bytes of all messages."""
    results: tuple[Count, ...]
    """DMARC results."""
    actions: tuple[Count, ...]
    """Actions that the MTA was asked to take."""
    would: tuple[Count, ...]
    """Actions that the MTA would be asked to take in mode enforce."""
    timeline: tuple[Moment, ...]
    refused: tuple[RefusedAuthor, ...]
    authenticated: tuple[AuthenticatedSender, ...]
    sources: tuple[FailingSource, ...]
    overrides: tuple[OverrideCount, ...]
    cost: Cost
    survey: Survey
    modes: tuple[Count, ...] = ()
    """The mode in force for each message; a rollout counts as enforce."""


RESULTS = ("pass", "fail", "none", "temperror", "permerror")
ACTIONS = ("accept", "quarantine", "reject", "tempfail")
MODES = ("enforce", "monitor")

PERIOD_TABLE_SQL = """
    CREATE TEMPORARY TABLE period (moment BIGINT, verdict_id BIGINT, messages BIGINT, octets BIGINT, queries BIGINT,
        cache_hits BIGINT, dns_microseconds BIGINT, microseconds BIGINT)"""
PERIOD_SQL = """
    INSERT INTO period SELECT time / :step, verdict_id, count(*), sum(size), sum(dns_queries), sum(dns_cache_hits),
        sum(dns_microseconds), sum(microseconds)
    FROM outcomes WHERE time >= :since AND time < :until GROUP BY time / :step, verdict_id"""
"""Reads the outcomes once, into the temporary table `period`. The queries below read that table."""

TIMELINE_SQL = """
    SELECT t.moment, v.disposition, sum(t.messages) AS messages FROM period t JOIN verdicts v ON v.id = t.verdict_id
    GROUP BY t.moment, v.disposition"""
REFUSED_SQL = """
    SELECT v.author_domain AS domain, sum(CASE WHEN v.action = 'reject' THEN t.messages ELSE 0 END) AS refused,
        sum(t.messages) AS would
    FROM period t JOIN verdicts v ON v.id = t.verdict_id
    WHERE v.would = 'reject' AND v.author_domain IS NOT NULL
    GROUP BY v.author_domain ORDER BY sum(t.messages) DESC, v.author_domain LIMIT :top"""
AUTHENTICATED_SQL = """
    SELECT i.domain, sum(t.messages) AS messages, count(DISTINCT i.author_domain) AS author_domains,
        sum(CASE WHEN i.action = 'reject' THEN t.messages ELSE 0 END) AS refused
    FROM (
        SELECT id, author_domain, action, spf_domain AS domain FROM verdicts
        WHERE dmarc_result = 'fail' AND spf_result = 'pass' AND spf_domain IS NOT NULL
        UNION
        SELECT v.id, v.author_domain, v.action, s.domain FROM verdicts v JOIN signatures s ON s.verdict_id = v.id
        WHERE v.dmarc_result = 'fail' AND s.result = 'pass' AND s.domain IS NOT NULL
    ) i JOIN period t ON t.verdict_id = i.id
    GROUP BY i.domain ORDER BY sum(t.messages) DESC, i.domain LIMIT :top"""
"""A domain authenticated by both SPF and DKIM counts once for a message: UNION drops duplicates."""
SOURCES_SQL = """
    SELECT coalesce(c.ip, 'unknown') AS ip, count(*) AS failed, count(DISTINCT v.author_domain) AS author_domains
    FROM outcomes o JOIN verdicts v ON v.id = o.verdict_id JOIN clients c ON c.id = o.client_id
    WHERE o.time >= :since AND o.time < :until AND v.dmarc_result = 'fail'
    GROUP BY coalesce(c.ip, 'unknown') ORDER BY count(*) DESC, coalesce(c.ip, 'unknown') LIMIT :top"""
OVERRIDES_SQL = """
    SELECT o.type, o.comment, coalesce(o.entry, '') AS entry, sum(t.messages) AS messages
    FROM period t JOIN overrides o ON o.verdict_id = t.verdict_id
    GROUP BY o.type, o.comment, coalesce(o.entry, '')
    ORDER BY sum(t.messages) DESC, o.type, o.comment, coalesce(o.entry, '') LIMIT :top"""
TOTALS_SQL = """
    SELECT coalesce(sum(messages), 0) AS messages, coalesce(sum(octets), 0) AS octets,
        coalesce(sum(queries), 0) AS queries, coalesce(sum(cache_hits), 0) AS cache_hits,
        coalesce(sum(dns_microseconds), 0) AS dns_microseconds, coalesce(sum(microseconds), 0) AS microseconds
    FROM period"""
DECISIONS_SQL = """
    SELECT v.dmarc_result, v.action, v.would, v.mode, sum(t.messages) AS messages
    FROM period t JOIN verdicts v ON v.id = t.verdict_id GROUP BY v.dmarc_result, v.action, v.would, v.mode"""


def gather(
    connection: DatabaseConnection, period: Period, suffixes: Suffixes, *, top: int = TOP, by: StepLength | None = None
) -> Statistics:
    """All statistics of one period. `by` is the length of the steps of adoption over time."""
    span = {"since": _milliseconds(period.since), "until": _milliseconds(period.until)}
    execute(connection, PERIOD_TABLE_SQL)
    execute(connection, PERIOD_SQL, step=_step(period), **span)
    execute(connection, "CREATE INDEX period_verdict ON period (verdict_id)")
    totals = rows(connection, TOTALS_SQL)[0]
    decisions = rows(connection, DECISIONS_SQL)
    statistics = Statistics(
        period=period,
        messages=int(totals.messages),
        octets=int(totals.octets),
        results=_counts(decisions, "dmarc_result", RESULTS),
        actions=_counts(decisions, "action", ACTIONS),
        would=_counts(decisions, "would", ACTIONS),
        timeline=_timeline(rows(connection, TIMELINE_SQL), period),
        refused=_listed(RefusedAuthor, rows(connection, REFUSED_SQL, top=top)),
        authenticated=_listed(AuthenticatedSender, rows(connection, AUTHENTICATED_SQL, top=top)),
        sources=_listed(FailingSource, rows(connection, SOURCES_SQL, top=top, **span)),
        overrides=_listed(OverrideCount, rows(connection, OVERRIDES_SQL, top=top)),
        cost=_cost(totals),
        survey=survey(connection, _steps(period, by or period.by), suffixes, top=top),
        modes=_counts(decisions, "mode", MODES),
    )
    execute(connection, "DROP TABLE period")
    return statistics


def _milliseconds(when: datetime) -> int:
    return int(when.timestamp() * 1000)


def _step(period: Period) -> int:
    return int(period.step.total_seconds() * 1000)


def _counts(decisions: list[Any], column: str, names: tuple[str, ...]) -> tuple[Count, ...]:
    """Messages by name, in the order of `names`, which includes those without messages."""
    totals = dict.fromkeys(names, 0)
    for row in decisions:
        name = getattr(row, column)
        totals[name] = totals.get(name, 0) + int(row.messages)
    return tuple(Count(name, messages) for name, messages in totals.items())


def _cost(totals: Any) -> Cost:
    seconds = (int(value) / 1e6 for value in (totals.dns_microseconds, totals.microseconds))
    return Cost(int(totals.queries), int(totals.cache_hits), *seconds)


def _listed(kind: type[Any], lines: list[Any]) -> tuple[Any, ...]:
    """Rows as objects of the dataclass `kind`, with the same names. PostgreSQL's sums are decimals, hence int()."""
    return tuple(
        kind(**{name: value if isinstance(value, str) else int(value) for name, value in row._asdict().items()})
        for row in lines
    )


def _moments(period: Period) -> range:
    step = _step(period)
    return range(_milliseconds(period.since) // step, (_milliseconds(period.until) - 1) // step + 1)


def _start(moment: int, period: Period) -> datetime:
    return datetime.fromtimestamp(moment * _step(period) / 1000, UTC)


def _steps(period: Period, by: StepLength) -> dict[int, datetime]:
    """For each moment of the period, the start of its day, week or month."""
    return {moment: by.start(_start(moment, period)) for moment in _moments(period)}


def _timeline(sums: list[Any], period: Period) -> tuple[Moment, ...]:
    """Messages of every step of the period, including steps without mail."""
    counts = {(row.moment, row.disposition): int(row.messages) for row in sums}
    return tuple(
        Moment(
            _start(moment, period),
            *(counts.get((moment, name), 0) for name in ("none", "quarantine", "reject")),
        )
        for moment in _moments(period)
    )
