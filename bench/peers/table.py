"""The table of all runs, in Markdown: medians over the rounds, with the least and the most."""

import statistics
from collections.abc import Callable, Sequence

from bench.peers.measurement import Run

HEADINGS = (
    "filter", "c", "CPU ms a message", "ratio", "messages/s", "ratio", "end of message ms p50 / p95 / p99",
    "all phases ms p50 / p95 / p99", "ratio p50 / p95", "PSS MB", "ready s", "DNS queries", "agreement %",
)  # fmt: skip


def table(runs: Sequence[Run], relative_to: str) -> str:
    """A line for each filter and number of connections. Ratios are medians of the ratios within a round."""
    rows: list[tuple[str, ...]] = [HEADINGS]
    for connections in sorted({run.connections for run in runs}):
        reference = {run.round: run for run in runs if (run.filter, run.connections) == (relative_to, connections)}
        for name in dict.fromkeys(run.filter for run in runs):
            own = [run for run in runs if (run.filter, run.connections) == (name, connections)]
            if own:
                rows.append(_row(own, reference))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def _row(runs: list[Run], reference: dict[int, Run]) -> tuple[str, ...]:
    def middle(value: Callable[[Run], float], digits: int) -> str:
        values = [value(run) for run in runs]
        low, high = min(values), max(values)
        return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"

    def ratio(value: Callable[[Run], float]) -> str:
        pairs = [(value(run), value(reference[run.round])) for run in runs if run.round in reference]
        return f"{statistics.median(own / other for own, other in pairs):.2f}" if pairs else "-"

    def percentiles(values: Callable[[Run], tuple[float, ...]]) -> str:
        return " / ".join(f"{statistics.median(column):.1f}" for column in zip(*map(values, runs), strict=True))

    return (
        runs[0].filter,
        str(runs[0].connections),
        middle(lambda run: run.cpu_ms, 2),
        ratio(lambda run: run.cpu_ms),
        middle(lambda run: run.messages_per_second, 0),
        ratio(lambda run: run.messages_per_second),
        percentiles(lambda run: run.end_of_message_ms),
        percentiles(lambda run: run.total_ms),
        f"{ratio(lambda run: run.total_ms[0])} / {ratio(lambda run: run.total_ms[1])}",
        f"{statistics.median(run.pss_mb for run in runs):.0f}",
        f"{statistics.median(run.ready_s for run in runs):.2f}",
        f"{statistics.median(run.dns_queries for run in runs):.1f}",
        _agreement(runs) + _failures(runs),
    )


def _agreement(runs: list[Run]) -> str:
    """The worst run of each method."""
    shares = {method: min(run.agreement[method] for run in runs) for method in runs[0].agreement}
    return ", ".join(f"{method} {share:.4g}" for method, share in shares.items()) or "-"


def _failures(runs: list[Run]) -> str:
    failures = sum(run.failures for run in runs)
    return f"; {failures} FAILED" if failures else ""
