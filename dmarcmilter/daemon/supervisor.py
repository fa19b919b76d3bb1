"""`dmarcmilter run`: a supervisor that binds the socket once and keeps workers running on it.

Signals: TERM and INT stop, after messages in progress are finished. HUP reads the conf file again and replaces the
workers; a conf file with an error changes nothing. The supervisor starts no threads, so it may fork at any time.
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
from pathlib import Path

from dmarcmilter.build_kind import build_kind
from dmarcmilter.config import folder_access
from dmarcmilter.config import load as configuration
from dmarcmilter.config.exposed_files import AS_ROOT, exposed
from dmarcmilter.config.load import ConfigError, Loaded
from dmarcmilter.config.schema import Config
from dmarcmilter.daemon import child_process, log_output, privileges, sd_notify, worker
from dmarcmilter.daemon.child_process import Child
from dmarcmilter.daemon.listener import Listener, ListenError
from dmarcmilter.daemon.metrics_process import MetricsProcess
from dmarcmilter.daemon.watchdog import Watchdog
from dmarcmilter.dns.shared_answers import SharedAnswers
from dmarcmilter.metrics.board import SUPERVISOR, Board, Row
from dmarcmilter.metrics.metric_definitions import Ended, Reloaded
from dmarcmilter.metrics.supervisor_metrics import SupervisorMetrics
from dmarcmilter.receiver import Receiver, build

log = logging.getLogger(__name__)

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
SHORT_LIFE_SECONDS = 2.0
"""Seconds; a worker that died within them is replaced only after RESTART_DELAY_SECONDS."""
RESTART_DELAY_SECONDS = 1.0
"""Seconds before a worker with a short life is replaced, or a failed fork is tried again."""
STOP_GRACE_SECONDS = 5.0
"""Seconds after drain_timeout before workers are killed."""
MAX_LEAVING = 4
"""Earlier configurations whose workers may keep open connections without a message; beyond it they are stopped.

