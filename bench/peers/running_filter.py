"""A filter that runs, from the start of its programs until they have ended."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from typing import Self

from bench.peers.filters import Filter, Setting
from bench.peers.process_group import process_group
from dmarcmilter.testing.milter_connection import MilterConnection
from dmarcmilter.testing.milter_protocol import MilterError

START_SECONDS = 40.0
STOP_SECONDS = 15.0
"""After that the processes of a filter are killed."""
PROBE_SECONDS = 0.01


class RunningFilter:
    """Context manager: starts the filter and waits until each stage has answered a negotiation."""

    def __init__(self, filter_: Filter, setting: Setting) -> None:
        shutil.rmtree(setting.folder, ignore_errors=True)
        setting.folder.mkdir(parents=True)
        self._filter, self._log = filter_, setting.folder / "log"
        self._stages = filter_.stages(setting)
        self.sockets = [stage.socket for stage in self._stages]
        self.group = process_group("filter")
        self.ready_seconds = 0.0
        """From the start of its programs until the last one answered."""
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        began = time.monotonic()
        try:
            with self._log.open("wb") as log:
                self._processes = [
                    subprocess.Popen(  # noqa: S603  the command is ours or was given by the user
                        stage.command,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        preexec_fn=self.group.enter,  # noqa: PLW1509  this process has one thread
                    )
                    for stage in self._stages
                ]
            for socket in self.sockets:
                self._wait_for(socket, began + START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        self.ready_seconds = time.monotonic() - began
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        end = time.monotonic() + STOP_SECONDS
        while self.group.pids() and time.monotonic() < end:
            for process in self._processes:
                process.poll()
            time.sleep(0.02)
        for pid in self.group.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()
        self.group.close()

    def _wait_for(self, socket: str, end: float) -> None:
        while not _negotiates(socket):
            ended = any(process.poll() is not None for process in self._processes)
            if ended or time.monotonic() > end:
                said = self._log.read_text("utf-8", "replace")[-2000:]
                raise RuntimeError(f"{self._filter.name} does not start; it said:\n{said}")
            time.sleep(PROBE_SECONDS)


def _negotiates(socket: str) -> bool:
    try:
        connection = MilterConnection(socket, START_SECONDS)
    except OSError:
        return False
    try:
        connection.negotiate()
    except MilterError:
        return False
    finally:
        connection.close()
    return True
