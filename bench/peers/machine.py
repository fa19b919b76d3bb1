"""The machine that is measured on: what it is, and how busy others keep it meanwhile."""

import os
import platform
from pathlib import Path

from bench.peers.process_group import TICKS
from dmarcmilter.value import Value


class ProcessorTime(Value):
    """Seconds of all processors since the machine started."""

    busy: float
    stolen: float
    """Taken by the host for other machines; part of `busy`."""


def processor_time() -> ProcessorTime:
    line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    user, nice, system, _idle, _iowait, irq, softirq, stolen, *_ = map(int, line.split()[1:])
    return ProcessorTime((user + nice + system + irq + softirq + stolen) / TICKS, stolen / TICKS)


def description() -> str:
    """One line: processors, memory, system, Python."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    release = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return (
        f"{os.cpu_count()} x {_processor()}, {memory:.0f} GB, {release}, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
