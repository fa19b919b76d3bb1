"""All processes of one filter: their CPU time, ended ones included, and their memory."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

TICKS = os.sysconf("SC_CLK_TCK")
CPUACCT = Path("/sys/fs/cgroup/cpuacct")
"""Controller of cgroup version 1."""
UNIFIED = Path("/sys/fs/cgroup")
"""Version 2, if it has a cgroup.controllers."""


class ProcessGroup(Protocol):
    def enter(self) -> None:
        """Called in the new process before it becomes the filter's."""

    def pids(self) -> list[int]: ...

    def cpu_seconds(self) -> float: ...

    def close(self) -> None:
        """All processes have ended."""


def process_group(name: str) -> ProcessGroup:
    """A control group where one can be made; otherwise the descendants of this process are followed in /proc."""
    for parent, file, unit in ((CPUACCT, "cpuacct.usage", 1e-9), (UNIFIED, "cpu.stat", 1e-6)):
        if not (parent / file).exists():
            continue
        folder = parent / f"dmarcmilter-bench-{os.getpid()}-{name}"
        try:
            folder.mkdir()
        except OSError:
            continue
        return _ControlGroup(folder, file, unit)
    return _Descendants()


class _ControlGroup:
    def __init__(self, folder: Path, file: str, unit: float) -> None:
        self._folder, self._file, self._unit = folder, file, unit

    def enter(self) -> None:
        (self._folder / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

    def pids(self) -> list[int]:
        return [int(pid) for pid in (self._folder / "cgroup.procs").read_text(encoding="ascii").split()]

    def cpu_seconds(self) -> float:
        # "usage_usec NUMBER" in version 2, a number alone in version 1.
        words = (self._folder / self._file).read_text(encoding="ascii").split()
        return int(words[1] if words[0] == "usage_usec" else words[0]) * self._unit

    def close(self) -> None:
        self._folder.rmdir()


class _Descendants:
    """The processes that this one started since. Exact to a tick of each (10 ms); loses what ends without a wait."""

    def __init__(self) -> None:
        self._before = set(_descendants(os.getpid()))

    def enter(self) -> None:
        """Nothing to do: the new process is a descendant."""

    def pids(self) -> list[int]:
        return [pid for pid in _descendants(os.getpid()) if pid not in self._before]

    def cpu_seconds(self) -> float:
        return sum(map(_cpu_seconds, self.pids()))

    def close(self) -> None:
        """Nothing was made."""


def cpu_seconds(pids: list[int]) -> float:
    return sum(map(_cpu_seconds, pids))


def pss_megabytes(pids: list[int]) -> float:
    """Proportional set size: a page that several processes share counts once."""
    kilobytes = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        except OSError:  # it has ended
            continue
        kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes / 1024


def _cpu_seconds(pid: int) -> float:
    """User and system time of the process, and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS


def _descendants(parent: int) -> Iterator[int]:
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        try:
            children = task.read_text(encoding="ascii").split()
        except OSError:
            continue
        for child in map(int, children):
            yield child
            yield from _descendants(child)
