"""`dmarcmilter run`: a supervisor that binds the socket once and keeps workers running on it.

Signals: TERM and INT stop (messages in progress are finished), HUP replaces the workers by ones with the conf file
as it is now; a conf file with an error changes nothing. The supervisor starts no threads, so it may fork at any time.
"""

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from dmarcmilter.config import load as configuration
from dmarcmilter.config.load import ConfigError, Loaded
from dmarcmilter.config.permissions import AS_ROOT, exposed
from dmarcmilter.config.schema import Config
from dmarcmilter.daemon import child_process as children
from dmarcmilter.daemon import log_output, privileges, sd_notify, worker
from dmarcmilter.daemon.child_process import Child
from dmarcmilter.daemon.listener import Listener, ListenError
from dmarcmilter.daemon.metrics_process import Exporting
from dmarcmilter.daemon.watchdog import LifeSigns
from dmarcmilter.metrics.board import SUPERVISOR, Board, Row
from dmarcmilter.metrics.families import Ended, Reloaded
from dmarcmilter.metrics.supervisor_metrics import SupervisorMetrics
from dmarcmilter.receiver import Receiver, build

log = logging.getLogger(__name__)

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
SHORT_LIFE = 2.0
RESTART_DELAY = 1.0
"""A worker that died within SHORT_LIFE seconds is restarted only after so many seconds."""
STOP_GRACE = 5.0
"""After drain_timeout, before workers are killed."""
MAX_LEAVING = 4
"""Reloads that connections may outlast without a message in progress: each keeps its workers. Many reloads within
drain_timeout would else fill the memory with them. Whose connection ends so is told to try again."""
GIVEN_UP = -1
"""In the place of a generation: nobody misses this child."""


