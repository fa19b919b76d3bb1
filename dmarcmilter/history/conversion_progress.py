"""How far the ingest is, left beside the journal for who watches it: no database is asked for that.

The store alone decides what has been taken in. This file only tells of it, and may be deleted at any time.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dmarcmilter.history import journal_files

NAME: Final = "ingest.progress"
MAX_OCTETS: Final = 4096
"""Of the file, which has about 60."""
EVERY_SECONDS: Final = 10.0
"""Between two writings when nothing new was taken in."""


@dataclass(frozen=True, slots=True)
class Reached:
    time: float
    """When the ingest last looked, by the clock."""
    octets: int
    """Of the journal's files, in the store."""


def write(directory: Path, reached: Reached) -> None:
    """OSError when the directory is not ours to write to."""
    draft = directory / f".{NAME}.{os.getpid()}"
    draft.write_text(json.dumps({"time": reached.time, "octets": reached.octets}), encoding="ascii")
    draft.rename(directory / NAME)


def read(directory: Path) -> Reached | None:
    """None: the ingest has never run here, or what stands there is not ours."""
    try:
        with (directory / NAME).open("rb") as file:
            found = json.loads(file.read(MAX_OCTETS))
        return Reached(float(found["time"]), int(found["octets"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def written(directory: Path) -> int:
    """Octets of all journal files; a file that goes away meanwhile has none."""
    return sum(map(_size, journal_files.listed(directory)))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
