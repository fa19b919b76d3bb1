"""The boundary for errors of commands: one sentence on standard error and an exit status instead of a traceback.

Commands report errors of which they know more themselves. What they do not catch is handled here: a file that cannot be
read, a full disk, a database that is down, Ctrl-C, a pipe whose reader is gone.
"""

import errno
import grp
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

from dmarcmilter.config.load import ConfigError
from dmarcmilter.daemon.privileges import PrivilegesError

EXIT_ERROR: Final = 2
EXIT_INTERRUPTED: Final = 128 + signal.SIGINT
TRACEBACK: Final = "DMARCMILTER_TRACEBACK"
"""Environment variable: when it is set, an internal error shows its traceback."""
STANDARD_OUTPUT: Final = "standard output"

_ADVICE: Final = {
    errno.ENOSPC: "the disk is full: make room",
    errno.EDQUOT: "the quota is used up: make room",
    errno.EROFS: "the file system is read-only: mount it writable, or name another place",
    errno.ENOENT: "check the path in the conf file or on the command line",
    errno.ENOTDIR: "a part of the path is a file and not a folder: check the path",
    errno.EISDIR: "it is a folder, and a file is needed: check the path",
    errno.ELOOP: "symbolic links go in a circle: check the path",
    errno.ENAMETOOLONG: "the name is too long: check the path",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n)",
    errno.EIO: "the disk fails: see the kernel's log",
}


class ErrorBoundary(click.Group):
    """A command group that catches every exception of its commands."""

    def invoke(self, ctx: click.Context) -> Any:
        _escape_unencodable()
        try:
            try:
                return super().invoke(ctx)
            finally:
                # A write error of the buffered output must occur here: at exit Python would print a traceback for it.
                sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            _end("interrupted", EXIT_INTERRUPTED)
        except Exception as error:
            if isinstance(error, BrokenPipeError) or getattr(error, "errno", 0) == errno.EPIPE:
                _discard_output()
                raise SystemExit(1) from None
            if TRACEBACK in os.environ:
                raise
            _discard_if_unwritable(error)
            _end(in_words(error), EXIT_ERROR)


def in_words(error: Exception) -> str:
    """Describe an error in one sentence: the path, what failed, what to do."""
    if isinstance(error, OSError):
        return _system_error(error)
    if isinstance(error, UnicodeError):
        return f"text that is not UTF-8: {error}"
    if isinstance(error, ConfigError | PrivilegesError) or type(error).__name__ == "StoreError":
        return str(error)
    text = " ".join(str(error).split())[:500]
    return (
        f"internal error: {type(error).__name__}: {text}: please report it, with what {TRACEBACK}=1 in the "
        "environment shows"
    )


def _system_error(error: OSError) -> str:
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else ""
    problem = error.strerror or str(error)
    advice = permission_advice(path) if error.errno in {errno.EACCES, errno.EPERM} else _ADVICE.get(error.errno or 0)
    return ": ".join(filter(None, (path, problem, advice)))


def permission_advice(path: str) -> str:
    """Say which user may: decided by the first folder of the path that this user may not enter, or by the file."""
    candidates = [*reversed(Path(path).parents), Path(path)]
    place = next((candidate for candidate in candidates if not _enterable(candidate)), Path(path))
    try:
        owner = place.stat()
        group = grp.getgrgid(owner.st_gid).gr_name
    except (OSError, KeyError, ValueError):
        return "run this command as root or as the filter's user"
    # Membership of root's own group would give far more rights than are needed.
    member = f", or as a member of the group {group}" if group != "root" and owner.st_mode & 0o050 == 0o050 else ""
    return f"run this command as root or as the filter's user{member}"


def _enterable(path: Path) -> bool:
    return os.access(path, os.X_OK, effective_ids=True)


def _escape_unencodable() -> None:
    """Write characters that the terminal's encoding lacks as escapes: texts come from mail and DNS."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and getattr(stream, "errors", "") == "strict":
            reconfigure(errors="backslashreplace")


def _discard_if_unwritable(error: Exception) -> None:
    """Discard standard output that cannot be written (full disk), so that Python does not try again at exit."""
    if isinstance(error, OSError) and error.filename is None and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO}:
        error.filename = STANDARD_OUTPUT
        _discard_output()


def _discard_output() -> None:
    """Send what is still buffered for standard output to /dev/null."""
    with suppress(OSError, ValueError):
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
        os.close(sink)


def _end(message: str, status: int) -> None:
    with suppress(OSError):
        click.echo(f"dmarcmilter: {message}", err=True)
    raise SystemExit(status)
