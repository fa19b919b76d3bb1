"""`dmarcmilter run` for tests: its own directory, conf file, unix socket and journal; ended by its process id."""

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.support.paths import PROJECT

READY_SECONDS = 60.0
STOP_SECONDS = 60.0

Sections = Mapping[str, Any]
"""The keys of each section; of an array of tables, a list of such."""


class FilterDaemon:
    """Context manager. `sections` is the conf file's content; it has a socket, journal and sampling key of its own."""

    more_arguments: tuple[str, ...] = ()

    def __init__(self, sections: Sections, *, parent: str | None = None) -> None:
        """`parent`: where its directory goes; the default is the system's for temporary files."""
        self._temporary = tempfile.TemporaryDirectory(prefix="dmarcmilter-test-", dir=parent)
        self.directory = Path(self._temporary.name)
        # The MTA connects as another user.
        self.directory.chmod(0o755)
        self.socket = self.directory / "filter.sock"
        self.journal = self.directory / "journal"
        self.conf = self.directory / "dmarcmilter.toml"
        self.journal.mkdir(mode=0o750)
        self.write_conf(sections)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log_path.open("wb") as log:
            command = [sys.executable, "-m", "dmarcmilter", "run", "--config", str(self.conf), *self.more_arguments]
            self.process = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._temporary.cleanup()

    @property
    def address(self) -> str:
        """For Postfix and for MilterClient alike."""
        return f"unix:{self.socket}"

    def write_conf(self, sections: Sections) -> None:
        """For a reload too."""
        own: dict[str, dict[str, Any]] = {
            "milter": {"socket": f"unix:{self.socket}", "socket_mode": "0666", "workers": 1},
            "policy": {"mode": "enforce", "sampling_key": str(self.directory / "sampling.key")},
            "defer": {"directory": str(self.directory / "deferred")},
            "history": {"journal": str(self.journal), "database": f"sqlite:///{self.directory}/history.db"},
        }
        arrays = [
            (f"[[{name}]]", keys) for name, tables in sections.items() if isinstance(tables, list) for keys in tables
        ]
        for name, keys in sections.items():
            if not isinstance(keys, list):
                own[name] = own.get(name, {}) | dict(keys)
        # JSON's strings, numbers, lists and truth values are also TOML's.
        lines = [
            f"{head}\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in keys.items())
            for head, keys in [*((f"[{name}]", keys) for name, keys in own.items()), *arrays]
        ]
        self.conf.write_text("\n".join(lines), encoding="utf-8")

    def log(self) -> str:
        return self._log_path.read_text("utf-8", "replace")

    def records(self) -> list[dict[str, Any]]:
        """All outcome objects of the journal, oldest first within a file."""
        lines = [line for path in sorted(self.journal.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
        return [json.loads(line) for line in lines]

    def warnings(self) -> list[str]:
        """What the log warns of, but for the tests' own doing: they start the filter as root."""
        lines = (line for line in self.log().splitlines() if line.startswith("WARNING"))
        return [line for line in lines if "the filter runs as root" not in line]

    def record(self, queue_id: str) -> dict[str, Any]:
        """The one outcome of that message: it is in the journal before the MTA has its answer."""
        found = [record for record in self.records() if record["queue_id"] == queue_id]
        assert len(found) == 1, f"{len(found)} records of {queue_id}; the filter's log:\n{self.log()}"
        return found[0]

    @property
    def _log_path(self) -> Path:
        return self.directory / "log"

    def _wait_until_ready(self) -> None:
        assert self.process
        deadline = time.monotonic() + READY_SECONDS
        while not self._accepts():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the filter does not start; its log:\n{self.log()}")
            time.sleep(0.05)

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0
