"""What one fault is injected into: name server, next hop, filter and Postfix, and what was seen of a run with them."""

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from chaos.account import Fate, Seen
from chaos.mail import ZONE, Traffic
from dmarcmilter.history.ingest import Ingest
from dmarcmilter.history.store import Store, rows
from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import PROJECT, FilterDaemon
from tests.support.mta.postfix import PostfixServer
from tests.support.mta.smtp_sink import Sink
from tests.support.running_daemon import workers

WORKERS = 2
RESTART_SECONDS = 2.0
"""Between the end of the filter and its next start, as in our systemd unit."""
STARTS = 5
"""Before a service manager would give up."""
LOOK_SECONDS = 0.2
NOT_WRITTEN = "outcome not written: "
"""In the log, before an outcome that could not be written to the journal."""
CONF: dict[str, dict[str, Any]] = {
    "milter": {"workers": WORKERS, "drain_timeout": 8.0},
    "identity": {"authserv_id": "mx.test.example"},
    # So that a fault and what follows it fit into seconds.
    "dns": {"timeout": 1.0, "message_budget": 4.0},
    # What cannot be judged is put off: only so can every forgery be caught whatever happens to DNS.
    "dmarc": {"temperror": "tempfail"},
}
POSTFIX = {"enable_long_queue_ids": "yes"}
"""A short queue id may name two messages of a run."""


class Service(FilterDaemon):
    """The filter as a service manager runs it: started again when it ends, its log going on."""

    def __init__(self, sections: Mapping[str, Any], needs: "Needs") -> None:
        super().__init__(sections)
        self.environment = dict(needs.environment)
        self._prefix = list(needs.prefix)
        if needs.state:
            self.journal = needs.state / "journal"
        self.starts = 0
        self.failed_starts = 0
        self.most = 0
        """Processes at once."""
        self._wanted = True
        self._manager = threading.Thread(target=self._manage)

    def __enter__(self) -> Self:
        self._launch()
        self._wait_until_ready()
        self._manager.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wanted = False
        if self._manager.is_alive():
            self._manager.join()
        super().__exit__()

    def restart(self) -> None:
        """As `systemctl restart`: the end of what it does is waited for."""
        assert self.process
        self.process.terminate()

    def _launch(self) -> None:
        command = [sys.executable, "-m", "dmarcmilter", "run", "--config", str(self.conf)]
        environment = {**os.environ, **self.environment}
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603
                [*self._prefix, *command],
                cwd=PROJECT,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self.starts += 1

    def _manage(self) -> None:
        while self._wanted:
            assert self.process
            if self.process.poll() is None:
                self.most = max(self.most, len(workers(self)))
            elif self.starts < STARTS:
                self.failed_starts += self.process.returncode == 2
                self._wait(RESTART_SECONDS)
                self._launch()
            time.sleep(LOOK_SECONDS)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._wanted and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)

    def unwritten(self) -> list[dict[str, Any]]:
        """Outcomes that stand in the log because the journal did not take them."""
        lines = [line.partition(NOT_WRITTEN)[2] for line in self.log().splitlines()]
        return [json.loads(line) for line in lines if line]

    def journalled(self) -> tuple[list[dict[str, Any]], int]:
        """The outcomes in the journal, and how many lines are none: those that a full disk cut."""
        good, torn = [], 0
        for path in sorted(self.journal.glob("*.jsonl")):
            for line in path.read_bytes().split(b"\n"):
                try:
                    good += [json.loads(line)] if line else []
                except ValueError:
                    torn += 1
        return good, torn

    def deaths(self) -> int:
        return len(re.findall(r"worker \d+ ended \(", self.log())) + self.starts - 1


