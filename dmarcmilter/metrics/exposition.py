"""The metrics in Prometheus's text format, written by prometheus_client from the numbers of the board."""

import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from dmarcmilter.build_kind import build_kind
from dmarcmilter.metrics import gauges
from dmarcmilter.metrics.board import Board, Heartbeat, State
from dmarcmilter.metrics.gauges import JournalState
from dmarcmilter.metrics.metric_definitions import FAMILIES, PREFIX, Family, MetricKind, place

__all__ = ["CONTENT_TYPE_LATEST", "Exposition", "liveliness"]


class Exposition(Collector):
    """A collector that reads all metrics when the endpoint is queried."""

    def __init__(self, board: Board, journal: Callable[[], JournalState]) -> None:
        self._board = board
        self._journal = journal
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """Yield nothing; otherwise the registry would collect once to learn the names."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        totals = self._board.totals()
        for family in FAMILIES:
            yield _metric(family, totals)
        yield from _processes(self._board.heartbeats())
        yield from _journal(self._journal())
        yield _gauge(
            "build_info",
            "Versions of filter and Python, and whether the filter is compiled or interpreted; always 1.",
            1,
            version=version("dmarcmilter"),
            python=platform.python_version(),
            build=build_kind(),
        )


def _metric(family: Family, totals: list[int]) -> Metric:
    labels = [family.label] if family.label else None
    match family.kind:
        case MetricKind.COUNTER:
            metric: Metric = CounterMetricFamily(family.name, family.help, labels=labels)
        case MetricKind.GAUGE:
            metric = GaugeMetricFamily(family.name, family.help, labels=labels)
        case MetricKind.HISTOGRAM:
            metric = HistogramMetricFamily(family.name, family.help, labels=labels)
    for value in family.values:
        labelled = [value] if family.label else []
        start = place(family, value)
        if isinstance(metric, HistogramMetricFamily):
            words = totals[start : start + family.width]
            metric.add_metric(labelled, _buckets(family, words), words[-1] / family.scale)
        elif isinstance(metric, CounterMetricFamily | GaugeMetricFamily):
            metric.add_metric(labelled, totals[start])
    return metric


def _buckets(family: Family, words: list[int]) -> list[tuple[str, float]]:
    """Buckets as Prometheus wants them: each counts all values up to its bound."""
    bounds = [*map(str, family.bounds), "+Inf"]
    return list(zip(bounds, map(float, accumulate(words[:-1])), strict=True))


def _processes(heartbeats: list[Heartbeat]) -> Iterator[Metric]:
    workers = GaugeMetricFamily(PREFIX + "workers", "Worker processes.", labels=["state"])
    for state, number in liveliness(heartbeats).items():
        workers.add_metric([state], number)
    yield workers
    oldest = max((heartbeat.age for heartbeat in heartbeats), default=0.0)
    yield _gauge("worker_silence_seconds", "Seconds since the oldest heartbeat of a worker.", oldest)
    resident = gauges.resident_bytes(heartbeat.pid for heartbeat in heartbeats)
    yield _gauge("workers_resident_bytes", "Memory of all workers; shared pages count for each.", resident)


def liveliness(heartbeats: list[Heartbeat]) -> dict[str, int]:
    """Number of workers in each state."""
    return {
        state.name.lower(): sum(heartbeat.state is state for heartbeat in heartbeats)
        for state in (State.SERVING, State.LEAVING)
    }


def _journal(state: JournalState) -> Iterator[Metric]:
    """Gauges of the journal; a value that is not known is left out."""
    known = (
        ("journal_unread_bytes", "Bytes of the journal that the ingest has not taken in.", state.unread),
        ("ingest_age_seconds", "Seconds since the ingest last looked at the journal.", state.ingest_age),
        ("journal_free_bytes", "Free bytes on the journal's file system.", state.free),
    )
    for name, text, value in known:
        if value is not None:
            yield _gauge(name, text, value)


def _gauge(name: str, text: str, value: float, **labels: str) -> Metric:
    metric = GaugeMetricFamily(PREFIX + name, text, labels=list(labels))
    metric.add_metric(list(labels.values()), value)
    return metric
