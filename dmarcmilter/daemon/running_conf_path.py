"""The conf file of a running filter, by its process id."""

import os
from pathlib import Path

PROC = Path("/proc")


class NotRunningError(Exception):
    """No filter runs under this process id, or it cannot be seen. The text is for the administrator."""


def conf_path(pid: int) -> str:
    """The absolute path of the --config option of `dmarcmilter run`; empty: it was started without one."""
    try:
        arguments = (PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        if b"run" not in arguments:
            raise NotRunningError(f"process {pid} is not `dmarcmilter run`")
        path = _option([os.fsdecode(word) for word in arguments[arguments.index(b"run") + 1 :]])
        # Only root and the process's own user may read its working directory.
        return str((PROC / str(pid) / "cwd").readlink() / path) if path and not path.startswith("/") else path
    except OSError as error:
        raise NotRunningError(f"process {pid}: {error.strerror or error}") from error


def _option(arguments: list[str]) -> str:
    """The value of the last --config, which is the one in force."""
    path = ""
    for position, argument in enumerate(arguments):
        if argument == "--config":
            path = next(iter(arguments[position + 1 :]), "")
        elif argument.startswith("--config="):
            path = argument.partition("=")[2]
    return path
