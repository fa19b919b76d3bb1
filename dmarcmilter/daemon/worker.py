"""A worker process: libmilter's loop in a thread; signals and the drain in the main thread.

In the main thread, libmilter would handle SIGTERM and SIGHUP itself: it stops within five seconds and abandons messages
in progress. So it runs in a thread of its own, and this module decides when the process ends.
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
from dmarcmilter.dns.resolver import Resolver, system_nameservers
from dmarcmilter.dns.shared_answers import SharedAnswers
from dmarcmilter.history.journal import Journal
from dmarcmilter.metrics.board import Row, State
from dmarcmilter.metrics.worker_metrics import WorkerTally
from dmarcmilter.milter import libmilter_callbacks
from dmarcmilter.milter.worker_context import WorkerContext
from dmarcmilter.receiver import Receiver
from dmarcmilter.reports.delivery.organization_turns import organization_of
from dmarcmilter.reports.failure.capture import Capture
from dmarcmilter.reports.failure.incident_spool import IncidentSpool

log = logging.getLogger(__name__)

STOP = (signal.SIGTERM, signal.SIGINT)
RETIRE = signal.SIGUSR1
"""Sent at a reload: end when no connection is open. After STOP, a worker ends when no message is in progress.

Both end after drain_timeout at the latest."""
GC_THRESHOLDS = (20_000, 20, 50)
"""Thresholds of the garbage collector: the defaults run it several times a message, and there is hardly any garbage."""
BEAT_SECONDS = 2.0
"""Seconds between two heartbeats. The main thread sends them: code that never releases the interpreter stops them."""
POLL_SECONDS = 0.05
"""Seconds between two looks at what is in progress, while draining."""
SETTLE_SECONDS = 0.1
"""Seconds without work before the process ends: libmilter sends a reply after our callback has returned."""


def run(
    config: Config,
    receiver: Receiver,
    listener: socket.socket,
    memory: tuple[Row, SharedAnswers],
    ready: Callable[[], None],
) -> None:
    """Serve until a signal says to stop. Called in a forked process; never returns.

    `memory`: what it shares with the other processes: its row of the board, and the DNS answers.
    """
    row, answers = memory
    gc.set_threshold(*GC_THRESHOLDS)
    faulthandler.enable()  # writes where each thread is, if the supervisor ends this process with SIGABRT
    row.begin(os.getpid())
    received: list[int] = []
    wake = threading.Event()

    def on_signal(number: int, _frame: object) -> None:
        received.append(number)
        wake.set()

    for number in (*STOP, RETIRE):
        signal.signal(number, on_signal)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    context = make_context(config, receiver, WorkerTally(row), answers)
    libmilter_callbacks.register(context)
    fd = _hand_over(listener)
    listener.close()  # libmilter has a descriptor of its own, the only one to give up in _drain
    thread = threading.Thread(target=_serve, args=(wake,), name="libmilter", daemon=True)
    thread.start()
    ready()
    while not received and thread.is_alive():
        # A signal sets the event, and so does a libmilter that ends by itself.
        wake.wait(BEAT_SECONDS)
        _send_heartbeat(context, State.SERVING)
    if received:
        _drain(context, fd, config.milter.drain_timeout, received)
    context.journal.close()
    if context.capture is not None:
        context.capture.close()
    logging.shutdown()
    os._exit(0 if received else 1)


def _serve(wake: threading.Event) -> None:
    try:
        milter.main()
    except milter.error:
        log.exception("libmilter cannot run")
    wake.set()


def _send_heartbeat(context: WorkerContext, state: State) -> None:
    context.tally.beat(state, milter.getdiag(), context.resolver.cached())


def make_context(
    config: Config, receiver: Receiver, tally: WorkerTally, answers: SharedAnswers | None = None
) -> WorkerContext:
    """Open what the sessions of this worker share. `answers`: those of all workers of this configuration."""
    nameservers = config.dns.servers() or system_nameservers()
    return WorkerContext(
        receiver=receiver,
        resolver=Resolver(
            nameservers,
            timeout=config.dns.timeout,
            cache_entries=config.dns.cache_entries,
            cache_bytes=config.dns.cache_megabytes * 1_048_576,
            observer=tally,
            shared=answers if config.dns.cache_entries and config.dns.cache_megabytes else None,
        ),
        journal=Journal(config.history.journal),
        capture=_capture_of(config, receiver),
        tally=tally,
    )


def _capture_of(config: Config, receiver: Receiver) -> Capture | None:
    failure = config.reports.failure
    if not failure.enabled:
        return None
    spool = IncidentSpool(failure.spool, lambda domain: organization_of(receiver.pipeline.discovery.suffixes, domain))
    return Capture(spool, receiver.redaction_key, on_none=failure.on_none)


def _hand_over(listener: socket.socket) -> int:
    """Give libmilter our listening socket; return the descriptor that it accepts connections on.

    libmilter can only open a socket itself. So it opens one at an unused address, and ours then takes its descriptor
    number. (Debian's libmilter also accepts `fd:N`; this works with every libmilter.)
    """
    before = set(_listening())
    _open_any_socket(listener)
    (fd,) = set(_listening()) - before
    os.dup2(listener.fileno(), fd, inheritable=False)
    return fd


def _open_any_socket(listener: socket.socket) -> None:
    """Let libmilter open a socket of the listener's family: it closes connections of any other family."""
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
        # The disk is full, or read-only. Debian's libmilter can do without a file.
        log.warning("no folder for a temporary socket: %s", error)
        milter.setconn(f"fd:{os.dup(listener.fileno())}")
        milter.opensocket(False)


def _listening() -> list[int]:
    """The descriptors of this process that listen for connections."""
    return [fd for fd in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()] if _is_listening(fd)]


def _is_listening(fd: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(fd)) as probe:
            return bool(probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:  # not a socket, or the descriptor of the listing itself
        return False


def _drain(context: WorkerContext, fd: int, timeout: float, received: Sequence[int]) -> None:
    """Stop accepting connections, then wait until nothing is in progress. STOP may follow RETIRE while this waits."""
    unused = socket.socket(socket.AF_UNIX)
    unused.bind("")  # the kernel chooses an abstract name
    unused.listen(1)
    unused.setblocking(False)
    os.dup2(unused.fileno(), fd, inheritable=False)
    end = time.monotonic() + timeout
    quiet_since = None
    while time.monotonic() < end:
        _send_heartbeat(context, State.LEAVING)
        opened, closed = milter.getdiag()
        stopping = any(number in STOP for number in received)
        busy = bool(context.in_progress) if stopping else opened != closed
        if busy:
            quiet_since = None
        elif quiet_since is None:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since >= SETTLE_SECONDS:
            return
        time.sleep(POLL_SECONDS)
    log.warning("drain_timeout is over: %d messages in progress are given up", len(context.in_progress))