@dataclass(slots=True)
class Supervisor:
    path: str
    config: Config
    receiver: Receiver
    listener: Listener
    generation: int = 0
    children: dict[int, Child] = field(default_factory=dict)
    restart_at: list[float] = field(default_factory=list)
    board: Board = field(default_factory=Board)
    supervised: SupervisorMetrics = field(init=False)
    signs: LifeSigns = field(init=False)
    exporting: Exporting = field(init=False)

    def __post_init__(self) -> None:
        self.supervised = SupervisorMetrics(self.board.row(SUPERVISOR))
        self.signs = LifeSigns(self.board)
        self.exporting = Exporting(self.board, SIGNALS, self.listener.disown)

    def run(self) -> int:
        if not self._fork_all():
            log.error("not started: a worker ended, or was not ready within %d s", children.READY_SECONDS)
            self._stop()
            return 1
        log.info("ready: %d workers on %s", len(self.children), self.config.milter.socket)
        log.info("mode %s", self.config.policy.in_force())
        self._in_force()
        sd_notify.send("READY=1", self._status())
        while True:
            number = self._next_signal()
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGHUP:
                self._reload()
            elif number is not None:
                sd_notify.send("STOPPING=1")
                log.info("stopping")
                self._stop()
                return 0
            self._restart_due()
            self.exporting.start_if_due()
            self.signs.look_if_due(self.children)

    def _next_signal(self) -> int | None:
        due = [*self.restart_at, self.signs.due, *filter(None, [self.exporting.due])]
        found = signal.sigtimedwait(SIGNALS, max(0.0, min(due) - time.monotonic()))
        return found.si_signo if found else None

    def _in_force(self) -> None:
        """Workers with this configuration serve."""
        self.supervised.loaded(
            self.config, workers=self._wanted(), psl_date=self.receiver.pipeline.discovery.suffixes.version
        )
        self.exporting.use(self.config)

    def _wanted(self) -> int:
        return self.config.milter.workers or len(os.sched_getaffinity(0))

    def _status(self, trouble: str = "") -> str:
        """One line for `systemctl status`."""
        return f"STATUS={trouble}{self._wanted()} workers, mode {self.config.policy.in_force()}"

    # -- workers -----------------------------------------------------------------------------------------------

    def _fork_all(self) -> bool:
        """Start this generation's workers; False when one of them does not get ready."""
        try:
            ready = [self._fork() for _ in range(self._wanted())]
        except OSError as error:
            log.error("no new worker: %s", error.strerror or error)  # noqa: TRY400  a limit of the system
            return False
        return all(ready)

    def _fork(self) -> bool:
        """Start one worker; False when it does not get ready (it is then ended, and reaped like any other)."""
        row = self.board.take()
        try:
            child = children.fork(partial(self._be_worker, self.board.row(row)), SIGNALS)
        except OSError:
            self.board.give_back(row)
            raise
        self.children[child.pid] = Child(self.generation, time.monotonic(), row)
        if not child.ready:
            os.kill(child.pid, signal.SIGKILL)
        return child.ready

    def _be_worker(self, row: Row, ready: Callable[[], None]) -> None:
        """In the new process; never returns."""
        self.listener.release_lock()
        worker.run(self.config, self.receiver, self.listener.socket, row, ready)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.children:
                self._bury(self.children.pop(pid), pid, status)
            else:
                self.exporting.reaped(pid, status)

    def _bury(self, child: Child, pid: int, status: int) -> None:
        self.board.give_back(child.row)
        if child.generation == self.generation:
            log.error("worker %d ended (%s); starting another", pid, children.how(status))
            ended = Ended.SIGNAL if os.WIFSIGNALED(status) else Ended.EXIT
            self.supervised.ended(Ended.SILENT if child.silent else ended)
            short = time.monotonic() - child.started < SHORT_LIFE
            self.restart_at.append(time.monotonic() + (RESTART_DELAY if short else 0.0))

    def _restart_due(self) -> None:
        now = time.monotonic()
        due = [at for at in self.restart_at if at <= now]
        self.restart_at = [at for at in self.restart_at if at > now]
        for _ in due:
            try:
                self._fork()
            except OSError as error:
                log.error("no new worker: %s", error.strerror or error)  # noqa: TRY400
                self.restart_at.append(now + RESTART_DELAY)

    def _signal(self, number: int, *, generation: int | None = None) -> None:
        for pid, child in self.children.items():
            if generation is None or child.generation == generation:
                os.kill(pid, number)

    # -- reload and stop ---------------------------------------------------------------------------------------

    def _reload(self) -> None:
        """Replacement: new workers first, then the old ones finish their connections."""
        sd_notify.send("RELOADING=1", "STATUS=reloading", monotonic=True)
        try:
            loaded = configuration.read(self.path)
            config = loaded.config
            receiver = _built(loaded)
        except ConfigError as error:
            log.error("reload: %s; the running configuration stays", error)  # noqa: TRY400  not a bug of ours
            self._reloaded(Reloaded.FAILED)
            return
        if config.milter.socket != self.config.milter.socket:
            log.warning("reload: [milter] socket is taken over only by a restart")
        for text in loaded.warnings:
            log.warning("reload: %s", text)
        old = (self.config, self.receiver, self.generation)
        self.config, self.receiver, self.generation = config, receiver, self.generation + 1
        log_output.configure(config.log)
        if self._fork_all():
            self._signal(worker.RETIRE, generation=old[2])
            self._signal(signal.SIGTERM, generation=old[2] - MAX_LEAVING)
            self.restart_at.clear()  # those were due for the old generation
            log.info("reloaded %s, mode %s", self.path, config.policy.in_force())
            self._in_force()
            self._reloaded(Reloaded.OK)
        else:
            log.error("reload: the new workers do not start; the running configuration stays")
            self._give_up(self.generation)
            self.config, self.receiver, self.generation = old
            log_output.configure(self.config.log)
            self._reloaded(Reloaded.FAILED)

    def _reloaded(self, result: Reloaded) -> None:
        self.supervised.reloaded(result)
        failed = "the last reload failed, see the log; " if result is Reloaded.FAILED else ""
        sd_notify.send("READY=1", self._status(failed))

    def _give_up(self, generation: int) -> None:
        """Kill a generation, and do not miss it when it is reaped: its number is used again."""
        self._signal(signal.SIGKILL, generation=generation)
        for child in self.children.values():
            child.generation = GIVEN_UP if child.generation == generation else child.generation

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
        self.exporting.stop()


def serve(path: str) -> int:
    """Run until stopped; the exit status."""
    try:
        loaded = configuration.read(path)
        config = loaded.config
        log_output.configure(config.log)
        receiver = _built(loaded)
        # From the moment that the socket accepts, a signal has its meaning, if only after the start.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        listener = Listener(config.milter)
    except (ConfigError, ListenError) as error:
        sys.stderr.write(log_output.with_priority(f"dmarcmilter: {error}", logging.ERROR) + "\n")
        return 2
    for concern in [*loaded.warnings, *_concerns(config, path)]:
        log.warning("%s", concern)
    # Not before the socket is there: a folder that was made for it is for the MTA to enter.
    privileges.keep_private()
    gc.collect()
    gc.freeze()  # what is loaded now stays shared between the workers
    return Supervisor(path, config, receiver, listener).run()


def _built(loaded: Loaded) -> Receiver:
    """ConfigError, with the line of the key, when a file that the conf names cannot be used."""
    try:
        return build(loaded.config)
    except ConfigError as error:
        raise loaded.located(error) from error


def _concerns(config: Config, path: str) -> list[str]:
    """What is no reason not to serve, and should not stay so."""
    return [*([AS_ROOT] if privileges.is_root() else []), *exposed(config, path)]
