"""The archive of reports: a copy of each report that was planned, in a folder for each day."""

import os
from datetime import date
from pathlib import Path

FOLDER_MODE = 0o750
"""Permissions of new folders."""


def write(archive: str, day: date, name: str, content: bytes) -> None:
    """Write one file, whole or not at all. Does nothing if `archive` is empty. OSError if it cannot be written."""
    if not archive:
        return
    folder = Path(archive) / day.isoformat()
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    target = folder / name
    draft = target.with_suffix(".part")
    draft.write_bytes(content)
    os.replace(draft, target)  # noqa: PTH105  the same as Path.replace
