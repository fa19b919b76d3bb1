"""Output of log lines: to standard error, with priorities if that is systemd's journal, or to syslog."""

import logging
import os
import socket
import sys
from typing import TextIO

from dmarcmilter.config.schema import LogFacility, LogSection

SYSLOG_SOCKET = "/dev/log"
FORMAT = "%(levelname)s %(message)s"
PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
"""Priority numbers of syslog(3), by Python's log level."""
FACILITIES = {LogFacility.MAIL: 2, LogFacility.DAEMON: 3} | {
    facility: 16 + number
    for number, facility in enumerate(facility for facility in LogFacility if facility.startswith("local"))
}
"""Facility numbers of syslog(3)."""


def configure(settings: LogSection) -> None:
    """Send log lines of the configured level to the configured output. Called again at a reload."""
    logging.raiseExceptions = False
    # No format here has these fields, and looking them up would create a Thread object in each of libmilter's threads.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001  documented in the logging HOWTO
    root = logging.getLogger()
    handler, problem = _handler(settings)
    for old in root.handlers[:]:
        if isinstance(old, _OwnStream | _Syslog):
            root.removeHandler(old)
            old.close()
    root.addHandler(handler)
    root.setLevel(settings.level.upper())
    if problem:
        root.warning("%s", problem)


def with_priority(text: str, level: int) -> str:
    """The text, with a priority before each line if standard error is systemd's journal."""
    return _prefixed(text, level) if is_journal(sys.stderr) else text


def is_journal(stream: TextIO) -> bool:
    """Whether the stream is the one that systemd connected to its journal (systemd.exec(5), JOURNAL_STREAM)."""
    expected = os.environ.get("JOURNAL_STREAM", "")
    if not expected:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return expected == f"{status.st_dev}:{status.st_ino}"


def _handler(settings: LogSection) -> tuple[logging.Handler, str]:
    """The handler, and what prevents the configured one; empty: nothing does."""
    problem = ""
    if settings.syslog_facility:
        try:
            return _Syslog(settings.syslog_facility), ""
        except OSError as error:
            problem = f"[log] syslog_facility: {SYSLOG_SOCKET}: {error.strerror or error}; logging to standard error"
    handler = _OwnStream(sys.stderr)
    handler.setFormatter(_JournalFormatter(FORMAT) if is_journal(sys.stderr) else logging.Formatter(FORMAT))
    return handler, problem


def _prefixed(text: str, level: int) -> str:
    """The text with a priority at the start of each line, as the journal reads it (sd-daemon(3))."""
    return "\n".join(f"<{_priority(level)}>{line}" for line in text.split("\n"))


def _priority(level: int) -> int:
    return next((number for at, number in PRIORITIES.items() if level >= at), 7)


class _OwnStream(logging.StreamHandler[TextIO]):
    """A handler that configure() has installed and may replace."""

    def close(self) -> None:
        """Do nothing: standard error stays open."""


class _JournalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _prefixed(super().format(record), record.levelno)


class _Syslog(logging.Handler):
    """Log lines to the local syslog daemon. A line that it cannot accept at once is lost: mail must not wait."""

    def __init__(self, facility: LogFacility) -> None:
        super().__init__()
        self._facility = FACILITIES[facility] << 3
        self.setFormatter(logging.Formatter(FORMAT))
        self._socket = _connected()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            head = f"<{self._facility | _priority(record.levelno)}>dmarcmilter[{os.getpid()}]: "
            for line in self.format(record).split("\n"):
                self._send((head + line).encode("utf-8", "replace"))
        except Exception:  # noqa: BLE001  a logging handler must not raise
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()

    def _send(self, line: bytes) -> None:
        try:
            self._socket.send(line)
        except BlockingIOError:
            return
        except OSError:  # the syslog daemon was restarted and has a new socket
            self._socket.close()
            self._socket = _connected()
            self._socket.send(line)


def _connected() -> socket.socket:
    """A non-blocking socket connected to the syslog daemon."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        connection.setblocking(False)
        connection.connect(SYSLOG_SOCKET)
    except OSError:
        connection.close()
        raise
    return connection
