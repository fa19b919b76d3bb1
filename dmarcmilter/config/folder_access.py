"""Whether this process can write to a folder that the conf names, or make it, and if not, why."""

import os
from pathlib import Path


def existing(path: Path) -> Path:
    """The path, or the lowest folder above it that exists."""
    # Path.exists raises for a folder that may not be entered.
    candidates = (path, *path.parents)
    return next((each for each in candidates if os.access(each, os.F_OK, effective_ids=True)), path)


def why_not_writable(path: Path, user: str) -> str:
    """Why files cannot be written to the folder, tried without writing; empty: nothing is in the way.

    `user`: the words for the user whose rights this process has now.
    """
    nearest = existing(path)
    if problem := unusable_for_all(path):
        return problem
    return "" if os.access(nearest, os.W_OK | os.X_OK, effective_ids=True) else f"{nearest} is not writable for {user}"


def unusable_for_all(path: Path) -> str:
    """Why no user can write files to the folder, whatever its owner and mode are; empty: nothing is in the way."""
    nearest = existing(path)
    if not is_folder(nearest):
        return f"{nearest} is a file, a folder is needed"
    return f"{nearest} is on a read-only file system" if is_read_only(nearest) else ""


def is_folder(path: Path) -> bool:
    """Whether the path is a folder; False for one that may not be looked up."""
    return os.path.isdir(path)  # noqa: PTH112  Path.is_dir raises for a folder that may not be entered


def is_read_only(path: Path) -> bool:
    """Whether the file system of this existing path is mounted read-only, also by systemd's ProtectSystem=."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False
