"""One worker process: libmilter's loop in a thread, signals and the drain in the main thread.

libmilter takes SIGTERM and SIGHUP itself when it runs in the main thread, stops within five seconds and abandons
what is in progress. So it runs in a thread, and this module ends the process by its own rules.
"""

import faulthandler
import gc
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import milter

from dmarcmilter.config.schema import Config
from dmarcmilter.dns import Resolver, system_nameservers
from dmarcmilter.history.journal import Journal
from dmarcmilter.metrics.board import Row, State
from dmarcmilter.metrics.worker_metrics import Tally
from dmarcmilter.milter import callbacks
from dmarcmilter.milter.worker_context import WorkerContext
from dmarcmilter.receiver import Receiver
from dmarcmilter.reports.delivery.organization_turns import organization_of
from dmarcmilter.reports.failure.capture import Capture
from dmarcmilter.reports.failure.incident_spool import Spool

log = logging.getLogger(__name__)

STOP = (signal.SIGTERM, signal.SIGINT)
RETIRE = signal.SIGUSR1
"""STOP ends when no message is in progress; RETIRE (a reload) when no connection is open. Both within drain_timeout."""
GC_THRESHOLDS = (20_000, 20, 50)
"""A message leaves next to no cycles behind; Python's defaults would look for them several times a message."""
BEAT_SECONDS = 2.0
"""Between two signs of life. They come from Python's main thread: code that never lets go of Python stops them."""
POLL_SECONDS = 0.05
SETTLE_SECONDS = 0.1
"""Nothing may be in progress for so long: libmilter writes the last reply just after our callback has returned."""


def run(config: Config, receiver: Receiver, listener: socket.socket, row: Row, ready: Callable[[], None]) -> None:
    """Serve until told to stop. Called in a freshly forked process; never returns."""
    gc.set_threshold(*GC_THRESHOLDS)
    faulthandler.enable()  # says where each thread was, should the supervisor have to end us with SIGABRT
    row.begin(os.getpid())
    asked: list[int] = []
    wake = threading.Event()

    def on_signal(number: int, _frame: object) -> None:
        asked.append(number)
        wake.set()

    for number in (*STOP, RETIRE):
        signal.signal(number, on_signal)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    context = make_context(config, receiver, Tally(row))
    callbacks.register(context)
    fd = _hand_over(listener)
    listener.close()  # libmilter has its own descriptor; when that one is given up, nothing here listens
    thread = threading.Thread(target=_serve, args=(wake,), name="libmilter", daemon=True)
    thread.start()
    ready()
    while not asked and thread.is_alive():
        # A signal sets the event; the timeout is for a libmilter that ends by itself.
        wake.wait(BEAT_SECONDS)
        _beat(context, State.SERVING)
    if asked:
        _drain(context, fd, config.milter.drain_timeout, asked)
    context.journal.close()
    if context.capture is not None:
        context.capture.close()
    logging.shutdown()
    os._exit(0 if asked else 1)


def _serve(wake: threading.Event) -> None:
    try:
        milter.main()
    except milter.error:
        log.exception("libmilter cannot run")
    wake.set()


def _beat(context: WorkerContext, state: State) -> None:
    context.tally.beat(state, milter.getdiag(), context.resolver.cached())


def make_context(config: Config, receiver: Receiver, tally: Tally) -> WorkerContext:
    """Open what the sessions of this worker share."""
    nameservers = config.dns.servers() or system_nameservers()
    return WorkerContext(
        receiver=receiver,
        resolver=Resolver(
            nameservers,
            timeout=config.dns.timeout,
            cache_entries=config.dns.cache_entries,
            cache_bytes=config.dns.cache_megabytes * 1_048_576,
            observer=tally,
        ),
        journal=Journal(config.history.journal),
        capture=_capture_of(config, receiver),
        tally=tally,
    )


def _capture_of(config: Config, receiver: Receiver) -> Capture | None:
    failure = config.reports.failure
    if not failure.enabled:
        return None
    spool = Spool(failure.spool, lambda domain: organization_of(receiver.pipeline.discovery.suffixes, domain))
    return Capture(spool, receiver.redaction_key, on_none=failure.on_none)


def _hand_over(listener: socket.socket) -> int:
    """Give libmilter our listening socket; return the descriptor that it accepts on.

    libmilter can only open a socket by itself, so it opens one that nobody knows, which is then replaced by ours
    under the same descriptor number. (Debian's libmilter also takes `fd:N`; this works with every libmilter.)
    """
    before = set(_listening())
    _open_any_socket(listener)
    (fd,) = set(_listening()) - before
    os.dup2(listener.fileno(), fd, inheritable=False)
    return fd


def _open_any_socket(listener: socket.socket) -> None:
    """Of the listener's family: libmilter closes connections of another than that of the socket it opened itself."""
    if listener.family != socket.AF_UNIX:
        # The kernel chooses the port.
        milter.setconn("inet6:0@::1" if listener.family == socket.AF_INET6 else "inet:0@127.0.0.1")
        milter.opensocket(False)
        return
    try:
        with tempfile.TemporaryDirectory(prefix="dmarcmilter-") as directory:
            milter.setconn(f"unix:{directory}/s")
            milter.opensocket(False)
    except (OSError, milter.error) as error:
        # The disk is full, or nothing may be written: no reason for mail to wait, with Debian's libmilter.
        log.warning("no folder for a temporary socket: %s", error)
        milter.setconn(f"fd:{os.dup(listener.fileno())}")
        milter.opensocket(False)


def _listening() -> list[int]:
    """Descriptors of this process that listen for connections."""
    return [fd for fd in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()] if _listens(fd)]


def _listens(fd: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(fd)) as probe:
            return bool(probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:  # not a socket, or the descriptor of the listing itself
        return False


def _drain(context: WorkerContext, fd: int, timeout: float, asked: Sequence[int]) -> None:
    """Take no new connection, then wait until nothing is left to wait for. STOP may come while RETIRE is waiting."""
    nobody = socket.socket(socket.AF_UNIX)
    nobody.bind("")  # a name of the kernel's choice, in no file system
    nobody.listen(1)
    nobody.setblocking(False)
    os.dup2(nobody.fileno(), fd, inheritable=False)
    end = time.monotonic() + timeout
    quiet_since = None
    while time.monotonic() < end:
        _beat(context, State.LEAVING)
        opened, closed = milter.getdiag()
        stopping = any(number in STOP for number in asked)
        busy = bool(context.in_progress) if stopping else opened != closed
        if busy:
            quiet_since = None
        elif quiet_since is None:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since >= SETTLE_SECONDS:
            return
        time.sleep(POLL_SECONDS)
    log.warning("drain_timeout is over: %d messages in progress are given up", len(context.in_progress))
