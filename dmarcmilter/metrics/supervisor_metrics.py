"""Metrics that the supervisor counts in its row: restarts, reloads, the conf in force. One thread, so no lock."""

import time
from datetime import UTC, datetime

from dmarcmilter.config.schema import Config
from dmarcmilter.metrics import metric_definitions as f
from dmarcmilter.metrics.board import Row
from dmarcmilter.metrics.metric_definitions import Ended, Reloaded, place
from dmarcmilter.policy.rules import Mode


class SupervisorMetrics:
    def __init__(self, row: Row) -> None:
        self._row = row
        row.set(place(f.STARTED), int(time.time()))

    def loaded(self, config: Config, *, workers: int, psl_date: str) -> None:
        """Record that a conf file is in force from now on."""
        self._row.set(place(f.LOADED), int(time.time()))
        self._row.set(place(f.WANTED), workers)
        self._row.set(place(f.ENFORCING), config.policy.mode is Mode.ENFORCE)
        self._row.set(place(f.PSL_DATE), _timestamp(psl_date))

    def ended(self, how: Ended) -> None:
        self._row.add(place(f.RESTARTS, how))

    def reloaded(self, result: Reloaded) -> None:
        self._row.add(place(f.RELOADS, result))


def _timestamp(date: str) -> int:
    """Seconds since 1970 of a date as the public suffix list has it; 0: unknown."""
    try:
        return int(datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return 0
