"""The faults, in the order of the table."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos import clients, limits, network, processes, storage
from chaos.account import deferrals
from chaos.limits import clock_of, faketime
from chaos.stand import Needs, Stand
from chaos.storage import small_disk

UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""How the filter is started where rights matter: root may write to what is read-only."""


@contextlib.contextmanager
def nothing(_stand: Stand) -> Iterator[None]:
    """The load alone."""
    yield


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    what: str
    inject: Callable[[Stand], contextlib.AbstractContextManager[None]]
    felt: Callable[[Stand], object]
    """Whether the run shows that the fault was there: one that nobody felt has shown nothing."""
    needs: Callable[[contextlib.ExitStack], Needs] = lambda _stack: Needs()
    missing: Callable[[], str] = lambda: ""
    """Why it cannot be injected here; empty: it can."""
    strangers: bool = False
    """Others than Postfix speak to the filter, and may have outcomes of their own, without a queue id."""
    seconds: float = 12.0


def _deaths(count: int) -> Callable[[Stand], bool]:
    return lambda stand: stand.filter.deaths() >= count


def _logged(text: str) -> Callable[[Stand], bool]:
    return lambda stand: text in stand.filter.log()


def _deferred(stand: Stand) -> bool:
    return any(deferrals(sent) for sent in stand.traffic.sent)


def _slow(seconds: float) -> Callable[[Stand], bool]:
    """A message took at least that long."""
    return lambda stand: any(attempt.seconds >= seconds for sent in stand.traffic.sent for attempt in sent.attempts)


def _unwritten(stand: Stand) -> int:
    return len(stand.filter.unwritten())


def _days(stand: Stand) -> bool:
    return len({record["time"][:10] for record in stand.filter.journalled()[0]}) > 2


def _noted(stand: Stand) -> list[str]:
    return stand.notes


def _folder(stack: contextlib.ExitStack) -> Path:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dmarcmilter-chaos-")))
    folder.chmod(0o755)
    return folder


def _small_disk(stack: contextlib.ExitStack) -> Needs:
    return Needs(state=stack.enter_context(small_disk(_folder(stack) / "state")))


def _another_clock(stack: contextlib.ExitStack) -> Needs:
    return Needs(environment=clock_of(_folder(stack)))


def _server(stack: contextlib.ExitStack) -> Needs:
    from tests.support import databases  # noqa: PLC0415  it needs what only the tests install

    server: Any = databases.Server(databases.binaries())
    stack.callback(server.remove)
    return Needs(server=server)


def _no_mount() -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder) / "probe"):
                return ""
        except (OSError, subprocess.CalledProcessError):
            return "no file system may be mounted here"


def _no_clock() -> str:
    return "" if faketime() else "libfaketime is not installed"


def _no_postgresql() -> str:
    return "" if list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) else "PostgreSQL is not installed"


def _no_setpriv() -> str:
    return "" if shutil.which(UNPRIVILEGED[0]) else "setpriv is not installed"


FAULTS = (
    Fault("none", "the load alone", nothing, lambda stand: len(stand.traffic.sent) > 0),
    Fault("kill-worker", "kill -9 of a worker, each 0.7 s", processes.kill_a_worker, _deaths(5)),
    Fault("kill-workers", "kill -9 of all workers, each 2.5 s", processes.kill_all_workers, _deaths(4)),
    Fault("kill-supervisor", "kill -9 of the supervisor", processes.kill_the_supervisor, _deaths(1)),
    Fault("restart", "stop and start by the service manager", processes.restart, _deaths(1)),
    Fault("frozen-worker", "SIGSTOP of a worker for 2 s, again and again", processes.freeze_a_worker, _slow(0.5)),
    Fault("reload-storm", "SIGHUP each 50 ms", processes.reload_storm, _logged("INFO reloaded ")),
    Fault("dns-stopped", "the name server's port is closed", network.dns_stopped, _deferred),
    Fault("dns-silent", "the name server does not answer", network.dns_silent, _deferred),
    Fault("dns-slow", "each answer takes 0.4 s", network.dns_slow, _slow(network.SLOW_SECONDS)),
    Fault("disk-full", "no room for the journal", storage.disk_full, _unwritten, needs=_small_disk, missing=_no_mount),
    Fault(
        "read-only",
        "the state may not be written; workers die",
        storage.read_only,
        _unwritten,
        needs=lambda _stack: Needs(prefix=UNPRIVILEGED),
        missing=_no_setpriv,
    ),
    Fault(
        "postgresql-down",
        "the database crashes under the ingest",
        storage.postgresql_down,
        _noted,
        needs=_server,
        missing=_no_postgresql,
    ),
    Fault("sqlite-locked", "somebody else writes to the database", storage.sqlite_locked, _noted),
    Fault("sqlite-removed", "the database's file is deleted", storage.sqlite_removed, _noted),
    Fault(
        "clock",
        "the time of day jumps by hours, days, a year",
        limits.clock_jumps,
        _days,
        needs=_another_clock,
        missing=_no_clock,
    ),
    Fault("descriptors", "hardly a descriptor left", limits.few_descriptors, _deferred),
    Fault("memory", "hardly any memory left", limits.little_memory, _deferred),
    Fault("idle", "500 idle connections", clients.idle, _noted),
    Fault("slow-smtp", "20 SMTP clients, an octet each 0.5 s", clients.slow_smtp, _noted),
    Fault("slow-milter", "50 milter clients, an octet each 0.5 s", clients.slow_milter, _noted),
    Fault("malformed", "malformed packets from 20 clients", clients.malformed, _noted, strangers=True),
)
