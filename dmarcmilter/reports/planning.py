"""Which days are due, and what reports a day makes. Nothing is sent here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from importlib.metadata import version

from dmarcmilter.dmarc.domain import Domain
from dmarcmilter.history.store import Store
from dmarcmilter.reports.aggregate import Report, ReportMetadata
from dmarcmilter.reports.book import Planned
from dmarcmilter.reports.destinations import MAX_DESTINATIONS, excluded
from dmarcmilter.reports.grouping import Configuration, period, report_id
from dmarcmilter.reports.ledger import Ledger
from dmarcmilter.reports.message import Attachment, compressed_within, report_id_text
from dmarcmilter.reports.stored import DayView, Found, Row, date_of, day_of, number
from dmarcmilter.settings import Reports

SETTLE = timedelta(hours=1)
"""After the end of a day, for the journal to be drained. What comes later is a supplement."""
LATE_DAYS = 7
"""So long a day is looked at again, once a day, for outcomes that arrived late."""
CATCH_UP_DAYS = 31
"""Days that are made up for after a time without runs."""
AUTHENTICATED = timedelta(days=30)
"""Mail of so long decides whether a domain's mail is ever authenticated."""

GENERATOR = f"dmarcmilter {version('dmarcmilter')}"
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Withheld:
    """A report that is not made."""

    domain: str
    reason: str


def submitter_of(settings: Reports) -> str:
    return settings.submitter or settings.email.rpartition("@")[2]


def due_days(known: Mapping[int, int], now: datetime) -> list[date]:
    """Days to plan, oldest first; `known`: day to the day on which it was last looked at (both YYYYMMDD).

    The first run of all starts with yesterday: whoever turns reports on does not send those of last month.
    """
    last = (now - SETTLE).date() - _DAY
    if not known:
        return [last]
    newest = date_of(max(known))
    start = max(
        date_of(min(known)),
        min(newest + _DAY, last - (LATE_DAYS - 1) * _DAY),
        last - (CATCH_UP_DAYS - 1) * _DAY,
    )
    days = (start + offset * _DAY for offset in range((last - start).days + 1))
    return [day for day in days if known.get(number(day), 0) < number(now.date())]


def plannable(day: date, known: Mapping[int, int], now: datetime) -> str:
    """Why a day that was asked for cannot be planned; empty: it can."""
    if day >= now.date():
        return f"{day} has not ended"
    if number(day) in known and day <= now.date() - LATE_DAYS * _DAY:
        return f"{day} was reported, and is too long ago to tell what arrived late"
    return ""


class Planner:
    def __init__(self, store: Store, ledger: Ledger, settings: Reports) -> None:
        self._store = store
        self._ledger = ledger
        self._settings = settings

    def plan(self, day: date, *, domain: str = "", dry: bool = False) -> Iterator[Planned | Withheld]:
        """One by one; what was planned before is not planned again."""
        with day_of(self._store, day, domain) as view:
            for name in view.domains():
                found = view.configurations(name)
                for configuration in sorted(found, key=lambda one: one.digest):
                    yield from self._plan_one(view, day, (configuration, found[configuration]), dry=dry)

    def _plan_one(
        self, view: DayView, day: date, found: tuple[Configuration, list[Row]], *, dry: bool
    ) -> Iterator[Planned | Withheld]:
        """The report of one configuration, and as many more as it takes to count all its sources."""
        configuration, policies = found
        name, has_more = configuration.policy.domain, True
        entry = excluded(name, f"x@{name}", self._settings.exclude)
        if entry:
            yield Withheld(name, f"{entry} is excluded")
            return
        while has_more:
            supplement, reported = self._ledger.reported(day, configuration.digest)
            collected = view.collect(policies, reported)
            view.pause()
            if collected is None:
                return
            if self._is_unauthenticated(collected, day):
                if not dry:
                    self._ledger.withheld(name, day)
                yield Withheld(name, "no authenticated mail came from it")
                return
            yield self.composed(configuration, collected, day, supplement)
            has_more = collected.has_more and not dry

    def _is_unauthenticated(self, found: Found, day: date) -> bool:
        if not self._settings.only_authenticated or found.group.passed:
            return False
        domain = found.group.configuration.policy.domain
        return not self._ledger.passed_since(domain, day - AUTHENTICATED)

    def composed(self, configuration: Configuration, found: Found, day: date, supplement: int = 0) -> Planned:
        settings, domain = self._settings, Domain(configuration.policy.domain)
        submitter = submitter_of(settings)
        begin, end = period(day)
        unique = report_id(submitter, configuration, begin, supplement)
        made = self.report(found, report_id_text(unique, submitter, settings.shape), (begin, end))
        content = compressed_within(made, settings.shape, settings.max_message_bytes)
        attachment = Attachment(
            unique, domain, begin, end, settings.shape, submitter, content, found.group.messages
        )  # fmt: skip
        return Planned(
            attachment=attachment,
            day=day,
            digest=configuration.digest,
            supplement=supplement,
            record=found.group.record,
            sources=found.sources,
            uris=configuration.rua[:MAX_DESTINATIONS],
            has_pass=found.group.passed > 0,
        )

    def report(self, found: Found, identifier: str, when: tuple[int, int]) -> Report:
        settings = self._settings
        metadata = ReportMetadata(
            org_name=settings.org_name or submitter_of(settings),
            email=settings.email,
            extra_contact_info=settings.contact,
            report_id=identifier,
            begin=when[0],
            end=when[1],
            errors=found.group.notes,
            generator=GENERATOR,
        )
        return Report(metadata, found.group.configuration.policy, found.group.rows)


def whole_day(store: Store, settings: Reports, day: date, domain: str) -> list[Report]:
    """All that the store holds of one policy domain and day, whatever was sent of it: for people."""
    planner = Planner(store, Ledger(store), replace(settings, only_authenticated=False))
    reports = []
    with day_of(store, day, domain) as view:
        for configuration, policies in view.configurations(domain).items():
            found = view.collect(policies, {})
            if found is not None:
                begin, end = period(day)
                unique = report_id(submitter_of(settings), configuration, begin, 0)
                reports.append(planner.report(found, unique, (begin, end)))
    return reports
