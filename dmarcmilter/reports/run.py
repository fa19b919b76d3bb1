"""One run of reports: plan, compose, archive, verify, send. Each step is remembered, and a crashed run is taken up."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from dmarcmilter.history.store import Store
from dmarcmilter.reports.book import Kind, Planned
from dmarcmilter.reports.delivery import Transport
from dmarcmilter.reports.destinations import Destination
from dmarcmilter.reports.ledger import Ledger
from dmarcmilter.reports.merging import Fate, Judged, Merging
from dmarcmilter.reports.planning import AUTHENTICATED, LATE_DAYS, Planner, Withheld, due_days, plannable
from dmarcmilter.reports.sending import Progress, Sending, Sum, World, asked
from dmarcmilter.reports.signing import Signer
from dmarcmilter.reports.spool import Entry, Spool
from dmarcmilter.reports.standing import Lock, Standing, Upkeep
from dmarcmilter.reports.stored import number
from dmarcmilter.settings import Reports

KEPT_DAYS = 7
"""Days that the content of a report is kept after the last of its messages was done with."""
REMEMBERED_DAYS = 60
"""Days that it is remembered what was sent: longer than any day is looked at, and any bounce takes."""
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
        progress: Progress = no_progress,
    ) -> None:
        self.ledger = Ledger(store)
        self.standing = Standing(store)
        self.lock = Lock(store)
        self._upkeep = Upkeep(store)
        self._planner = Planner(store, self.ledger, settings)
        self._sending = Sending(self.ledger, self.standing, self.lock, settings, signer, world)
        self._spool = Spool(settings.failure.spool)
        self._merging = Merging(self._spool, self.ledger, settings, world)
        self._settings = settings
        self._world = world
        self._transport = transport
        self._clock = clock
        self._progress = progress

    def go(self, ask: Ask = Ask()) -> Sum:
        """All that is due."""
        done = Sum()
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

    def _deliver(self, kinds: Iterable[Kind], done: Sum) -> None:
        for kind in kinds:
            self._sending.verify_destinations(kind, self._now, done, self._progress)
            if not self._sending.send_due(kind, self._transport, self._now, done, self._progress):
                return

    def incidents(self) -> list[tuple[Entry, Judged]]:
        """What the spool holds, and what a run would do with it."""
        return list(self._merging.judged(self._now()))

    def preview(self, ask: Ask = Ask()) -> Iterator[Withheld | tuple[Planned, list[Destination]]]:
        """What `go` would plan, and what the destinations say; nothing is remembered."""
        for day in self._days(ask)[0]:
            for planned in self._planner.plan(day, domain=ask.domain, dry=True):
                if isinstance(planned, Withheld):
                    yield planned
                else:
                    yield planned, [asked(self._world, planned.attachment.domain, uri) for uri in planned.uris]

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
        days, done.stopped = self._days(ask)
        for count, day in enumerate(days, start=1):
            outcomes = self.ledger.outcomes(day)
            if ask.day is None and outcomes == self.ledger.planned_of(day):
                self._plan_released(day, done)
            else:
                self._keep_all(day, ask.domain, done)
            if not ask.domain:
                self.ledger.examined(day, self._today().date(), outcomes)
            self._progress("planning", count, len(days))

    def _plan_released(self, day: date, done: Sum) -> None:
        """Nothing more came of that day; but mail of another may have shown that a domain is somebody's."""
        for domain in self.ledger.released(day, AUTHENTICATED):
            self._keep_all(day, domain, done)
            self.ledger.release(domain, day)

    def _keep_all(self, day: date, domain: str, done: Sum) -> None:
        for planned in self._planner.plan(day, domain=domain):
            self.lock.refresh(self._now())
            if isinstance(planned, Withheld):
                done.withheld += 1
                continue
            # The file first: a report that is planned is never composed again.
            self._archive(planned)
            self.ledger.keep(planned, self._now())
            done.planned += 1

    def _plan_failures(self, done: Sum) -> None:
        """A report is remembered before its incident is removed, and known by the incident's id: made once."""
        for count, (entry, judged) in enumerate(self._merging.judged(self._now()), start=1):
            self.lock.refresh(self._now())
            match judged.fate:
                case Fate.REPORT:
                    planned = self._merging.planned(entry.incident, self._now())
                    self._archive_file(planned.day, f"{planned.report_id}.eml", planned.content)
                    self.ledger.keep_failure(planned, self._now())
                    done.planned += 1
                case Fate.DROP:
                    done.withheld += 1
            if judged.fate is not Fate.WAIT:
                entry.path.unlink(missing_ok=True)
            self._progress("planning", count, count)
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
        self._upkeep.prune(
            reported_before=number(now.date() - timedelta(days=LATE_DAYS + 1)),
            sent_before=int((now - timedelta(days=KEPT_DAYS)).timestamp()),
            made_before=int((now - timedelta(days=REMEMBERED_DAYS)).timestamp()),
        )
