"""The whole filter under load: real daemon, real DNS over loopback, messages over the milter protocol.

    python bench/load.py [--seconds 10] [--connections 8] [--workers 2] [--delay 0] [--soak]

Prints messages a second, CPU of the filter's processes for one message, and its memory. With --soak it prints a line
a minute, to see that memory and descriptors stay where they are. The load generator is Python too and shares the
cores: compare figures of one run only.
"""

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from dmarcmilter.demo.sample_messages import Sample, samples, zone
from dmarcmilter.demo.show import running, write_conf
from dmarcmilter.testing.milter_client import MilterClient
from dmarcmilter.testing.name_server import NameServer

TICKS = os.sysconf("SC_CLK_TCK")
MINUTE = 60.0


def children(parent: int) -> list[int]:
    pids = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii")
    return [parent, *(pid for child in pids.split() for pid in children(int(child)))]


def cpu_seconds(parent: int) -> float:
    total = 0
    for pid in children(parent):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory_megabytes(parent: int) -> float:
    """Proportional share, so that pages shared between workers count once."""
    kilobytes = 0
    for pid in children(parent):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            kilobytes += int(line.split()[1]) if line.startswith("Pss:") else 0
    return kilobytes / 1024


def descriptors(parent: int) -> int:
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in children(parent))


class Load:
    def __init__(self, address: str, mail: list[Sample]) -> None:
        self.address, self.mail = address, mail
        self.latencies: list[float] = []
        self.count = 0
        self.stop = threading.Event()

    def run(self, connections: int, seconds: float) -> None:
        threads = [threading.Thread(target=self._client, args=(number,)) for number in range(connections)]
        for thread in threads:
            thread.start()
        self.stop.wait(seconds)
        self.stop.set()
        for thread in threads:
            thread.join()

    def _client(self, number: int) -> None:
        position = number
        with MilterClient(self.address) as client:
            while not self.stop.is_set():
                sample = self.mail[position % len(self.mail)]
                began = time.perf_counter()
                client.deliver(sample.message, client_ip=sample.client_ip, helo=sample.helo, mail_from=sample.mail_from)
                self.latencies.append(time.perf_counter() - began)
                self.count += 1
                position += 1


def report(load: Load, seconds: float, cpu: float, process: int) -> None:
    taken, load.latencies = load.latencies, []
    count = len(taken)
    if count:
        sys.stdout.write(
            f"{count / seconds:8.0f} messages/s  {cpu * 1000 / count:6.2f} ms CPU each  "
            f"p50 {statistics.median(taken) * 1000:6.1f} ms  PSS {memory_megabytes(process):6.1f} MB  "
            f"{descriptors(process)} descriptors\n",
        )
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that each DNS answer takes")
    parser.add_argument("--soak", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dmarcmilter-load-") as state, NameServer(zone(), ttl=60) as server:
        server.delay = options.delay
        conf = write_conf(Path(state), server.port, workers=options.workers)
        with running(conf, Path(state) / "demo.sock") as process:
            load = Load(f"unix:{state}/demo.sock", samples())
            thread = threading.Thread(target=load.run, args=(options.connections, options.seconds))
            began, used = time.monotonic(), cpu_seconds(process)
            thread.start()
            while options.soak and thread.is_alive():
                thread.join(MINUTE)
                report(load, time.monotonic() - began, cpu_seconds(process) - used, process)
                began, used = time.monotonic(), cpu_seconds(process)
            thread.join()
            if not options.soak:
                report(load, time.monotonic() - began, cpu_seconds(process) - used, process)


if __name__ == "__main__":
    main()
