"""Run the faults, print what came of them, and end with 1 if anything was lost, doubled, or wrongly evaluated.

python -m chaos.run [--only NAME ...] [--seconds N] [--seed N] [--markdown FILE] [--list]
"""

import argparse
import contextlib
import re
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from chaos.account import Fate, Seen, Sent, deferrals, violations
from chaos.faults import FAULTS, Fault
from chaos.stand import Stand, standing
from tests.support.mta.postfix import missing_postfix

BEFORE, AFTER = 0.15, 0.15
"""Parts of the load before and after the fault."""
END_SECONDS = 60.0
"""In which all that was put off must get through when the fault is over."""
DELIVERY_SECONDS = 30.0
QUEUE_ID = re.compile(r"[0-9A-Za-z]{6,}")
"""The form of Postfix's queue ids."""
SHOWN = 10
"""Violations of one fault."""


@dataclass(frozen=True, slots=True)
class Result:
    """A row of the table."""

    fault: Fault
    sent: int
    delivered: int
    held: int
    refused: int
    deferred: int
    """Attempts."""
    outcomes: int
    in_log: int
    """Outcomes that only the filter's log has, because the journal could not be written."""
    longest: float
    """Seconds that a reply took."""
    deaths: int
    notes: tuple[str, ...]
    violations: tuple[str, ...]


def run(fault: Fault, *, seconds: float, seed: int) -> Result:
    with contextlib.ExitStack() as stack:
        stand = stack.enter_context(standing(fault.name, seed, fault.needs(stack)))
        try:
            return _run(fault, stand, seconds)
        except BaseException:
            _keep_logs(fault, stand)
            raise


def _run(fault: Fault, stand: Stand, seconds: float) -> Result:
    stand.traffic.start()
    try:
        time.sleep(seconds * BEFORE)
        with fault.inject(stand):
            time.sleep(seconds * (1 - BEFORE - AFTER))
        time.sleep(seconds * AFTER)
    finally:
        stand.traffic.finish(END_SECONDS)
    stand.wait_for_deliveries(DELIVERY_SECONDS)
    for last in stand.at_the_end:
        last()
    seen = stand.seen()
    if fault.strangers:
        # A malformed conversation may tell a queue id that is none, such as the name of a macro.
        kept = {queue_id: found for queue_id, found in seen.outcomes.items() if QUEUE_ID.fullmatch(queue_id)}
        seen = replace(seen, outcomes=kept)
    found = [*violations(seen), *stand.problems]
    if not fault.felt(stand):
        found.append("the fault was not felt: this run shows nothing")
    if found:
        _keep_logs(fault, stand)
    return _result(fault, stand, seen, found)


def _result(fault: Fault, stand: Stand, seen: Seen, found: list[str]) -> Result:
    ends = [_end(sent, seen) for sent in seen.sent]
    return Result(
        fault=fault,
        sent=len(seen.sent),
        delivered=ends.count(Fate.DELIVERED),
        held=ends.count(Fate.HELD),
        refused=ends.count(Fate.REFUSED),
        deferred=sum(map(deferrals, seen.sent)),
        outcomes=sum(len(actions) for actions in seen.outcomes.values()),
        in_log=len(stand.filter.unwritten()),
        longest=max((attempt.seconds for sent in seen.sent for attempt in sent.attempts), default=0.0),
        deaths=stand.filter.deaths(),
        notes=tuple(stand.notes),
        violations=tuple(found),
    )


def _end(sent: Sent, seen: Seen) -> Fate | None:
    """What became of it, whatever should have."""
    if sent.end is None:
        return None
    if sent.end.code != 250:
        return Fate.REFUSED
    return Fate.DELIVERED if seen.delivered.get(sent.message_id) else Fate.HELD


def _keep_logs(fault: Fault, stand: Stand) -> None:
    """Keep the logs of a run that failed, whose folders are about to be removed."""
    folder = Path(tempfile.mkdtemp(prefix=f"dmarcmilter-chaos-{fault.name}-"))
    (folder / "filter.log").write_text(stand.filter.log(), encoding="utf-8")
    (folder / "postfix.log").write_text(stand.postfix.log(), encoding="utf-8")
    sys.stdout.write(f"{fault.name}: logs kept in {folder}\n")


HEAD = ("fault", "sent", "delivered", "held", "refused", "put off", "outcomes", "in log", "longest", "deaths", "wrong")


def _cells(result: Result) -> tuple[str, ...]:
    numbers = (result.sent, result.delivered, result.held, result.refused, result.deferred, result.outcomes)
    tail = (result.in_log, f"{result.longest:.1f} s", result.deaths, len(result.violations))
    return (result.fault.name, *map(str, numbers), *map(str, tail))


def _line(cells: tuple[str, ...]) -> str:
    return f"{cells[0]:16}" + "".join(f"{cell:>10}" for cell in cells[1:])


def markdown(results: list[Result]) -> str:
    """The table in docs/dev/faults.md."""
    rows = [HEAD, ("---", *["---:"] * (len(HEAD) - 1)), *map(_cells, results)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[fault.name for fault in FAULTS], default=[])
    parser.add_argument("--seconds", type=float, default=0.0, help="of load for each fault; 0: what it needs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--markdown", type=Path, help="a file for the table")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        sys.stdout.writelines(f"{fault.name:16} {fault.what}\n" for fault in FAULTS)
        return 0
    if reason := missing_postfix():
        sys.stderr.write(f"chaos: {reason}\n")
        return 2
    return _run_all([f for f in FAULTS if f.name in options.only or not options.only], options)


def _run_all(faults: list[Fault], options: argparse.Namespace) -> int:
    sys.stdout.write(f"{_line(HEAD)}\n")
    results, left_out = [], 0
    for fault in faults:
        if reason := fault.missing():
            sys.stdout.write(f"{fault.name:16} NOT RUN: {reason}\n")
            left_out += 1
            continue
        result = run(fault, seconds=options.seconds or fault.seconds, seed=options.seed)
        results.append(result)
        notes = f"  ({'; '.join(result.notes)})" if result.notes else ""
        sys.stdout.write(f"{_line(_cells(result))}{notes}\n")
        sys.stdout.writelines(f"    {violation}\n" for violation in result.violations[:SHOWN])
        sys.stdout.flush()
    if options.markdown:
        options.markdown.write_text(markdown(results), encoding="utf-8")
    wrong = sum(len(result.violations) for result in results)
    sys.stdout.write(f"{len(results)} faults, {left_out} not run, {wrong} violations\n")
    return 1 if wrong or left_out else 0


if __name__ == "__main__":
    sys.exit(main())
