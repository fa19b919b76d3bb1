"""One run: a filter is started, takes a few messages to warm up, then those that are measured, and is stopped."""

import os
import time
from pathlib import Path

from bench.peers.agreement import agreement
from bench.peers.corpus import Expected
from bench.peers.corpus_files import StoredCorpus
from bench.peers.filters import Filter, Setting
from bench.peers.load_generator import Load, deliver
from bench.peers.machine import processor_time
from bench.peers.name_server import NameServer
from bench.peers.process_group import pss_megabytes
from bench.peers.running_filter import RunningFilter
from dmarcmilter.value import Value

WARM_UP = 40
"""Messages before those that are measured; they are the last of the corpus."""
WARM_UP_CONNECTIONS = 4
PERCENTILES = (50, 95, 99)


class Run(Value):
    """What one run of one filter gave; the rows of --json."""

    filter: str
    round: int
    connections: int
    messages: int
    failures: int
    """Messages that the filter did not accept, or did not answer."""
    cpu_ms: float
    """User and system time of all its processes, for one message."""
    messages_per_second: float
    end_of_message_ms: tuple[float, ...]
    """Percentiles (PERCENTILES) of the time from the end of the message to the reply."""
    total_ms: tuple[float, ...]
    """The same of the time from the connection to the reply, all phases."""
    phases_ms: dict[str, float]
    """Mean time in each phase."""
    pss_mb: float
    """Memory after the last message; pages that processes share count once."""
    processes: int
    ready_s: float
    dns_queries: float
    """For one message."""
    agreement: dict[str, float]
    generator_ms: float
    """CPU time of the load generator, for one message."""
    others: float
    """Percent of the machine's processors that others used meanwhile, the host included."""


class Bench(Value):
    """What all runs share."""

    program: Path
    corpus: StoredCorpus
    expected: list[Expected]
    name_server: NameServer
    setting: Setting


def measure(bench: Bench, filter_: Filter, *, round_: int, connections: int) -> Run:
    results = bench.setting.folder.with_suffix(".results")
    count = bench.corpus.count - WARM_UP
    with RunningFilter(filter_, bench.setting) as running:

        def load(first: int, count: int, connections: int) -> Load:
            return deliver(
                bench.program, bench.corpus, running.sockets, results, first=first, count=count, connections=connections
            )

        load(count, WARM_UP, min(connections, WARM_UP_CONNECTIONS))
        began, before = (
            time.monotonic(),
            (processor_time(), running.group.cpu_seconds(), bench.name_server.cpu_seconds()),
        )
        queries = bench.name_server.queries()
        measured = load(0, count, connections)
        after = processor_time(), running.group.cpu_seconds(), bench.name_server.cpu_seconds()
        seconds, queries = time.monotonic() - began, bench.name_server.queries() - queries
        pids = running.group.pids()
        memory = pss_megabytes(pids)
    cpu = after[1] - before[1]
    own = cpu + after[2] - before[2] + measured.cpu_seconds
    share = (after[0].busy - before[0].busy - own) / (seconds * (os.cpu_count() or 1))
    deliveries = measured.deliveries
    return Run(
        filter=filter_.name,
        round=round_,
        connections=connections,
        messages=count,
        failures=measured.failures,
        cpu_ms=1000 * cpu / count,
        messages_per_second=count / measured.seconds,
        end_of_message_ms=percentiles([delivery.end_of_message for delivery in deliveries]),
        total_ms=percentiles([delivery.total for delivery in deliveries]),
        phases_ms={
            phase: sum(getattr(delivery, phase) for delivery in deliveries) / count
            for phase in ("connect", "envelope", "header", "body", "end_of_message")
        },
        pss_mb=memory,
        processes=len(pids),
        ready_s=running.ready_seconds,
        dns_queries=queries / count,
        agreement=agreement(deliveries, bench.expected, filter_.reports),
        generator_ms=1000 * measured.cpu_seconds / count,
        others=max(0.0, 100 * share),
    )


def percentiles(values: list[float]) -> tuple[float, ...]:
    ordered = sorted(values)
    return tuple(ordered[round((len(ordered) - 1) * percent / 100)] for percent in PERCENTILES)
