"""Faults of what the system gives: descriptors, memory, the time of day."""

import contextlib
import os
import random
import resource
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from chaos.repeating import repeating
from chaos.stand import Stand
from tests.support.running_daemon import workers

CHANGE_SECONDS = 0.7
DESCRIPTORS = (0, 1, 2, 3, 5, 8, 12, 20)
"""Left to a worker beyond those that it has."""
MEMORY = (0, 65_536, 262_144, 1_048_576, 4_194_304, 9_000_000, 20_000_000)
"""Octets of address space left to a worker; a thread's stack alone takes 8 MB."""
JUMPS = ("+1d", "-1d", "+400d", "-3h", "+0")
CLOCK = "clock"
"""In the stand's folder: the file that the filter's clock goes by."""


@contextlib.contextmanager
def few_descriptors(stand: Stand) -> Iterator[None]:
    with _limited(stand, resource.RLIMIT_NOFILE, _descriptors, DESCRIPTORS):
        yield


@contextlib.contextmanager
def little_memory(stand: Stand) -> Iterator[None]:
    with _limited(stand, resource.RLIMIT_AS, _memory, MEMORY):
        yield


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGESIZE")


@contextlib.contextmanager
def _limited(stand: Stand, kind: int, used: Callable[[int], int], left: Sequence[int]) -> Iterator[None]:
    """Each worker may have only a little more than it has, each time another little; at the end, what it had."""
    chance = random.Random(stand.traffic.seed)  # noqa: S311
    before = resource.getrlimit(kind)

    def limit() -> None:
        for pid in workers(stand.filter):
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                resource.prlimit(pid, kind, (used(pid) + chance.choice(left), before[1]))

    try:
        with repeating(limit, CHANGE_SECONDS):
            yield
    finally:
        for pid in workers(stand.filter):
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, kind, before)


@contextlib.contextmanager
def clock_jumps(stand: Stand) -> Iterator[None]:
    """The filter's time of day jumps; no clock that only counts does (see clock_of)."""
    where = Path(stand.filter.environment["FAKETIME_TIMESTAMP_FILE"])
    jumps = iter(JUMPS * 100)

    def jump() -> None:
        set_clock(where, next(jumps))

    try:
        with repeating(jump, 2 * CHANGE_SECONDS):
            yield
    finally:
        set_clock(where, "+0")


def set_clock(where: Path, offset: str) -> None:
    draft = where.with_suffix(".new")
    draft.write_text(f"{offset}\n", encoding="ascii")
    draft.rename(where)


def faketime() -> str:
    """The library that gives a process another time of day; empty: it is not installed."""
    return next((str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), "")


def clock_of(folder: Path) -> dict[str, str]:
    """The environment of a process whose time of day goes by a file."""
    where = folder / CLOCK
    set_clock(where, "+0")
    return {
        "LD_PRELOAD": faketime(),
        "FAKETIME_TIMESTAMP_FILE": str(where),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
