"""Databases for tests: SQLite files, and a real PostgreSQL server of the tests' own, stopped at the end."""

import atexit
import functools
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest

from dmarcmilter.history.store import rows

SETTINGS = "-c listen_addresses='' -c fsync=off -c shared_buffers=16MB -c max_connections=30"
"""On a socket in its own folder only. No power failure is tested."""


class Server:
    """A PostgreSQL server in a temporary folder. It refuses to run as root, so root's tests lend it a user."""

    def __init__(self, binaries):
        self._binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="dmarcmilter-pg-", dir="/tmp"))
        self._user = "postgres" if os.getuid() == 0 else None
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        self._run(
            "initdb", "-D", self.data, "-U", "tests", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"
        )
        self.start()

    @property
    def data(self):
        return str(self.folder / "data")

    def start(self):
        self._run(
            "pg_ctl",
            "-D",
            self.data,
            "-w",
            "-l",
            str(self.folder / "log"),
            "-o",
            f"{SETTINGS} -k {self.folder}",
            "start",
        )

    def stop(self, mode="immediate"):
        """`immediate` is what a crash is: nothing is tidied up."""
        self._run("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    def remove(self):
        subprocess.run(
            [self._binaries / "pg_ctl", "-D", self.data, "-m", "immediate", "stop"],
            user=self._user,
            check=False,
            capture_output=True,
            cwd="/",
        )
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_database(self):
        name = f"t{uuid.uuid4().hex}"
        self._run("createdb", "-h", str(self.folder), "-U", "tests", name)
        return f"postgresql+psycopg://tests@/{name}?host={self.folder}"

    def _run(self, command, *arguments):
        # Output goes to a file: a server that is started keeps what it inherits.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [self._binaries / command, *arguments],
                user=self._user,
                check=False,
                stdout=output,
                stderr=output,
                cwd="/",
            )
            output.seek(0)
            assert done.returncode == 0, output.read().decode()


@functools.cache
def binaries():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@functools.cache
def server():
    """The server that tests share, or a loud skip."""
    folder = binaries()
    if folder is None:
        pytest.skip("PostgreSQL is not installed: scripts/bootstrap test")
    started = Server(folder)
    atexit.register(started.remove)
    return started


def new_url(kind, folder):
    """An empty database."""
    return f"sqlite:///{folder}/{uuid.uuid4().hex}.db" if kind == "sqlite" else server().new_database()


def ask(store, sql, **values):
    with store.reading() as connection:
        return [tuple(row) for row in rows(connection, sql, **values)]
