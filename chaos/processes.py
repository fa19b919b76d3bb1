"""Faults of processes: they are killed, frozen, replaced and restarted."""

import contextlib
import itertools
import os
import random
import signal
import threading
from collections.abc import Iterator

from chaos.clients import connected
from chaos.repeating import repeating
from chaos.stand import Stand
from tests.support.running_daemon import workers

WORKER_SECONDS = 0.7
ALL_SECONDS = 2.5
"""Between two deaths of all workers."""
FROZEN_SECONDS = 2.0
HANG_UP_SECONDS = 0.05
RESTART_SECONDS = 5.0
KEPT_OPEN, KEPT_EACH = 4, 5
"""Connections that stay open over all reloads, and after how many signals so many more: their workers cannot leave."""


def _signal(pid: int, number: int) -> None:
    """To a process that may just have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@contextlib.contextmanager
def kill_a_worker(stand: Stand) -> Iterator[None]:
    chance = random.Random(stand.traffic.seed)  # noqa: S311

    def kill() -> None:
        found = sorted(workers(stand.filter))
        if found:
            _signal(chance.choice(found), signal.SIGKILL)

    with repeating(kill, WORKER_SECONDS):
        yield


@contextlib.contextmanager
def kill_all_workers(stand: Stand) -> Iterator[None]:
    def kill() -> None:
        for pid in workers(stand.filter):
            _signal(pid, signal.SIGKILL)

    with repeating(kill, ALL_SECONDS):
        yield


@contextlib.contextmanager
def kill_the_supervisor(stand: Stand) -> Iterator[None]:
    """Once its workers have had something to do; then the service manager starts it again."""

    def kill() -> None:
        process = stand.filter.process
        if process and process.poll() is None:
            process.kill()

    with repeating(kill, RESTART_SECONDS):
        yield


@contextlib.contextmanager
def restart(stand: Stand) -> Iterator[None]:
    with repeating(stand.filter.restart, RESTART_SECONDS):
        yield


@contextlib.contextmanager
def freeze_a_worker(stand: Stand) -> Iterator[None]:
    """A process that does not run for a while, as one that waits for a dying disk or for memory from one."""
    over = threading.Event()

    def freeze() -> None:
        pid = min(workers(stand.filter))
        _signal(pid, signal.SIGSTOP)
        over.wait(FROZEN_SECONDS)
        _signal(pid, signal.SIGCONT)

    with repeating(freeze, 0.3):
        yield
        over.set()


@contextlib.contextmanager
def reload_storm(stand: Stand) -> Iterator[None]:
    """Reloads without end, while some connections stay open over all of them."""
    process = stand.filter.process
    assert process
    with contextlib.ExitStack() as stack:
        numbers = itertools.count()

        def hang_up() -> None:
            process.send_signal(signal.SIGHUP)
            if next(numbers) % KEPT_EACH == 0:
                stack.enter_context(connected(stand.filter.socket, KEPT_OPEN))

        with repeating(hang_up, HANG_UP_SECONDS):
            yield
        stand.notes.append(f"{stand.filter.log().count('INFO reloaded ')} reloads, {stand.filter.most} workers at most")
