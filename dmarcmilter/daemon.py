"""`dmarcmilter run`: a supervisor that binds the socket once and keeps workers running on it.

Signals: TERM and INT stop (messages in progress are finished), HUP replaces the workers by ones with the conf file
as it is now; a conf file with an error changes nothing. The supervisor starts no threads, so it may fork at any time.
"""

import gc
import logging
import os
import select
import signal
import sys
import time
from dataclasses import dataclass, field

from dmarcmilter import config as configuration
from dmarcmilter import notify, worker
from dmarcmilter.config import ConfigError
from dmarcmilter.listener import Listener, ListenError
from dmarcmilter.pipeline import Site
from dmarcmilter.settings import Config
from dmarcmilter.site import build

log = logging.getLogger(__name__)

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
READY_SECONDS = 20.0
"""A new worker that is not ready by then has failed."""
SHORT_LIFE = 2.0
RESTART_DELAY = 1.0
"""A worker that died within SHORT_LIFE seconds is restarted only after so many seconds."""
STOP_GRACE = 5.0
"""After drain_timeout, before workers are killed."""


@dataclass(slots=True)
class Child:
    generation: int
    started: float


@dataclass(slots=True)
class Supervisor:
    path: str
    config: Config
    site: Site
    listener: Listener
    generation: int = 0
    children: dict[int, Child] = field(default_factory=dict)
    restart_at: list[float] = field(default_factory=list)

    def run(self) -> int:
        if not self._fork_all():
            self._stop()
            return 1
        log.info("ready: %d workers on %s", len(self.children), self.config.milter.socket)
        notify.send("READY=1")
        while True:
            number = self._next_signal()
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGHUP:
                self._reload()
            elif number is not None:
                notify.send("STOPPING=1")
                log.info("stopping")
                self._stop()
                return 0
            self._restart_due()

    def _next_signal(self) -> int | None:
        if not self.restart_at:
            return signal.sigwaitinfo(SIGNALS).si_signo
        found = signal.sigtimedwait(SIGNALS, max(0.0, min(self.restart_at) - time.monotonic()))
        return found.si_signo if found else None

    # -- workers -----------------------------------------------------------------------------------------------

    def _fork_all(self) -> bool:
        """Start this generation's workers; False when one of them does not get ready."""
        count = self.config.milter.workers or len(os.sched_getaffinity(0))
        try:
            ready = [self._fork() for _ in range(count)]
        except OSError:
            log.exception("no new worker")
            return False
        return all(ready)

    def _fork(self) -> bool:
        """Start one worker; False when it does not get ready (it is then ended, and reaped like any other)."""
        supervisor = os.getpid()
        reader, writer = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(reader)
            os.close(writer)
            raise
        if pid == 0:
            os.close(reader)
            self._be_worker(writer, supervisor)
        os.close(writer)
        self.children[pid] = Child(self.generation, time.monotonic())
        readable, _, _ = select.select([reader], [], [], READY_SECONDS)
        ready = bool(readable) and os.read(reader, 1) == b"+"
        os.close(reader)
        if not ready:
            os.kill(pid, signal.SIGKILL)
        return ready

    def _be_worker(self, ready: int, supervisor: int) -> None:
        """In the new process; never returns."""
        try:
            signal.set_wakeup_fd(-1)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            _end_with(supervisor)
            self.listener.disown()
            worker.run(self.config, self.site, self.listener.socket, lambda: _tell(ready))
        except BaseException:
            log.exception("worker failed")
        os._exit(1)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self.children.pop(pid, None)
            if child is None or child.generation != self.generation:
                continue
            log.error("worker %d ended (%s); starting another", pid, _how(status))
            short = time.monotonic() - child.started < SHORT_LIFE
            self.restart_at.append(time.monotonic() + (RESTART_DELAY if short else 0.0))

    def _restart_due(self) -> None:
        now = time.monotonic()
        due = [at for at in self.restart_at if at <= now]
        self.restart_at = [at for at in self.restart_at if at > now]
        for _ in due:
            try:
                self._fork()
            except OSError:
                log.exception("no new worker")
                self.restart_at.append(now + RESTART_DELAY)

    def _signal(self, number: int, *, generation: int | None = None) -> None:
        for pid, child in self.children.items():
            if generation is None or child.generation == generation:
                os.kill(pid, number)

    # -- reload and stop ---------------------------------------------------------------------------------------

    def _reload(self) -> None:
        """Replacement: new workers first, then the old ones finish their connections."""
        notify.send("RELOADING=1", monotonic=True)
        try:
            config = configuration.load(self.path) if self.path else Config()
            site = build(config)
        except ConfigError as error:
            log.error("reload: %s; the running configuration stays", error)  # noqa: TRY400  not a bug of ours
            notify.send("READY=1")
            return
        if config.milter.socket != self.config.milter.socket:
            log.warning("reload: [milter] socket is taken over only by a restart")
        old = (self.config, self.site, self.generation)
        self.config, self.site, self.generation = config, site, self.generation + 1
        set_level(config)
        if self._fork_all():
            self._signal(worker.RETIRE, generation=old[2])
            self.restart_at.clear()  # those were due for the old generation
            log.info("reloaded %s", self.path)
        else:
            log.error("reload: the new workers do not start; the running configuration stays")
            self._give_up(self.generation)
            self.config, self.site, self.generation = old
            set_level(self.config)
        notify.send("READY=1")

    def _give_up(self, generation: int) -> None:
        """Kill a generation, and do not miss it when it is reaped: its number is used again."""
        self._signal(signal.SIGKILL, generation=generation)
        self.children = {pid: child for pid, child in self.children.items() if child.generation != generation}

    def _stop(self) -> None:
        self._signal(signal.SIGTERM)
        self.listener.close()  # who connects now is refused at once, not kept waiting for nobody
        end = time.monotonic() + self.config.milter.drain_timeout + STOP_GRACE
        self.generation += 1  # nobody who ends now is restarted
        while self.children and time.monotonic() < end:
            self._reap()
            if self.children:
                signal.sigtimedwait({signal.SIGCHLD}, 0.1)
        self._signal(signal.SIGKILL)


def serve(path: str) -> int:
    """Run until stopped; the exit status."""
    try:
        config = configuration.load(path) if path else Config()
        _log_to_stderr(config)
        site = build(config)
        # From the moment that the socket accepts, a signal has its meaning, if only after the start.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        listener = Listener(config.milter)
    except (ConfigError, ListenError) as error:
        sys.stderr.write(f"dmarcmilter: {error}\n")
        return 2
    gc.collect()
    gc.freeze()  # what is loaded now stays shared between the workers
    return Supervisor(path, config, site, listener).run()


def _log_to_stderr(config: Config) -> None:
    """One line an event; the service manager adds time and process."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")
    logging.raiseExceptions = False
    # What no line of ours shows is not looked up: in libmilter's threads each look-up would make a Thread object.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001  documented in the logging HOWTO
    set_level(config)


def set_level(config: Config) -> None:
    logging.getLogger().setLevel(config.log.level.upper())


def _tell(ready: int) -> None:
    os.write(ready, b"+")
    os.close(ready)


def _end_with(parent: int) -> None:
    """Have the kernel stop this worker when its supervisor is gone (Linux; elsewhere nothing happens)."""
    import ctypes  # noqa: PLC0415  only here, and only in workers

    pr_set_pdeathsig = 1
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
