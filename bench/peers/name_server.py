"""Knot DNS with the corpus's names as its root zone on 127.0.0.1, and a delay in front of it if one is wanted."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from bench.peers import dns_delay
from bench.peers.process_group import cpu_seconds

START_SECONDS = 20.0
CONF = """\
server:
    rundir: "{folder}"
    listen: {address}@53
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: error
database:
    storage: "{folder}"
mod-stats:
  - id: queries
    request-protocol: on
template:
  - id: default
    global-module: mod-stats/queries
zone:
  - domain: .
    file: "{zone}"
    zonefile-sync: -1
    journal-content: none
"""


class NameServer:
    """Context manager. Its first use also waits until the zone is loaded."""

    def __init__(self, folder: Path, zone: Path, delay_milliseconds: float) -> None:
        self._conf = folder / "knot.conf"
        text = CONF.format(folder=folder, address=dns_delay.UPSTREAM, zone=zone)
        self._conf.write_text(text, encoding="utf-8")
        self._commands = [["knotd", "-c", str(self._conf)]]
        if delay_milliseconds:
            self._commands.append([sys.executable, "-m", "bench.peers.dns_delay", str(delay_milliseconds)])
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._processes = [subprocess.Popen(command) for command in self._commands]  # noqa: S603  they are our own
        end = time.monotonic() + START_SECONDS
        while "[.]" not in self._control("zone-status", "."):
            if time.monotonic() > end:
                self.__exit__()
                raise RuntimeError("knotd does not load the zone; its messages are above")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(START_SECONDS)

    def queries(self) -> int:
        """Queries answered until now."""
        lines = [line for line in self._control("stats").splitlines() if "request-protocol[" in line]
        return sum(int(line.rpartition("=")[2]) for line in lines)

    def cpu_seconds(self) -> float:
        return cpu_seconds([process.pid for process in self._processes])

    def _control(self, *words: str) -> str:
        command = ["knotc", "-c", str(self._conf), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603


def address(delay_milliseconds: float) -> str:
    return dns_delay.LISTEN if delay_milliseconds else dns_delay.UPSTREAM
