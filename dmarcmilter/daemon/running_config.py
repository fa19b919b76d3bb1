"""The conf file that a running filter was started with."""

import os
from pathlib import Path

PROC = Path("/proc")


class NotRunningError(Exception):
    """No filter can be seen under this process id. The text is for the administrator."""


def conf_path(pid: int) -> str:
    """The absolute path after --config of the `dmarcmilter run` with this process id; empty: it runs without one."""
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        if b"run" not in words:
            raise NotRunningError(f"process {pid} is not `dmarcmilter run`")
        path = _option([os.fsdecode(word) for word in words[words.index(b"run") + 1 :]])
        # Only root, or the same user, may read where a process works.
        return str((PROC / str(pid) / "cwd").readlink() / path) if path and not path.startswith("/") else path
    except OSError as error:
        raise NotRunningError(f"process {pid}: {error.strerror or error}") from error


def _option(words: list[str]) -> str:
    """The value of the last --config, which is the one that counts."""
    path = ""
    for place, word in enumerate(words):
        if word == "--config":
            path = next(iter(words[place + 1 :]), "")
        elif word.startswith("--config="):
            path = word.partition("=")[2]
    return path
