"""Which days are due, and what reports a day makes. Nothing is sent here."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from importlib.metadata import version

from dmarcmilter.config.schema import Reports
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.history.store import Store, StoreError
from dmarcmilter.mail.domain import Domain
from dmarcmilter.reports.aggregate.day_outcomes import DayView, Found, date_of, day_of, number
from dmarcmilter.reports.aggregate.grouping import period, report_id
from dmarcmilter.reports.aggregate.mail_message import Attachment, compressed_within, report_id_text
from dmarcmilter.reports.aggregate.xml_report import Report, ReportMetadata
from dmarcmilter.reports.delivery.destinations import MAX_DESTINATIONS, excluded
from dmarcmilter.reports.delivery.ledger import Ledger
from dmarcmilter.reports.delivery.organization_turns import organization_of, provider_of, turns_within_providers
from dmarcmilter.reports.delivery.report_tables import Planned

log = logging.getLogger(__name__)

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
    beyond_limit_of: str = ""
    """The organization that has its reports of the day."""


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
    def __init__(self, store: Store, ledger: Ledger, settings: Reports, suffixes: Suffixes) -> None:
        self._store = store
        self._ledger = ledger
        self._settings = settings
        self._suffixes = suffixes

    def plan(
        self,
        day: date,
        *,
        domain: str = "",
        dry: bool = False,
        go_on: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Planned | Withheld]:
        """One by one; what was planned before is not planned again.

        Organizations take turns: each gets its first report before any gets a second, so that one of many names keeps
        nobody waiting. Ends early when told to `stop`; to `go_on` leaves out the domains that were planned until then.
        """
        made = Counter(self._ledger.made_of_organizations(day))
        known = self._ledger.planned_domains(day)
        with day_of(self._store, day, domain) as view:
            names = [name for name in view.domains() if not go_on or name not in known]
            for _, name in turns_within_providers(names, self._organization, self._provider):
                if stop():
                    return
                organization = self._organization(name)
                if made[organization] >= self._settings.max_per_organization:
                    yield Withheld(
                        name, f"{organization} has its {made[organization]} reports of the day", organization
                    )
                    continue
                for found in self._plan_safely(view, day, name, known=name in known, dry=dry):
                    made[organization] += isinstance(found, Planned)
                    yield found

    def _organization(self, domain: str) -> str:
        return organization_of(self._suffixes, domain)

    def _provider(self, organization: str) -> str:
        return provider_of(self._suffixes, organization)

    def _plan_safely(
        self, view: DayView, day: date, name: str, *, known: bool, dry: bool
    ) -> Iterator[Planned | Withheld]:
        """A bug for one domain must not keep all others from their reports."""
        planned = self._plan_one(view, day, name, known=known, dry=dry)
        while True:
            try:
                found = next(planned, None)
            except (StoreError, OSError):
                raise
            except Exception as error:
                log.exception("reports: %s: internal error", name)
                found = Withheld(name, f"internal error: {type(error).__name__}")
                planned = iter(())
            if found is None:
                return
            yield found

    def _plan_one(self, view: DayView, day: date, name: str, *, known: bool, dry: bool) -> Iterator[Planned | Withheld]:
        """The report of one policy domain, and as many more as it takes to count all its sources.

        `known`: one was made or withheld before.
        """
        has_more = True
        entry = excluded(name, f"x@{name}", self._settings.exclude)
        if entry:
            yield Withheld(name, f"{entry} is excluded")
            return
        while has_more:
            supplement = self._ledger.reports_of(day, name) if known else 0
            known = True
            collected = view.collect(name, beyond_reported=supplement > 0)
            view.pause()
            if collected is None:
                return
            if self._is_unauthenticated(collected, day):
                if not dry:
                    self._ledger.withheld(name, day)
                yield Withheld(name, "no authenticated mail came from it")
                return
            yield self.composed(collected, day, supplement)
            has_more = collected.has_more and not dry

    def _is_unauthenticated(self, found: Found, day: date) -> bool:
        if not self._settings.only_authenticated or found.group.passed:
            return False
        domain = found.group.configuration.policy.domain
        return not self._ledger.passed_since(domain, day - AUTHENTICATED)

    def composed(self, found: Found, day: date, supplement: int = 0) -> Planned:
        settings, configuration = self._settings, found.group.configuration
        domain, submitter = Domain(configuration.policy.domain), submitter_of(settings)
        begin, end = period(day)
        unique = report_id(submitter, domain, begin, supplement)
        made = made_report(settings, found, report_id_text(unique, submitter, settings.format), (begin, end))
        content = compressed_within(made, settings.format, settings.max_message_bytes)
        attachment = Attachment(
            unique, domain, begin, end, settings.format, submitter, content, found.group.messages
        )  # fmt: skip
        return Planned(
            attachment=attachment,
            organization=self._organization(domain),
            day=day,
            digest=configuration.digest,
            supplement=supplement,
            record=found.group.record,
            sources=found.sources,
            uris=configuration.rua[:MAX_DESTINATIONS],
            has_pass=found.group.passed > 0,
        )


def made_report(settings: Reports, found: Found, identifier: str, when: tuple[int, int]) -> Report:
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
    with day_of(store, day, domain) as view:
        found = view.collect(domain, beyond_reported=False)
    if found is None:
        return []
    begin, end = period(day)
    return [made_report(settings, found, report_id(submitter_of(settings), domain, begin, 0), (begin, end))]
