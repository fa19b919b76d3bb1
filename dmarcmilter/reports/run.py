"""One run of reports: plan, compose, archive, verify, send. Each step is remembered, and a crashed run is taken up."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from dmarcmilter.history.store import Store
from dmarcmilter.reports.delivery import Transport
from dmarcmilter.reports.destinations import Destination
from dmarcmilter.reports.ledger import Ledger, Planned
from dmarcmilter.reports.message import Signer
from dmarcmilter.reports.planning import LATE_DAYS, Planner, Withheld, due_days, plannable
from dmarcmilter.reports.sending import Progress, Sending, Sum, World, asked
from dmarcmilter.reports.standing import Lock, Standing, Upkeep
from dmarcmilter.reports.stored import number
from dmarcmilter.settings import Reports

KEPT_DAYS = 7
"""Days that the content of a report is kept after the last of its messages was done with."""
BUSY = "another run of reports is going on"


def no_progress(step: str, done: int, total: int) -> None:
    """For a run that nobody watches."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a run is asked for beyond what is due."""

    day: date | None = None
    domain: str = ""
    resend_uncertain: bool = False


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
        self._plan(ask, done)
        if not done.stopped:
            self._sending.verify_destinations(self._now, done, self._progress)
            self._sending.send_due(self._transport, self._now, done, self._progress)
            self._forget()

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
            for planned in self._planner.plan(day, domain=ask.domain):
                self.lock.refresh(self._now())
                if isinstance(planned, Withheld):
                    done.withheld += 1
                else:
                    # The file first: a report that is planned is never composed again.
                    self._archive(planned)
                    self.ledger.keep(planned, self._now())
                    done.planned += 1
            if not ask.domain:
                self.ledger.examined(day, self._today().date())
            self._progress("planning", count, len(days))

    def _archive(self, planned: Planned) -> None:
        if not self._settings.archive:
            return
        folder = Path(self._settings.archive) / planned.day.isoformat()
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        target = folder / planned.attachment.file_name
        half = target.with_suffix(".part")
        half.write_bytes(planned.attachment.content)
        os.replace(half, target)  # noqa: PTH105  the same as Path.replace

    def _forget(self) -> None:
        now = self._today()
        self._upkeep.prune(
            reported_before=number(now.date() - timedelta(days=LATE_DAYS + 1)),
            sent_before=int((now - timedelta(days=KEPT_DAYS)).timestamp()),
        )
