"""One run of reports: plan, compose, archive, verify, send. Each step is remembered, and a crashed run is taken up."""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from dmarcmilter.config.schema import Reports
from dmarcmilter.history.store import Store
from dmarcmilter.reports.aggregate.day_outcomes import number
from dmarcmilter.reports.aggregate.days import NEVER, PARTLY
from dmarcmilter.reports.aggregate.planning import AUTHENTICATED, LATE_DAYS, Planner, Withheld, due_days, plannable
from dmarcmilter.reports.delivery.destination_verification import VERIFY_SECONDS
from dmarcmilter.reports.delivery.destinations import Destination, Verification
from dmarcmilter.reports.delivery.dkim_signing import Signer
from dmarcmilter.reports.delivery.ledger import Ledger
from dmarcmilter.reports.delivery.organization_turns import organization_of
from dmarcmilter.reports.delivery.relay import Transport
from dmarcmilter.reports.delivery.report_tables import Kind, Planned
from dmarcmilter.reports.delivery.sending import Progress, Sending, Sum, World, asked
from dmarcmilter.reports.delivery.suppressions import Lock, Standing, Upkeep
from dmarcmilter.reports.failure.incident_spool import Entry, Spool
from dmarcmilter.reports.failure.planning import Fate, Judged, Merging

log = logging.getLogger(__name__)

KEPT_DAYS = 7
"""Days that the content of a report is kept after the last of its messages was done with."""
REMEMBERED_DAYS = 60
"""Days that it is remembered what was sent: longer than any day is looked at, and any bounce takes."""
WAITING_DAYS = 30
"""Days after which a report that could not be sent is given up: longer than the second suppression of its address."""
PLAN_SECONDS = 900.0
"""Seconds of one run for planning aggregate reports. The next run goes on with what is left."""
RUN_SECONDS = 2400.0
"""Seconds after which a run starts no further delivery; below TimeoutStartSec of its unit, so that it ends in order."""
BUSY = "another run of reports is going on"


def no_progress(step: str, done: int, total: int) -> None:
    """For a run that nobody watches."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a run is asked for beyond what is due."""

    day: date | None = None
    domain: str = ""
    resend_uncertain: bool = False
    kinds: tuple[Kind, ...] = (Kind.FAILURE, Kind.AGGREGATE)
    """In the order of sending: the fewer and more urgent ones first."""


