# ruff: noqa: T201  the table is printed
"""What hostile input can cost: each module at a quarter, a half and all of the largest size that comes through.

python bench/worstcase.py [WORD ...]    only the classes with one of these words in module or name

Growth is the time at the full size by the time at half of it: 2 is linear. Flagged: growth above MAX_GROWTH where
the times are long enough to tell, and anything above MAX_MILLISECONDS at the full size.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.case import Case  # noqa: E402
from bench.headers import header_cases  # noqa: E402
from bench.messages import message_cases  # noqa: E402
from bench.records import record_cases  # noqa: E402
from bench.signatures import signature_cases  # noqa: E402

MAX_GROWTH = 2.6
"""For a doubled size. Linear work with a cache that no longer fits grows by a little more than 2."""
MAX_MILLISECONDS = 500.0
TELLING = 10.0
"""Milliseconds below which a growth says nothing."""
ENOUGH = 0.3
"""Seconds after which one more repetition would be waste."""
REPETITIONS = 5


def measure(case: Case, size: int) -> float:
    """Milliseconds, the best of a few."""
    data = case.make(size)
    best, spent = float("inf"), 0.0
    for _ in range(REPETITIONS):
        start = time.process_time()
        case.read(data)
        took = time.process_time() - start
        best, spent = min(best, took), spent + took
        if spent > ENOUGH:
            break
    return best * 1000


def measured(case: Case) -> tuple[list[float], float, str]:
    """Milliseconds at the three sizes, the growth, and what is wrong with them. What grows is measured once more."""
    for _ in range(2):
        times = [measure(case, max(1, case.largest // part)) for part in (4, 2, 1)]
        growth = times[2] / times[1] if times[1] else 0.0
        grows = growth > MAX_GROWTH and times[2] > TELLING
        if not grows:
            break
    slow = times[2] > MAX_MILLISECONDS
    return times, growth, " ".join(["GROWS"] * grows + ["SLOW"] * slow)


def cases(words: list[str]) -> Iterator[Case]:
    for case in (*header_cases(), *signature_cases(), *record_cases(), *message_cases()):
        if not words or any(word in f"{case.module} {case.name}" for word in words):
            yield case


def main(words: list[str]) -> int:
    flagged = 0
    columns = " ".join(f"{name:>8}" for name in ("ms n", "ms 2n", "ms 4n"))
    print(f"{'module':<15} {'input':<54} {'size 4n':<19} {columns} growth")
    for case in cases(words):
        times, growth, flags = measured(case)
        flagged += bool(flags)
        size = f"{case.largest:>9} {case.unit:<9}"
        row = " ".join(f"{took:>8.2f}" for took in times)
        print(f"{case.module:<15} {case.name:<54} {size} {row} {growth:>6.2f} {flags}".rstrip())
        sys.stdout.flush()
    print(f"{flagged} flagged")
    return 1 if flagged else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