Many reloads within drain_timeout would fill the memory with workers otherwise. The MTA sees its connection end and
connects again."""
KILLED = -1
"""Generation of a child that the supervisor killed: it is not replaced."""


@dataclass(slots=True)
class Supervisor:
    """Starts and replaces workers, and acts on signals."""

    path: str
    config: Config
    receiver: Receiver
    listener: Listener
    generation: int = 0
    """Number of the configuration in force; each reload adds one."""
    children: dict[int, Child] = field(default_factory=dict)
    """Workers by process id."""
    restart_at: list[float] = field(default_factory=list)
    """Times at which a worker is to be started, by time.monotonic()."""
    answers: SharedAnswers = field(default_factory=SharedAnswers)
    """DNS answers that the workers of this generation share."""
    board: Board = field(default_factory=Board)
    metrics: SupervisorMetrics = field(init=False)
    watchdog: Watchdog = field(init=False)
    metrics_process: MetricsProcess = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = SupervisorMetrics(self.board.row(SUPERVISOR))
        self.watchdog = Watchdog(self.board)
        self.metrics_process = MetricsProcess(self.board, SIGNALS, self.listener.disown)

    def run(self) -> int:
        if not self._fork_all():
            log.error("not started: a worker ended, or was not ready within %d s", child_process.READY_SECONDS)
            self._stop()
            return 1
        log.info("ready: %d workers on %s", len(self.children), self.config.milter.socket)
        log.info("mode %s", self.config.policy.in_force())
        log.info("the mail path is %s", build_kind())
        self._on_configuration_in_force()
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
            self.metrics_process.start_if_due()
            self.watchdog.check_if_due(self.children)

    def _next_signal(self) -> int | None:
        """Wait for a signal; None: something else is due first."""
        due = [*self.restart_at, self.watchdog.due, *filter(None, [self.metrics_process.due])]
        received = signal.sigtimedwait(SIGNALS, max(0.0, min(due) - time.monotonic()))
        return received.si_signo if received else None

    def _on_configuration_in_force(self) -> None:
        """Publish the configuration that the workers now use."""
        self.metrics.loaded(
            self.config, workers=self._worker_count(), psl_date=self.receiver.pipeline.discovery.suffixes.version
        )
        self.metrics_process.use(self.config)

    def _worker_count(self) -> int:
        """The number of workers to run."""
        return self.config.milter.workers or len(os.sched_getaffinity(0))

    def _status(self, problem: str = "") -> str:
        """The line for `systemctl status`."""
        return f"STATUS={problem}{self._worker_count()} workers, mode {self.config.policy.in_force()}"

    # -- workers -----------------------------------------------------------------------------------------------

    def _fork_all(self) -> bool:
        """Start the workers of this generation; False: one of them did not get ready."""
        try:
            ready = [self._fork() for _ in range(self._worker_count())]
        except OSError as error:
            log.error("no new worker: %s", error.strerror or error)  # noqa: TRY400  a limit of the system
            return False
        return all(ready)

    def _fork(self) -> bool:
        """Start one worker; False: it did not get ready. It is then killed, and reaped like any other."""
        row = self.board.take()
        try:
            child = child_process.fork(partial(self._run_worker, self.board.row(row)), SIGNALS)
        except OSError:
            self.board.give_back(row)
            raise
        self.children[child.pid] = Child(self.generation, time.monotonic(), row)
        if not child.ready:
            os.kill(child.pid, signal.SIGKILL)
        return child.ready

    def _run_worker(self, row: Row, ready: Callable[[], None]) -> None:
        """Serve as a worker in the new process; never returns."""
        self.listener.release_lock()
        worker.run(self.config, self.receiver, self.listener.socket, (row, self.answers), ready)

    def _reap(self) -> None:
        """Handle all child processes that have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.children:
                self._worker_ended(self.children.pop(pid), pid, status)
            else:
                self.metrics_process.process_ended(pid, status)

    def _worker_ended(self, child: Child, pid: int, status: int) -> None:
        """Replace the worker, unless it was told to end."""
        self.board.give_back(child.row)
        if child.generation == self.generation:
            log.error("worker %d ended (%s); starting another", pid, child_process.exit_text(status))
            by_itself = Ended.SIGNAL if os.WIFSIGNALED(status) else Ended.EXIT
            self.metrics.ended(Ended.SILENT if child.silent else by_itself)
            is_short = time.monotonic() - child.started < SHORT_LIFE_SECONDS
            self.restart_at.append(time.monotonic() + (RESTART_DELAY_SECONDS if is_short else 0.0))

    def _restart_due(self) -> None:
        now = time.monotonic()
        due = [at for at in self.restart_at if at <= now]
        self.restart_at = [at for at in self.restart_at if at > now]
        for _ in due:
            try:
                self._fork()
            except OSError as error:
                log.error("no new worker: %s", error.strerror or error)  # noqa: TRY400
                self.restart_at.append(now + RESTART_DELAY_SECONDS)

    def _signal(self, number: int, *, generation: int | None = None) -> None:
        for pid, child in self.children.items():
            if generation is None or child.generation == generation:
                os.kill(pid, number)

    # -- reload and stop ---------------------------------------------------------------------------------------

    def _reload(self) -> None:
        """Read the conf file again. New workers start first, then the old ones finish their connections."""
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
        for text in [*loaded.warnings, *_journal_warnings(config)]:
            log.warning("reload: %s", text)
        old = (self.config, self.receiver, self.generation, self.answers)
        self.config, self.receiver, self.generation, self.answers = (
            config,
            receiver,
            self.generation + 1,
            SharedAnswers(),
        )
        log_output.configure(config.log)
        if self._fork_all():
            self._signal(worker.RETIRE, generation=old[2])
            self._signal(signal.SIGTERM, generation=old[2] - MAX_LEAVING)
            self.restart_at.clear()  # they were due for the old generation
            log.info("reloaded %s, mode %s", self.path, config.policy.in_force())
            self._on_configuration_in_force()
            self._reloaded(Reloaded.OK)
        else:
            log.error("reload: the new workers do not start; the running configuration stays")
            self._kill(self.generation)
            self.config, self.receiver, self.generation, self.answers = old
            log_output.configure(self.config.log)
            self._reloaded(Reloaded.FAILED)

    def _reloaded(self, result: Reloaded) -> None:
        """Count the reload and tell the service manager."""
        self.metrics.reloaded(result)
        failed = "the last reload failed, see the log; " if result is Reloaded.FAILED else ""
        sd_notify.send("READY=1", self._status(failed))

    def _kill(self, generation: int) -> None:
        """Kill the workers of a generation without replacing them: its number is used again."""
        self._signal(signal.SIGKILL, generation=generation)
        for child in self.children.values():
            child.generation = KILLED if child.generation == generation else child.generation

    def _stop(self) -> None:
        """End all processes: workers after their messages, at the latest after drain_timeout and STOP_GRACE_SECONDS."""
        self._signal(signal.SIGTERM)
        self.listener.close()  # new connections are refused at once, instead of waiting in vain
        end = time.monotonic() + self.config.milter.drain_timeout + STOP_GRACE_SECONDS
        self.generation += 1  # workers that end now are not replaced
        while self.children and time.monotonic() < end:
            self._reap()
            if self.children:
                signal.sigtimedwait({signal.SIGCHLD}, 0.1)
        self._signal(signal.SIGKILL)
        self.metrics_process.stop()


def serve(path: str) -> int:
    """Run until stopped. Returns the exit status."""
    try:
        loaded = configuration.read(path)
        config = loaded.config
        log_output.configure(config.log)
        receiver = _built(loaded)
        # Signals that arrive from now on, while the socket is open, take effect after the start.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        listener = Listener(config.milter)
    except (ConfigError, ListenError) as error:
        sys.stderr.write(log_output.with_priority(f"dmarcmilter: {error}", logging.ERROR) + "\n")
        return 2
    for warning in [*loaded.warnings, *_warnings(config, path)]:
        log.warning("%s", warning)
    # Only after the socket was bound: the MTA must be able to enter a folder that was created for it.
    privileges.keep_private()
    gc.collect()
    gc.freeze()  # keeps the memory of loaded modules shared between workers
    return Supervisor(path, config, receiver, listener).run()


def _built(loaded: Loaded) -> Receiver:
    """The Receiver of a conf. ConfigError, with the line of the key: a file that it names cannot be used."""
    try:
        return build(loaded.config)
    except ConfigError as error:
        raise loaded.located(error) from error


def _warnings(config: Config, path: str) -> list[str]:
    """Warnings about the process and its files that do not prevent serving."""
    return [*([AS_ROOT] if privileges.is_root() else []), *exposed(config, path), *_journal_warnings(config)]


def _journal_warnings(config: Config) -> list[str]:
    """A warning if outcomes cannot be written to the journal: the first of them would say so only when mail comes."""
    problem = folder_access.why_not_writable(Path(config.history.journal), "the user of the filter")
    if not problem:
        return []
    return [f"[history] journal: {problem}: mail is not affected, and outcomes go to the log instead"]
