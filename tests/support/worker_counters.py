"""What a worker's row of metrics holds after some events."""

from dmarcmilter.metrics.metric_definitions import FAMILIES, MetricKind, place
from dmarcmilter.metrics.worker_metrics import WorkerTally


def counted(*happenings):
    """(name, label value): number, of all counters that are not zero."""
    tally = WorkerTally()
    for happening in happenings:
        happening(tally)
    return {
        (family.name.removeprefix("dmarcmilter_"), value): tally.row.words[place(family, value)]
        for family in FAMILIES
        if family.kind is MetricKind.COUNTER
        for value in family.values
        if tally.row.words[place(family, value)]
    }


def observed(tally, family, value=""):
    """The one bucket of a histogram that counted something, and the sum."""
    start = place(family, value)
    words = tally.row.words[start : start + family.width].tolist()
    [bucket] = [number for number, count in enumerate(words[:-1]) if count]
    return bucket, words[-1]