@dataclass
class Stand:
    """What a fault may lay its hands on."""

    dns: NameServer
    sink: Sink
    filter: Service
    postfix: PostfixServer
    traffic: Traffic
    database: str
    server: Any
    """Of PostgreSQL, with stop() and start(); None: the database is a file."""
    stack: contextlib.ExitStack
    """What ends with the stand."""
    at_the_end: list[Callable[[], None]] = field(default_factory=list)
    """Called when all mail has its end."""
    notes: list[str] = field(default_factory=list)
    """Of the fault, for the table."""
    problems: list[str] = field(default_factory=list)
    """What a fault saw and should not have."""

    def seen(self) -> Seen:
        outcomes: dict[str, list[str]] = defaultdict(list)
        journalled, _ = self.filter.journalled()
        for record in [*journalled, *self.filter.unwritten()]:
            outcomes[record["queue_id"]].append(record["action"])
        delivered: dict[str, list[str]] = defaultdict(list)
        for delivery in list(self.sink.deliveries):
            delivered[delivery.fields("Message-ID")[0]].append((delivery.fields("Authentication-Results") or [""])[0])
        queue_ids: dict[str, list[str]] = defaultdict(list)
        for queue_id, message_id in re.findall(r"cleanup\[\d+\]: (\w+): message-id=(<\S+>)", self.postfix.log()):
            queue_ids[message_id].append(queue_id)
        return Seen(
            sent=self.traffic.sent,
            queue_ids=queue_ids,
            outcomes=outcomes,
            delivered=delivered,
            held=frozenset(self.postfix.hold_queue()),
            stored=self.stored(),
            journalled=Counter(record["queue_id"] for record in journalled),
        )

    def stored(self) -> Mapping[str, int]:
        """By queue id, after the ingest has read all there is."""
        store = Store(self.database)
        try:
            Ingest(self.filter.journal, store).once()
            with store.reading() as connection:
                return Counter(row.queue_id for row in rows(connection, "SELECT queue_id FROM outcomes"))
        finally:
            store.close()

    def wait_for_deliveries(self, seconds: float) -> None:
        """Until the next hop has what was accepted; what is missing then, the account will say."""
        end = time.monotonic() + seconds
        accepted = sum(sent.end is not None and sent.end.code == 250 for sent in self.traffic.sent)
        expected = accepted - sum(bool(s.end and s.end.code == 250) and s.fate is Fate.HELD for s in self.traffic.sent)
        while len(self.sink.deliveries) < expected and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a fault needs of its stand."""

    conf: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    prefix: Sequence[str] = ()
    """A command that starts the filter's."""
    state: Path | None = None
    """Where it keeps what it keeps, if not in its own folder."""
    server: Any = None
    """Of PostgreSQL."""


@contextlib.contextmanager
def standing(name: str, seed: int, needs: Needs) -> Iterator[Stand]:
    with contextlib.ExitStack() as stack:
        dns = stack.enter_context(NameServer(ZONE))
        sink = stack.enter_context(Sink())
        url = needs.server.new_database() if needs.server else ""
        own = {"dns": {"nameservers": [f"127.0.0.1:{dns.port}"]}, "history": {"database": url} if url else {}}
        service = stack.enter_context(Service(_merged(CONF, own, needs.conf, _state(needs.state)), needs))
        postfix = stack.enter_context(PostfixServer(service.address, sink_port=sink.port, settings=POSTFIX))
        traffic = Traffic(postfix.port, seed, name)
        url = url or f"sqlite:///{service.directory}/history.db"
        yield Stand(dns, sink, service, postfix, traffic, url, needs.server, stack)


def _state(folder: Path | None) -> dict[str, dict[str, Any]]:
    if folder is None:
        return {}
    return {
        "policy": {"sampling_key": str(folder / "sampling.key")},
        "defer": {"directory": str(folder / "deferred")},
        "history": {"journal": str(folder / "journal")},
    }


def _merged(*layers: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    names = {name for layer in layers for name in layer}
    return {name: {key: value for layer in layers for key, value in layer.get(name, {}).items()} for name in names}
