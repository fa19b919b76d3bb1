"""Does a very large message hold up the others, and does the worker grow by it?

    python bench/large.py [--megabytes 50] [--times 3]

Small messages flow on four connections to one worker; then large ones come, one after another. Prints the small ones'
latencies before and meanwhile, and the memory of the filter before, at its peak and afterwards.
"""

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench.load import Load, memory_megabytes
from dmarcmilter.demo.sample_messages import Sample, samples, zone
from dmarcmilter.demo.show import running, write_conf
from dmarcmilter.testing.milter_client import MilterClient
from dmarcmilter.testing.name_server import NameServer

LINE = b"        <td>some cells of a table, as newsletters have them</td>\r\n"
SETTLE = 3.0
CONNECTIONS = 4


def quantiles(latencies: list[float]) -> str:
    ordered = sorted(latencies)
    p99 = ordered[int(len(ordered) * 0.99)]
    return (
        f"{len(ordered):6} small messages, p50 {statistics.median(ordered) * 1000:6.1f} ms  p99 {p99 * 1000:6.1f} ms  "
        f"longest {ordered[-1] * 1000:6.1f} ms"
    )


def take(load: Load) -> list[float]:
    taken, load.latencies = load.latencies, []
    return taken


class Peak(threading.Thread):
    """The most memory seen while it runs."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process, self.most, self.stop = process, 0.0, threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.05):
            self.most = max(self.most, memory_megabytes(self.process))


def send(address: str, sample: Sample, large: bytes, times: int) -> None:
    with MilterClient(address) as client:
        for number in range(times):
            began = time.perf_counter()
            message = sample.message + large
            client.deliver(message, client_ip=sample.client_ip, helo=sample.helo, mail_from=sample.mail_from)
            sys.stdout.write(f"large {number}: {time.perf_counter() - began:.2f} s\n")
            sys.stdout.flush()


def measure(address: str, process: int, large: bytes, times: int) -> None:
    mail = samples()
    load = Load(address, mail)
    threading.Thread(target=load.run, args=(CONNECTIONS, 3600.0), daemon=True).start()
    time.sleep(SETTLE)
    before = memory_megabytes(process)
    sys.stdout.write(f"before     {quantiles(take(load))}\n")
    peak = Peak(process)
    peak.start()
    # A process of its own: a client that is busy with 50 MB would hold up the other clients of this one.
    sender = multiprocessing.Process(target=send, args=(address, mail[0], large, times))
    sender.start()
    sender.join()
    sys.stdout.write(f"meanwhile  {quantiles(take(load))}\n")
    time.sleep(SETTLE)
    load.stop.set()
    peak.stop.set()
    after = memory_megabytes(process)
    sys.stdout.write(f"memory (PSS) before {before:.1f} MB, at most {peak.most:.1f} MB, afterwards {after:.1f} MB\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    large = LINE * (options.megabytes * 1_000_000 // len(LINE))
    with tempfile.TemporaryDirectory(prefix="dmarcmilter-large-") as state, NameServer(zone(), ttl=60) as server:
        conf = write_conf(Path(state), server.port, workers=1)
        with running(conf, Path(state) / "demo.sock") as process:
            measure(f"unix:{state}/demo.sock", process, large, options.times)


if __name__ == "__main__":
    main()
