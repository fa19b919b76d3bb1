"""Forking: a child that says when it is ready, ends with its parent, and whose end can be told in words."""

import ctypes
import logging
import os
import select
import signal
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, NoReturn

log = logging.getLogger(__name__)

READY_SECONDS: Final = 20.0
"""A child that is not ready by then has failed."""


@dataclass(slots=True)
class Child:
    generation: int
    """Of the configuration that it works with."""
    started: float
    row: int
    """Of the metrics board."""
    silent: bool = False
    """It has been told to end because it gave no sign of life."""


@dataclass(frozen=True, slots=True)
class Forked:
    pid: int
    ready: bool


def fork(body: Callable[[Callable[[], None]], object], blocked: Collection[int]) -> Forked:
    """Run the body in a new process; it gets a function to call when it is ready. Waits for that.

    `blocked` are the signals that the parent takes synchronously; in the child they are free again.
    OSError when there can be no new process.
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
        _be(body, writer, parent, blocked)
    os.close(writer)
    readable, _, _ = select.select([reader], [], [], READY_SECONDS)
    ready = bool(readable) and os.read(reader, 1) == b"+"
    os.close(reader)
    return Forked(pid, ready)


def _be(body: Callable[[Callable[[], None]], object], writer: int, parent: int, blocked: Collection[int]) -> NoReturn:
    """In the new process."""
    try:
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        _end_with(parent)
        body(lambda: _tell(writer))
    except BaseException:
        log.exception("process failed")
    os._exit(1)


def _tell(writer: int) -> None:
    os.write(writer, b"+")
    os.close(writer)


def _end_with(parent: int) -> None:
    """Have the kernel stop this process when its parent is gone (Linux; elsewhere nothing happens)."""
    pr_set_pdeathsig = 1
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def how(status: int) -> str:
    """How a process ended, by what waitpid told."""
    code = os.waitstatus_to_exitcode(status)
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
