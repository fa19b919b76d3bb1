"""The board in Prometheus's text format. prometheus_client writes it; the numbers are ours."""

import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from dmarcmilter.metrics import gauges
from dmarcmilter.metrics.board import Board, Sign, State
from dmarcmilter.metrics.families import FAMILIES, PREFIX, Family, Kind, place
from dmarcmilter.metrics.gauges import JournalState

__all__ = ["CONTENT_TYPE_LATEST", "Exposition", "liveliness"]


class Exposition(Collector):
    """All metrics as they are when somebody asks."""

    def __init__(self, board: Board, journal: Callable[[], JournalState]) -> None:
        self._board = board
        self._journal = journal
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """Nothing: the registry would otherwise collect, just to learn the names."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        totals = self._board.totals()
        for family in FAMILIES:
            yield _metric(family, totals)
        yield from _processes(self._board.signs())
        yield from _journal(self._journal())
        yield _gauge(
            "build_info",
            "Versions of filter and Python; always 1.",
            1,
            version=version("dmarcmilter"),
            python=platform.python_version(),
        )


def _metric(family: Family, totals: list[int]) -> Metric:
    labels = [family.label] if family.label else None
    match family.kind:
        case Kind.COUNTER:
            found: Metric = CounterMetricFamily(family.name, family.help, labels=labels)
        case Kind.GAUGE:
            found = GaugeMetricFamily(family.name, family.help, labels=labels)
        case Kind.HISTOGRAM:
            found = HistogramMetricFamily(family.name, family.help, labels=labels)
    for value in family.values:
        labelled = [value] if family.label else []
        start = place(family, value)
        if isinstance(found, HistogramMetricFamily):
            words = totals[start : start + family.width]
            found.add_metric(labelled, _buckets(family, words), words[-1] / family.scale)
        elif isinstance(found, CounterMetricFamily | GaugeMetricFamily):
            found.add_metric(labelled, totals[start])
    return found


def _buckets(family: Family, words: list[int]) -> list[tuple[str, float]]:
    """Prometheus's buckets hold all that is not above their bound."""
    bounds = [*map(str, family.bounds), "+Inf"]
    return list(zip(bounds, map(float, accumulate(words[:-1])), strict=True))


def _processes(signs: list[Sign]) -> Iterator[Metric]:
    workers = GaugeMetricFamily(PREFIX + "workers", "Worker processes.", labels=["state"])
    for state, number in liveliness(signs).items():
        workers.add_metric([state], number)
    yield workers
    oldest = max((sign.age for sign in signs), default=0.0)
    yield _gauge("worker_silence_seconds", "Seconds since the last sign of life of the most silent worker.", oldest)
    resident = gauges.resident_bytes(sign.pid for sign in signs)
    yield _gauge("workers_resident_bytes", "Memory of all workers; shared pages count for each.", resident)


def liveliness(signs: list[Sign]) -> dict[str, int]:
    """Workers by what they do."""
    return {state.name.lower(): sum(sign.state is state for sign in signs) for state in (State.SERVING, State.LEAVING)}


def _journal(state: JournalState) -> Iterator[Metric]:
    """What is not known is left out: no number would be true."""
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
