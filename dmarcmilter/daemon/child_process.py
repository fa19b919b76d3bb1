"""Child processes: a fork that reports when it is ready and ends with its parent."""

import ctypes
import logging
import os
import select
import signal
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, NoReturn

from dmarcmilter.value import Value

log = logging.getLogger(__name__)

READY_SECONDS: Final = 20.0
"""Seconds within which a child must be ready; after that it has failed."""


@dataclass(slots=True)
class Child:
    """A worker process, as its supervisor knows it."""

    generation: int
    """Number of the configuration that it was started with."""
    started: float
    """Time of its start, by time.monotonic()."""
    row: int
    """Number of its row on the metrics board."""
    silent: bool = False
    """It was signaled to end because it sent no heartbeat."""


class Forked(Value):
    """A new child process, and whether it got ready in time."""

    pid: int
    ready: bool


def fork(body: Callable[[Callable[[], None]], object], blocked: Collection[int]) -> Forked:
    """Run the body in a new process and wait until it calls the function that it is given, READY_SECONDS at most.

    `blocked`: signals that the parent waits for synchronously; they are unblocked in the child.
    OSError: no new process can be started.
    """
    parent = os.getpid()
    reader, writer = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(reader)
        os.close(writer)
        raise
    if pid == 0:
        os.close(reader)
        _run_child(body, writer, parent, blocked)
    os.close(writer)
    readable, _, _ = select.select([reader], [], [], READY_SECONDS)
    ready = bool(readable) and os.read(reader, 1) == b"+"
    os.close(reader)
    return Forked(pid, ready)


def _run_child(
    body: Callable[[Callable[[], None]], object], writer: int, parent: int, blocked: Collection[int]
) -> NoReturn:
    """Run the body in the new process and end the process."""
    try:
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        _end_with(parent)
        body(lambda: _report_ready(writer))
    except BaseException:
        log.exception("process failed")
    os._exit(1)


def _report_ready(writer: int) -> None:
    os.write(writer, b"+")
    os.close(writer)


def _end_with(parent: int) -> None:
    """Let the kernel stop this process when its parent ends. Linux only; does nothing elsewhere."""
    pr_set_pdeathsig = 1
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def exit_text(status: int) -> str:
    """How a process ended, by its status from waitpid, for the log."""
    code = os.waitstatus_to_exitcode(status)
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
