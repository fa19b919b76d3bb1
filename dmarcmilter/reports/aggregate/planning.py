"""Decide which days are due, and compose the aggregate reports of a day. Nothing is sent here."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta
from importlib.metadata import version

from dmarcmilter.config.schema import ReportsSection
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.history.day_number import date_of_number, day_number
from dmarcmilter.history.store import Store, StoreError
from dmarcmilter.mail.domain import Domain
from dmarcmilter.reports.aggregate.day_outcomes import DayView, DomainDay, day_view
from dmarcmilter.reports.aggregate.grouping import Group, period, report_id
from dmarcmilter.reports.aggregate.mail_message import Attachment, compressed_within, report_id_text
from dmarcmilter.reports.aggregate.withheld_reports import WithheldReports
from dmarcmilter.reports.aggregate.xml_report import Report, ReportMetadata
from dmarcmilter.reports.delivery.destination_verification import MAX_DESTINATIONS, excluded
from dmarcmilter.reports.delivery.made_reports_table import PlannedReport, ReportLedger
from dmarcmilter.reports.delivery.organization_turns import organization_of, provider_of, turns_within_providers
from dmarcmilter.reports.sender import submitter_of
from dmarcmilter.value import Value

log = logging.getLogger(__name__)

SETTLE = timedelta(hours=1)
"""Time after the end of a day for its last outcomes to reach the database. Later ones make a supplement."""
LATE_DAYS = 7
"""Number of days after which a day is no longer planned again for late outcomes. Until then it is, once a day."""
CATCH_UP_DAYS = 31
"""Number of past days planned after a time without runs. Older days are not reported."""
AUTHENTICATED_WINDOW = timedelta(days=30)
"""How long a passing message counts as evidence that mail of its domain is authenticated."""

GENERATOR = f"dmarcmilter {version('dmarcmilter')}"
_DAY = timedelta(days=1)


class Withheld(Value):
    """A report that is not made, and why."""

    domain: str
    reason: str
    beyond_limit_of: str = ""
    """The organization that has reached its limit of reports for the day; empty for other reasons."""


def due_days(planned: Mapping[int, int], now: datetime) -> list[date]:
    """Days to plan, oldest first; `planned` is ReportedDays.planned().

    The very first run plans only yesterday, so that turning reports on does not send those of last month.
    """
    last = (now - SETTLE).date() - _DAY
    if not planned:
        return [last]
    newest = date_of_number(max(planned))
    start = max(
        date_of_number(min(planned)),
        min(newest + _DAY, last - (LATE_DAYS - 1) * _DAY),
        last - (CATCH_UP_DAYS - 1) * _DAY,
    )
    days = (start + offset * _DAY for offset in range((last - start).days + 1))
    return [day for day in days if planned.get(day_number(day), 0) < day_number(now.date())]


def reason_not_plannable(day: date, planned: Mapping[int, int], now: datetime) -> str:
    """Why a requested day cannot be planned; empty if it can."""
    if day >= now.date():
        return f"{day} has not ended"
    if day_number(day) in planned and day <= now.date() - LATE_DAYS * _DAY:
        return f"{day} was reported, and is too long ago to tell what arrived late"
    return ""


class Planner:
    """Composes the aggregate reports of a day."""

    def __init__(
        self,
        store: Store,
        ledger: ReportLedger,
        withheld: WithheldReports,
        settings: ReportsSection,
        suffixes: Suffixes,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._withheld = withheld
        self._settings = settings
        self._suffixes = suffixes

    def plan(
        self,
        day: date,
        *,
        domain: str = "",
        dry: bool = False,
        skip_planned: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[PlannedReport | Withheld]:
        """Compose the reports of a day, one by one, without messages that were already reported.

        Organizations take turns: each gets its first report before any gets a second, so that one with many domains
        delays no other. Ends early when `stop` returns True; `skip_planned` leaves out domains that were planned
        before.
        """
        made = Counter(self._ledger.counts_by_organization(day))
        known = self._ledger.domains(day) | self._withheld.domains(day)
        with day_view(self._store, day, domain) as view:
            names = [name for name in view.domains() if not skip_planned or name not in known]
            for _, name in turns_within_providers(names, self._organization, self._provider):
                if stop():
                    return
                organization = self._organization(name)
                if made[organization] >= self._settings.max_per_organization:
                    reason = f"{organization} has its {made[organization]} reports of the day"
                    yield Withheld(name, reason, organization)
                    continue
                for planned in self._plan_safely(view, day, name, known=name in known, dry=dry):
                    made[organization] += isinstance(planned, PlannedReport)
                    yield planned

    def _organization(self, domain: str) -> str:
        return organization_of(self._suffixes, domain)

    def _provider(self, organization: str) -> str:
        return provider_of(self._suffixes, organization)

    def _plan_safely(
        self, view: DayView, day: date, name: str, *, known: bool, dry: bool
    ) -> Iterator[PlannedReport | Withheld]:
        """Plan one domain. A bug that one domain triggers must not stop the reports of all others."""
        try:
            yield from self._plan_domain(view, day, name, known=known, dry=dry)
        except (StoreError, OSError):
            raise
        except Exception as error:
            log.exception("reports: %s: internal error", name)
            yield Withheld(name, f"internal error: {type(error).__name__}")

    def _plan_domain(
        self, view: DayView, day: date, name: str, *, known: bool, dry: bool
    ) -> Iterator[PlannedReport | Withheld]:
        """Compose the report of one policy domain, and supplements until all its sources are reported.

        `known`: a report of the domain and day was made or withheld before.
        """
        entry = excluded(name, f"x@{name}", self._settings.exclude)
        if entry:
            yield Withheld(name, f"{entry} is excluded")
            return
        has_more = True
        while has_more:
            supplement = self._ledger.count(day, name) if known else 0
            known = True
            domain_day = view.collect(name, beyond_reported=supplement > 0)
            view.pause()
            if domain_day is None:
                return
            if self._is_unauthenticated(domain_day, day):
                if not dry:
                    self._withheld.add(name, day)
                yield Withheld(name, "no authenticated mail came from it")
                return
            yield self.planned_report(domain_day, day, supplement)
            has_more = domain_day.has_more and not dry

    def _is_unauthenticated(self, domain_day: DomainDay, day: date) -> bool:
        if not self._settings.only_authenticated or domain_day.group.passed:
            return False
        domain = domain_day.group.configuration.policy.domain
        return not self._withheld.passed_since(domain, day - AUTHENTICATED_WINDOW)

    def planned_report(self, domain_day: DomainDay, day: date, supplement: int) -> PlannedReport:
        settings, configuration = self._settings, domain_day.group.configuration
        domain, submitter = Domain(configuration.policy.domain), submitter_of(settings)
        begin, end = period(day)
        unique_id = report_id(submitter, domain, begin, supplement)
        report = compose_report(
            settings, domain_day.group, report_id_text(unique_id, submitter, settings.format), begin, end
        )
        attachment = Attachment(
            report_id=unique_id,
            domain=domain,
            begin=begin,
            end=end,
            report_format=settings.format,
            submitter=submitter,
            content=compressed_within(report, settings.format, settings.max_message_bytes),
            messages=domain_day.group.messages,
        )
        return PlannedReport(
            attachment=attachment,
            organization=self._organization(domain),
            day=day,
            digest=configuration.digest,
            supplement=supplement,
            record=domain_day.group.record,
            sources=domain_day.sources,
            uris=configuration.rua[:MAX_DESTINATIONS],
            has_pass=domain_day.group.passed > 0,
        )


def compose_report(settings: ReportsSection, group: Group, identifier: str, begin: int, end: int) -> Report:
    metadata = ReportMetadata(
        org_name=settings.org_name or submitter_of(settings),
        email=settings.email,
        extra_contact_info=settings.contact,
        report_id=identifier,
        begin=begin,
        end=end,
        errors=group.notes,
        generator=GENERATOR,
    )
    return Report(metadata, group.configuration.policy, group.rows)


def whole_day_report(store: Store, settings: ReportsSection, day: date, domain: str) -> Report | None:
    """One report about all messages of a policy domain and day in the database, already reported or not; None if there
    is nothing to report.
    """
    with day_view(store, day, domain) as view:
        domain_day = view.collect(domain, beyond_reported=False)
    if domain_day is None:
        return None
    begin, end = period(day)
    return compose_report(settings, domain_day.group, report_id(submitter_of(settings), domain, begin, 0), begin, end)
