"""Postfix's hold queue, by Postfix's own commands: what is held, released, deleted.

What the queue says of a message, its senders wrote. Queue ids are taken only in the form that Postfix gives them and
handed over on standard input, so that none can be an option or mean more than one message.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

MAX_HELD = 100_000
"""Messages on hold that are looked at."""
MAX_HEADER = 65_536
"""Octets of a message's header that are shown."""
MAX_HURRIED = 100
"""Released messages whose delivery is started one by one; more are left to the next run of the queue."""
SECONDS = 120.0
"""For one of Postfix's commands."""
SYSTEM_PATHS = ("/usr/sbin", "/sbin", "/usr/local/sbin")
"""Where Postfix's commands may be though they are not in PATH."""

_QUEUE_ID = re.compile(r"[0-9A-Za-z]{5,30}")


class QueueError(Exception):
    """Postfix's commands cannot be used; the text is for the administrator."""


@dataclass(frozen=True, slots=True)
class Held:
    queue_id: str
    arrived: datetime
    size: int
    recipients: int


class PostfixQueue:
    """`config_dir`: of another Postfix than the system's."""

    def __init__(self, config_dir: str = "") -> None:
        self._options = ["-c", config_dir] if config_dir else []

    def held(self) -> list[Held]:
        """What is on hold, oldest first."""
        found: list[Held] = []
        for line in self._run("postqueue", "-j").splitlines():
            one = _read(line) if b'"hold"' in line else None
            if one is not None and len(found) < MAX_HELD:
                found.append(one)
        return sorted(found, key=lambda one: one.arrived)

    def release(self, queue_ids: Collection[str]) -> set[str]:
        """Out of the hold queue, and on their way; what is still held afterwards was not released."""
        wanted = _proper(queue_ids)
        self._run("postsuper", "-H", "-", given=wanted)
        released = wanted - {one.queue_id for one in self.held()}
        # postsuper leaves them for the next run of the queue, which may be minutes away.
        for queue_id in sorted(released)[:MAX_HURRIED]:
            self._run("postqueue", "-i", queue_id)
        return released

    def delete(self, queue_ids: Collection[str]) -> set[str]:
        """For good, and only what is on hold: not what somebody else has released a moment ago."""
        wanted = _proper(queue_ids)
        self._run("postsuper", "-d", "-", "hold", given=wanted)
        return wanted - {one.queue_id for one in self.held()}

    def header(self, queue_id: str) -> bytes:
        return self._run("postcat", "-h", "-q", queue_id)[:MAX_HEADER]

    def _run(self, program: str, *arguments: str, given: Iterable[str] = ()) -> bytes:
        path = os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_PATHS))
        found = shutil.which(program, path=path)
        if found is None:
            raise QueueError(f"{program} is not there: is Postfix installed?")
        lines = "".join(f"{queue_id}\n" for queue_id in sorted(given))
        try:
            done = subprocess.run(  # noqa: S603  a program of Postfix, and ids in its own form
                [found, *self._options, *arguments],
                input=lines.encode(),
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise QueueError(f"{program}: {error}") from None
        if done.returncode:
            raise QueueError(f"{program}: {_last_line(done.stderr) or f'exit status {done.returncode}'}")
        return done.stdout


def is_queue_id(text: str) -> bool:
    """Postfix's short or long ids, and not postsuper's word for every message."""
    return bool(_QUEUE_ID.fullmatch(text)) and text != "ALL"


def _proper(queue_ids: Iterable[str]) -> set[str]:
    return {queue_id for queue_id in queue_ids if is_queue_id(queue_id)}


def _read(line: bytes) -> Held | None:
    """One line of `postqueue -j`, if it is of a message on hold."""
    try:
        found: dict[str, Any] = json.loads(line)
        if found["queue_name"] != "hold" or not is_queue_id(found["queue_id"]):
            return None
        arrived = datetime.fromtimestamp(found["arrival_time"], UTC)
        return Held(found["queue_id"], arrived, int(found["message_size"]), len(found["recipients"]))
    except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError):
        return None


def _last_line(text: bytes) -> str:
    lines = [line for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    return printable(lines[-1]) if lines else ""


def printable(text: str) -> str:
    """For a terminal: nothing that moves its cursor, colours it, or answers for the user."""
    return "".join(_characters(text))


def _characters(text: str) -> Iterator[str]:
    for char in text:
        code = ord(char)
        if char.isprintable():
            yield char
        else:
            yield f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65_536 else f"\\U{code:08x}"