class Run:
    def __init__(
        self,
        store: Store,
        settings: Reports,
        world: World,
        transport: Transport,
        signer: Signer | None = None,
        *,
        clock: Callable[[], float],
        timer: Callable[[], float] = time.monotonic,
        progress: Progress = no_progress,
    ) -> None:
        self.ledger = Ledger(store)
        self.standing = Standing(store)
        self.lock = Lock(store)
        self._upkeep = Upkeep(store)
        self._planner = Planner(store, self.ledger, settings, world.suffixes)
        self._sending = Sending(self.ledger, self.standing, self.lock, settings, signer, world)
        self._spool = Spool(settings.failure.spool, lambda domain: organization_of(world.suffixes, domain))
        self._merging = Merging(self._spool, self.ledger, settings, world)
        self._settings = settings
        self._world = world
        self._transport = transport
        self._clock = clock
        self._timer = timer
        self._began = timer()
        self._progress = progress

    def go(self, ask: Ask = Ask()) -> Sum:
        """All that is due."""
        done = Sum()
        self._began = self._timer()
        if not self.lock.take(self._now()):
            done.stopped = BUSY
            return done
        try:
            self._go(ask, done)
        finally:
            self._transport.close()
        self.lock.leave()
        return done

    def _go(self, ask: Ask, done: Sum) -> None:
        self.ledger.interrupted(self._now())
        if ask.resend_uncertain:
            self.ledger.resend_uncertain(self._now())
        if Kind.FAILURE in ask.kinds:
            self._plan_failures(done)
        if Kind.AGGREGATE in ask.kinds:
            self._plan(ask, done)
        if not done.stopped:
            self._deliver(ask.kinds, done)
            self._forget()
        if done.troubles and not (done.sent or done.stopped):
            trouble = f"the relay does not take reports now: it ended {done.troubles} connections and took none"
            done.left = "; ".join(filter(None, (trouble, done.left)))

    def _deliver(self, kinds: Iterable[Kind], done: Sum) -> None:
        for kind in kinds:
            if not self._sending.deliver(kind, self._transport, self._now, done, self._progress, self._is_over):
                return

    def _is_over(self) -> bool:
        return self._timer() >= self._began + RUN_SECONDS

    def incidents(self) -> list[tuple[Entry, Judged]]:
        """What the spool holds, and what a run would do with it."""
        return list(self._merging.judged(self._now()))

    def preview(self, ask: Ask = Ask()) -> Iterator[Withheld | tuple[Planned, list[Destination]]]:
        """What `go` would plan, and what the destinations say; nothing is remembered."""
        end = self._timer() + VERIFY_SECONDS
        for day in self._days(ask)[0]:
            for planned in self._planner.plan(day, domain=ask.domain, dry=True):
                if isinstance(planned, Withheld):
                    yield planned
                else:
                    yield planned, [self._previewed(planned, uri, end) for uri in planned.uris]

    def _previewed(self, planned: Planned, uri: str, end: float) -> Destination:
        if self._timer() >= end:
            return Destination(uri, Verification.UNKNOWN, reason="not asked: the time for it is over")
        return asked(self._world, planned.attachment.domain, uri)

    def _now(self) -> int:
        return int(self._clock())

    def _today(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    def _days(self, ask: Ask) -> tuple[list[date], str]:
        known = self.ledger.days()
        if ask.day is None:
            return due_days(known, self._today()), ""
        problem = plannable(ask.day, known, self._today())
        return ([] if problem else [ask.day]), problem

    def _plan(self, ask: Ask, done: Sum) -> None:
        """Days that were not planned yet come first: looking again at older ones must not keep them waiting."""
        days, done.stopped = self._days(ask)
        end = self._timer() + PLAN_SECONDS
        planned = {day: self.ledger.planned_of(day) for day in days}
        ordered = sorted(days, key=lambda day: planned[day] >= 0)
        for count, day in enumerate(ordered, start=1):
            self._plan_day(day, planned[day], ask, done, lambda: self._timer() >= end)
            self._progress("planning", count, len(days))

    def _plan_day(self, day: date, planned: int, ask: Ask, done: Sum, stop: Callable[[], bool]) -> None:
        outcomes = self.ledger.outcomes(day)
        if ask.day is None and outcomes == planned:
            self._plan_released(day, done)
            is_whole = True
        else:
            is_whole = self._keep_all(day, ask.domain, done, go_on=planned == PARTLY and not ask.domain, stop=stop)
        if ask.domain:
            return
        if is_whole:
            # What arrived late for domains that were planned before is found when the day is looked at again.
            self.ledger.examined(day, self._today().date(), NEVER if planned == PARTLY else outcomes)
        elif planned < 0:
            self.ledger.examined(day, date.min, PARTLY)
            done.lines.append(f"{day}: not all reports were planned in time, the next run goes on")
        else:
            self.ledger.examined(day, self._today().date(), planned)
            done.lines.append(f"{day}: not all of it was looked at again in time")

    def _plan_released(self, day: date, done: Sum) -> None:
        """Nothing more came of that day; but mail of another may have shown that a domain is somebody's."""
        for domain in self.ledger.released(day, AUTHENTICATED):
            self._keep_all(day, domain, done)
            self.ledger.release(domain, day)

    def _keep_all(
        self,
        day: date,
        domain: str,
        done: Sum,
        *,
        go_on: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """False: it was stopped before all was planned."""
        stopped = False

        def is_over() -> bool:
            nonlocal stopped
            stopped = stop()
            return stopped

        beyond: Counter[str] = Counter()
        for planned in self._planner.plan(day, domain=domain, go_on=go_on, stop=is_over):
            self.lock.refresh(self._now())
            if isinstance(planned, Withheld):
                done.withheld += 1
                beyond[planned.beyond_limit_of] += 1
                continue
            # The file first: a report that is planned is never composed again.
            self._archive(planned)
            self.ledger.keep(planned, self._now())
            done.planned += 1
        del beyond[""]
        done.lines += [f"{name}: {count} domains beyond max_per_organization" for name, count in beyond.items()]
        return not stopped

    def _plan_failures(self, done: Sum) -> None:
        """A report is remembered before its incident is removed, and known by the incident's id: made once."""
        reported = []
        for count, (entry, judged) in enumerate(self._merging.judged(self._now()), start=1):
            self.lock.refresh(self._now())
            if judged.fate is Fate.REPORT:
                reported.append(entry)
            elif judged.fate is not Fate.WAIT:
                done.withheld += judged.fate is Fate.DROP
                entry.path.unlink(missing_ok=True)
            self._progress("planning", count, count)
        records = self._merging.spf_records([entry.incident for entry in reported])
        for entry in reported:
            self.lock.refresh(self._now())
            try:
                planned = self._merging.planned(entry.incident, records.get(entry.incident.id, ()), self._now())
            except Exception:
                # A bug for one incident must not keep all others from being reported.
                log.exception("reports: %s: internal error", entry.path.name)
                done.withheld += 1
                entry.path.unlink(missing_ok=True)
                continue
            self._archive_file(planned.day, f"{planned.report_id}.eml", planned.content)
            self.ledger.keep_failure(planned, self._now())
            done.planned += 1
            entry.path.unlink(missing_ok=True)
        self._spool.tidy(self._clock())

    def _archive(self, planned: Planned) -> None:
        self._archive_file(planned.day, planned.attachment.file_name, planned.attachment.content)

    def _archive_file(self, day: date, name: str, content: bytes) -> None:
        if not self._settings.archive:
            return
        folder = Path(self._settings.archive) / day.isoformat()
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        target = folder / name
        half = target.with_suffix(".part")
        half.write_bytes(content)
        os.replace(half, target)  # noqa: PTH105  the same as Path.replace

    def _forget(self) -> None:
        now = self._today()
        self.ledger.give_up(int((now - timedelta(days=WAITING_DAYS)).timestamp()), self._now())
        self.standing.prune(self._now())
        # By the outcomes' own time: a run whose clock is ahead must not forget what was counted.
        today = min(now.date(), self.ledger.newest() or now.date())
        self._upkeep.prune(
            reported_before=number(today - timedelta(days=LATE_DAYS + 1)),
            sent_before=int((now - timedelta(days=KEPT_DAYS)).timestamp()),
            made_before=int((now - timedelta(days=REMEMBERED_DAYS)).timestamp()),
        )
