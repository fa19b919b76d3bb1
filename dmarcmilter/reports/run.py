"""One run of reports: plan, compose, archive, verify destinations, send.

Each step is recorded before the next begins, so that the next run continues one that was killed at any point.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta

from dmarcmilter.config.schema import ReportsSection
from dmarcmilter.history.day_number import day_number
from dmarcmilter.history.store import Store
from dmarcmilter.reports import archive, retention
from dmarcmilter.reports.aggregate.day_outcomes import count_outcomes, newest_day
from dmarcmilter.reports.aggregate.planning import (
    AUTHENTICATED_WINDOW,
    LATE_DAYS,
    Planner,
    Withheld,
    due_days,
    reason_not_plannable,
)
from dmarcmilter.reports.aggregate.reported_days import NEVER, PARTLY, ReportedDays
from dmarcmilter.reports.aggregate.withheld_reports import WithheldReports
from dmarcmilter.reports.delivery.deliveries_table import Deliveries, ReportKind
from dmarcmilter.reports.delivery.destination_verification import Destination, DestinationVerification
from dmarcmilter.reports.delivery.dkim_signing import ReportSigner
from dmarcmilter.reports.delivery.made_reports_table import PlannedReport, ReportLedger
from dmarcmilter.reports.delivery.organization_turns import organization_of
from dmarcmilter.reports.delivery.parallel_verification import VERIFY_SECONDS, ReportDns
from dmarcmilter.reports.delivery.relay import Transport
from dmarcmilter.reports.delivery.sending import RunResult, Sending, SendingProgress
from dmarcmilter.reports.delivery.suppressions import Suppressions
from dmarcmilter.reports.failure.incident_spool import IncidentSpool, SpooledIncident
from dmarcmilter.reports.failure.planning import FailurePlanner, IncidentFate, Ruling
from dmarcmilter.reports.run_lock import RunLock
from dmarcmilter.value import Value

log = logging.getLogger(__name__)

CONTENT_DAYS = 7
"""Days that the content of a report is kept after the report was made; longer if it is not yet sent to all."""
LEDGER_DAYS = 60
"""Days that the ledger keeps a report: longer than days are planned again, and than bounces take."""
WAITING_DAYS = 30
"""Days after which a report that could not be sent is given up. Longer than the second suppression of an address."""
PLAN_SECONDS = 900.0
"""Seconds of one run for planning aggregate reports. The next run continues with the rest."""
RUN_SECONDS = 2400.0
"""Seconds after which a run starts no further delivery. Below TimeoutStartSec of its unit, so that it is not killed."""
BUSY = "another run of reports is going on"


def no_progress(step: str, done: int, total: int) -> None:
    """Ignore the progress of a run."""


def never() -> bool:
    """Never stop early."""
    return False


class RunRequest(Value):
    """Options of a run. By default it does all that is due."""

    day: date | None = None
    domain: str = ""
    resend_uncertain: bool = False
    kinds: tuple[ReportKind, ...] = (ReportKind.FAILURE, ReportKind.AGGREGATE)
    """Kinds of reports in the order of sending: failure reports are fewer and more urgent."""


class Run:
    """One run of reports on one database."""

    def __init__(
        self,
        store: Store,
        settings: ReportsSection,
        dns: ReportDns,
        transport: Transport,
        signer: ReportSigner | None = None,
        *,
        clock: Callable[[], float],
        timer: Callable[[], float] = time.monotonic,
        progress: SendingProgress = no_progress,
    ) -> None:
        self._store = store
        self._settings = settings
        self._dns = dns
        self._transport = transport
        self._clock = clock
        self._timer = timer
        self._began = timer()
        self._progress = progress
        self._ledger = ReportLedger(store)
        self._deliveries = Deliveries(store)
        self._days = ReportedDays(store)
        self._withheld = WithheldReports(store)
        self._suppressions = Suppressions(store)
        self._lock = RunLock(store)
        self._spool = IncidentSpool(settings.failure.spool, lambda domain: organization_of(dns.suffixes, domain))
        self._planner = Planner(store, self._ledger, self._withheld, settings, dns.suffixes)
        self._failure_planner = FailurePlanner(store, self._spool, self._ledger, settings, dns)
        self._sending = Sending(
            ledger=self._ledger,
            deliveries=self._deliveries,
            suppressions=self._suppressions,
            lock=self._lock,
            settings=settings,
            signer=signer,
            dns=dns,
            transport=transport,
            clock=self._now,
            progress=progress,
        )

    def go(self, request: RunRequest = RunRequest()) -> RunResult:
        """Plan and send what is due, unless another run is in progress."""
        result = RunResult()
        self._began = self._timer()
        if not self._lock.take(self._now()):
            result.stopped = BUSY
            return result
        try:
            self._go(request, result)
        finally:
            self._transport.close()
        self._lock.release()
        return result

    def _go(self, request: RunRequest, result: RunResult) -> None:
        self._deliveries.mark_interrupted(self._now())
        if request.resend_uncertain:
            self._deliveries.resend_uncertain(self._now())
        if ReportKind.FAILURE in request.kinds:
            self._plan_failure_reports(result)
        if ReportKind.AGGREGATE in request.kinds:
            self._plan_aggregate_reports(request, result)
        if not result.stopped:
            self._send(request.kinds, result)
            self._prune()
        if result.unavailable and not (result.sent or result.stopped):
            problem = f"the relay does not take reports now: it ended {result.unavailable} connections and took none"
            result.left = "; ".join(filter(None, (problem, result.left)))

    def _send(self, kinds: Iterable[ReportKind], result: RunResult) -> None:
        for kind in kinds:
            if not self._sending.send_due(kind, result, self._is_over):
                return

    def _is_over(self) -> bool:
        return self._timer() >= self._began + RUN_SECONDS

    def incidents(self) -> list[tuple[SpooledIncident, Ruling]]:
        """The incidents in the spool, and what a run would do with each of them now."""
        return list(self._failure_planner.rulings(self._now()))

    def preview(
        self, request: RunRequest = RunRequest()
    ) -> Iterator[Withheld | tuple[PlannedReport, list[Destination]]]:
        """The reports that `go` would plan, with their destinations verified. Records nothing."""
        end = self._timer() + VERIFY_SECONDS
        for day in self._days_to_plan(request)[0]:
            for planned in self._planner.plan(day, domain=request.domain, dry=True):
                if isinstance(planned, Withheld):
                    yield planned
                else:
                    yield planned, [self._previewed_destination(planned, uri, end) for uri in planned.uris]

    def _previewed_destination(self, planned: PlannedReport, uri: str, end: float) -> Destination:
        if self._timer() >= end:
            return Destination(uri, DestinationVerification.UNKNOWN, reason="not asked: the time for it is over")
        return self._dns.verify(planned.attachment.domain, uri)

    def _now(self) -> int:
        return int(self._clock())

    def _today(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    def _days_to_plan(self, request: RunRequest) -> tuple[list[date], str]:
        """The days to plan, or why the requested day cannot be planned."""
        planned = self._days.planned()
        if request.day is None:
            return due_days(planned, self._today()), ""
        problem = reason_not_plannable(request.day, planned, self._today())
        return ([] if problem else [request.day]), problem

    def _plan_aggregate_reports(self, request: RunRequest, result: RunResult) -> None:
        """Plan all due days. Days never planned before come first: planning others again must not delay them."""
        days, result.stopped = self._days_to_plan(request)
        end = self._timer() + PLAN_SECONDS
        planned = {day: self._days.outcomes_when_planned(day) for day in days}
        ordered = sorted(days, key=lambda day: planned[day] >= 0)
        for count, day in enumerate(ordered, start=1):
            self._plan_day(day, planned[day], request, result, lambda: self._timer() >= end)
            self._progress("planning", count, len(days))

    def _plan_day(
        self, day: date, planned: int, request: RunRequest, result: RunResult, stop: Callable[[], bool]
    ) -> None:
        """Plan one day, and record how far it was planned. `planned` is ReportedDays.outcomes_when_planned."""
        outcomes = count_outcomes(self._store, day)
        if request.day is None and outcomes == planned:
            self._plan_released(day, result)
            is_whole = True
        else:
            skip_planned = planned == PARTLY and not request.domain
            is_whole = self._record_reports(day, request.domain, result, skip_planned=skip_planned, stop=stop)
        if request.domain:
            return
        today = self._today().date()
        if is_whole:
            # If the day was planned in parts, late outcomes of the domains of the first part are looked for tomorrow.
            self._days.set_planned(day, today, NEVER if planned == PARTLY else outcomes)
        elif planned < 0:
            self._days.set_planned(day, date.min, PARTLY)
            result.lines.append(f"{day}: not all reports were planned in time, the next run continues")
        else:
            self._days.set_planned(day, today, planned)
            result.lines.append(f"{day}: there was no time to look for all late outcomes")

    def _plan_released(self, day: date, result: RunResult) -> None:
        """Make the withheld reports of domains of which mail has passed meanwhile, on a day without late outcomes."""
        for domain in self._withheld.released(day, AUTHENTICATED_WINDOW):
            self._record_reports(day, domain, result)
            self._withheld.remove(domain, day)

    def _record_reports(
        self,
        day: date,
        domain: str,
        result: RunResult,
        *,
        skip_planned: bool = False,
        stop: Callable[[], bool] = never,
    ) -> bool:
        """Plan the reports of a day, archive and record each of them. False if stopped before the end."""
        stopped = False

        def is_over() -> bool:
            nonlocal stopped
            stopped = stop()
            return stopped

        beyond_limit: Counter[str] = Counter()
        for planned in self._planner.plan(day, domain=domain, skip_planned=skip_planned, stop=is_over):
            self._lock.renew(self._now())
            if isinstance(planned, Withheld):
                result.withheld += 1
                if planned.beyond_limit_of:
                    beyond_limit[planned.beyond_limit_of] += 1
                continue
            # The archive first: a recorded report is never composed again.
            self._archive(day, planned.attachment.file_name, planned.attachment.content)
            self._ledger.add(planned, self._now())
            result.planned += 1
        result.lines += [f"{name}: {count} domains beyond max_per_organization" for name, count in beyond_limit.items()]
        return not stopped

    def _plan_failure_reports(self, result: RunResult) -> None:
        """Make failure reports of the incidents that are due, and remove those from the spool."""
        reported = []
        for count, (entry, ruling) in enumerate(self._failure_planner.rulings(self._now()), start=1):
            self._lock.renew(self._now())
            if ruling.fate is IncidentFate.REPORT:
                reported.append(entry)
            elif ruling.fate is not IncidentFate.WAIT:
                result.withheld += ruling.fate is IncidentFate.DROP
                entry.path.unlink(missing_ok=True)
            self._progress("planning", count, count)
        spf_records = self._failure_planner.spf_records([entry.incident for entry in reported])
        for entry in reported:
            self._lock.renew(self._now())
            self._record_failure_report(entry, spf_records.get(entry.incident.id, ()), result)
            # If the run ends before this line, the next one recognizes the report by the incident's id.
            entry.path.unlink(missing_ok=True)
        self._spool.tidy(self._clock())

    def _record_failure_report(
        self, entry: SpooledIncident, spf_records: Iterable[tuple[str, str]], result: RunResult
    ) -> None:
        try:
            planned = self._failure_planner.plan(entry.incident, tuple(spf_records), self._now())
        except Exception:
            # A bug that one incident triggers must not stop the reports of all others.
            log.exception("reports: %s: internal error", entry.path.name)
            result.withheld += 1
            return
        self._archive(planned.day, f"{planned.report_id}.eml", planned.content)
        self._ledger.add_failure(planned, self._now())
        result.planned += 1

    def _archive(self, day: date, name: str, content: bytes) -> None:
        archive.write(self._settings.archive, day, name, content)

    def _prune(self) -> None:
        """Give up deliveries that waited too long, and delete rows that are no longer needed."""
        now = self._today()
        self._deliveries.give_up(int((now - timedelta(days=WAITING_DAYS)).timestamp()), self._now())
        self._suppressions.prune(self._now())
        # A clock that is ahead must not delete the counts of reported messages, so the newest outcome is a bound.
        today = min(now.date(), newest_day(self._store) or now.date())
        retention.prune(
            self._store,
            reported_before=day_number(today - timedelta(days=LATE_DAYS + 1)),
            sent_before=int((now - timedelta(days=CONTENT_DAYS)).timestamp()),
            made_before=int((now - timedelta(days=LEDGER_DAYS)).timestamp()),
        )
