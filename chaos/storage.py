"""Faults of what is written to: the disk is full, the state cannot be written, the database is gone."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from chaos.repeating import repeating
from chaos.stand import LOOK_SECONDS, Stand
from tests.support.filter_daemon import PROJECT
from tests.support.running_daemon import workers

SMALL_DISK = "size=512k"
FILL_SECONDS = 0.5
"""Between two times that the disk is filled again: what was written in part may have left room."""
CATCH_UP_SECONDS = 40.0
LOCKED_SECONDS = 3.0
FILLER = "filler"


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", SMALL_DISK, "tmpfs", str(folder)], check=True)  # noqa: S603, S607
    try:
        yield folder
    finally:
        # Lazily: a worker that is late may still have its journal open.
        subprocess.run(["umount", "-l", str(folder)], check=True)  # noqa: S603, S607


@contextlib.contextmanager
def disk_full(stand: Stand) -> Iterator[None]:
    """Full, then room again, twice; what the kernel takes only in part becomes a torn line."""
    folder = stand.filter.journal.parent
    with repeating(lambda: _fill(folder / FILLER), FILL_SECONDS):
        yield
    (folder / FILLER).unlink()
    torn = stand.filter.journalled()[1]
    stand.notes.append(f"{torn} torn lines")


def _fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        size = 65_536
        while size:
            try:
                file.write(b"x" * size)
            except OSError:
                size //= 2


@contextlib.contextmanager
def read_only(stand: Stand) -> Iterator[None]:
    """Nothing of the state can be written any more, and the workers that had files open are new."""
    folders = [stand.filter.directory, stand.filter.journal]
    files = [path for path in stand.filter.journal.iterdir() if path.suffix == ".jsonl"]
    for path in (*folders, *files):
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        for pid in workers(stand.filter):
            os.kill(pid, signal.SIGKILL)
        yield
        assert stand.filter.process
        stand.filter.process.send_signal(signal.SIGHUP)
    finally:
        for path in (*folders, *files):
            path.chmod(path.stat().st_mode | 0o200)


# -- the database ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def postgresql_down(stand: Stand) -> Iterator[None]:
    """A crash of the database server and its return, with the ingest at work."""
    assert stand.server
    with _ingesting(stand):
        time.sleep(2 * LOOK_SECONDS)
        stand.server.stop("immediate")
        try:
            yield
        finally:
            stand.server.start()


@contextlib.contextmanager
def sqlite_locked(stand: Stand) -> Iterator[None]:
    """Somebody else has the file to himself for a while, again and again."""
    with _ingesting(stand):

        def lock() -> None:
            with contextlib.closing(sqlite3.connect(_file(stand), isolation_level=None, timeout=20)) as other:
                other.execute("BEGIN EXCLUSIVE")
                time.sleep(LOCKED_SECONDS)

        with repeating(lock, 1.0):
            yield


@contextlib.contextmanager
def sqlite_removed(stand: Stand) -> Iterator[None]:
    """The file is deleted under the ingest; the journal still has all."""
    with _ingesting(stand):
        time.sleep(5 * LOOK_SECONDS)
        for path in _file(stand).parent.glob(f"{_file(stand).name}*"):
            path.unlink()
        yield


def _file(stand: Stand) -> Path:
    return Path(stand.database.removeprefix("sqlite:///"))


@contextlib.contextmanager
def _ingesting(stand: Stand) -> Iterator[None]:
    """`dmarcmilter history ingest --follow` beside the filter; all must be in the database when all is over."""
    command = [sys.executable, "-m", "dmarcmilter", "history", "ingest", "--follow", "--config", str(stand.filter.conf)]
    with (stand.filter.directory / "ingest.log").open("wb") as log:
        follower = stand.stack.enter_context(
            subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log, stdin=subprocess.DEVNULL)  # noqa: S603
        )
    stand.stack.callback(follower.terminate)
    stand.at_the_end.append(lambda: _caught_up(stand, follower))
    wait_until = time.monotonic() + CATCH_UP_SECONDS
    while _stored(stand) < 0 and time.monotonic() < wait_until:
        time.sleep(LOOK_SECONDS)
    yield


def _caught_up(stand: Stand, follower: "subprocess.Popen[bytes]") -> None:
    """Or it is told as a problem: the follower itself must get there, nobody helps it."""
    end = time.monotonic() + CATCH_UP_SECONDS
    start = time.monotonic()
    while _stored(stand) != len(stand.filter.journalled()[0]):
        if time.monotonic() > end:
            log = (stand.filter.directory / "ingest.log").read_text("utf-8")
            stand.problems.append(
                f"the ingest has {_stored(stand)} of {len(stand.filter.journalled()[0])} outcomes "
                f"(exit status {follower.poll()}); its log:\n{log[-2000:]}"
            )
            return
        time.sleep(LOOK_SECONDS)
    stand.notes.append(f"history complete {time.monotonic() - start:.0f} s after the last message")


def _stored(stand: Stand) -> int:
    """Outcomes in the database as anybody else sees it; -1: it cannot be asked."""
    engine = sa.create_engine(stand.database)
    try:
        with engine.connect() as connection:
            return int(connection.execute(sa.text("SELECT count(*) FROM outcomes")).scalar_one())
    except sa.exc.SQLAlchemyError:
        return -1
    finally:
        engine.dispose()
