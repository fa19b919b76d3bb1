"""The progress of the ingest, in a file beside the journal, so that monitoring needs no database.

Only the database decides what has been read. This file may be deleted at any time.
"""

import json
import os
from pathlib import Path
from typing import Final

from dmarcmilter.history import journal_line_reader
from dmarcmilter.value import Value

NAME: Final = "ingest.progress"
MAX_BYTES: Final = 4096
"""Bytes read of the file, which has about 60."""
EVERY_SECONDS: Final = 10.0
"""Seconds between two writes when nothing new was read."""


class IngestProgress(Value):
    """How far the ingest has come."""

    time: float
    """When the ingest last read the journal, in seconds since 1970."""
    ingested_bytes: int
    """Bytes of the journal files that are in the database."""


def write(directory: Path, progress: IngestProgress) -> None:
    """Write the file. OSError if the directory cannot be written to."""
    draft = directory / f".{NAME}.{os.getpid()}"
    draft.write_text(json.dumps({"time": progress.time, "octets": progress.ingested_bytes}), encoding="ascii")
    draft.rename(directory / NAME)


def read(directory: Path) -> IngestProgress | None:
    """Read the file; None if there is none, as the ingest has never run here, or if it is not valid."""
    try:
        with (directory / NAME).open("rb") as file:
            values = json.loads(file.read(MAX_BYTES))
        return IngestProgress(float(values["time"]), int(values["octets"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def written(directory: Path) -> int:
    """Bytes of all journal files. A file that is deleted meanwhile counts as empty."""
    return sum(map(_size, journal_line_reader.listed(directory)))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
