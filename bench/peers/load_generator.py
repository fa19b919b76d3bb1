"""The load generator: compiles milter_load.c and reads what it measured."""

import subprocess
from collections import defaultdict
from pathlib import Path

from bench.peers.corpus_files import StoredCorpus
from dmarcmilter.value import Value

SOURCE = Path(__file__).with_name("milter_load.c")
ACCEPTED = "ca"
"""Replies that accept a message."""


class Delivery(Value):
    """One message; times in milliseconds."""

    position: int
    verdict: str
    """Code of the filter's last reply; `!`: the connection broke."""
    total: float
    """Connection to last reply, all phases."""
    connect: float
    envelope: float
    header: float
    body: float
    end_of_message: float
    added: tuple[tuple[str, str], ...]
    """Header fields that the filter added: names and values."""


class Load(Value):
    deliveries: tuple[Delivery, ...]
    """In the order of the corpus."""
    seconds: float
    cpu_seconds: float
    """CPU time that the load generator itself used."""

    @property
    def failures(self) -> int:
        """Messages that were not accepted: every filter is configured to accept all."""
        return sum(delivery.verdict not in ACCEPTED for delivery in self.deliveries)


def compiled(folder: Path) -> Path:
    """The program; compiled first if it is older than its source. CalledProcessError: gcc has shown its messages."""
    program = folder / "milter_load"
    if not program.exists() or program.stat().st_mtime < SOURCE.stat().st_mtime:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread", "-o", str(program), str(SOURCE)]
        subprocess.run(command, check=True)  # noqa: S603  a fixed command
    return program


def deliver(
    program: Path, corpus: StoredCorpus, sockets: list[str], results: Path, *, first: int, count: int, connections: int
) -> Load:
    """Deliver `count` messages from position `first` on, `connections` at a time."""
    numbers = map(str, (first, count, connections))
    command = [str(program), str(corpus.folder), *numbers, str(results), *sockets]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603  our own program
    figures = dict(line.split() for line in output.splitlines())
    return Load(_deliveries(results), float(figures["wall"]), float(figures["cpu"]))


def _deliveries(results: Path) -> tuple[Delivery, ...]:
    added: dict[int, list[tuple[str, str]]] = defaultdict(list)
    messages: list[list[str]] = []
    for line in results.read_text("utf-8", "replace").split("\n"):
        kind, *columns = line.split("\t")
        if kind == "field":
            added[int(columns[0])].append((columns[1], columns[2]))
        elif kind == "message":
            messages.append(columns)
    deliveries = (_delivery(columns, added[int(columns[0])]) for columns in messages)
    return tuple(sorted(deliveries, key=lambda delivery: delivery.position))


def _delivery(columns: list[str], added: list[tuple[str, str]]) -> Delivery:
    position, verdict, *times = columns
    total, connect, envelope, header, body, end_of_message = (float(time) / 1000 for time in times)
    return Delivery(int(position), verdict, total, connect, envelope, header, body, end_of_message, added=tuple(added))
