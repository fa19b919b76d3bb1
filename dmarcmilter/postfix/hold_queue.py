"""Postfix's hold queue: lists, releases and deletes held messages with Postfix's own commands.

Queue ids are accepted only in the form that Postfix gives them and passed on standard input, so that none can be read
as an option or as more than one message.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any

from dmarcmilter.value import Value

MAX_HELD = 100_000
"""Number of messages on hold that are listed; further ones are left out."""
MAX_HEADER = 65_536
"""Bytes of a message's header that are returned; the rest is cut off."""
MAX_IMMEDIATE = 100
"""Number of released messages whose delivery is started at once; further ones wait for the next run of the queue."""
SECONDS = 120.0
"""Seconds that one of Postfix's commands may take; then it is killed and counts as failed."""
SYSTEM_PATHS = ("/usr/sbin", "/sbin", "/usr/local/sbin")
"""Folders where Postfix's commands are looked for besides PATH."""

_QUEUE_ID = re.compile(r"[0-9A-Za-z]{5,30}")


class QueueError(Exception):
    """Postfix's commands cannot be used; the text is for the administrator."""


class Held(Value):
    """A message in the hold queue."""

    queue_id: str
    arrived: datetime
    size: int
    """Bytes."""
    recipients: int
    """Number of recipients."""


class PostfixQueue:
    """The hold queue of a Postfix on this machine."""

    def __init__(self, config_dir: str = "") -> None:
        """`config_dir`: configuration directory of the Postfix instance; empty: the system's default."""
        self._options = ["-c", config_dir] if config_dir else []

    def held(self) -> list[Held]:
        """The messages on hold, oldest first."""
        messages: list[Held] = []
        for line in self._run("postqueue", "-j").splitlines():
            message = _read(line) if b'"hold"' in line else None
            if message is not None and len(messages) < MAX_HELD:
                messages.append(message)
        return sorted(messages, key=lambda message: message.arrived)

    def release(self, queue_ids: Collection[str]) -> set[str]:
        """Release messages and start their delivery; the ids of those that are no longer held."""
        valid_ids = _valid(queue_ids)
        self._run("postsuper", "-H", "-", lines=valid_ids)
        released = valid_ids - {message.queue_id for message in self.held()}
        # postsuper leaves them to the next run of the queue, which may be minutes away.
        for queue_id in sorted(released)[:MAX_IMMEDIATE]:
            self._run("postqueue", "-i", queue_id)
        return released

    def delete(self, queue_ids: Collection[str]) -> set[str]:
        """Delete messages for good; the ids of those that are no longer held."""
        valid_ids = _valid(queue_ids)
        # "hold" spares a message that another administrator has released a moment ago.
        self._run("postsuper", "-d", "-", "hold", lines=valid_ids)
        return valid_ids - {message.queue_id for message in self.held()}

    def header(self, queue_id: str) -> bytes:
        """The header of a message, as its sender wrote it."""
        return self._run("postcat", "-h", "-q", queue_id)[:MAX_HEADER]

    def _run(self, program: str, *arguments: str, lines: Iterable[str] = ()) -> bytes:
        """The standard output of one of Postfix's commands, which gets the lines on standard input; QueueError."""
        search_path = os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_PATHS))
        executable = shutil.which(program, path=search_path)
        if executable is None:
            raise QueueError(f"{program} is not there: is Postfix installed?")
        try:
            done = subprocess.run(  # noqa: S603  a program of Postfix, and ids in its own form
                [executable, *self._options, *arguments],
                input="".join(f"{line}\n" for line in sorted(lines)).encode(),
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
    """Whether the text is a short or long queue id of Postfix, and not ALL, postsuper's word for every message."""
    return bool(_QUEUE_ID.fullmatch(text)) and text != "ALL"


def _valid(queue_ids: Iterable[str]) -> set[str]:
    return {queue_id for queue_id in queue_ids if is_queue_id(queue_id)}


def _read(line: bytes) -> Held | None:
    """The message that a line of `postqueue -j` describes; None: it is not on hold, or the line cannot be read."""
    try:
        message: dict[str, Any] = json.loads(line)
        if message["queue_name"] != "hold" or not is_queue_id(message["queue_id"]):
            return None
        arrived = datetime.fromtimestamp(message["arrival_time"], UTC)
        return Held(message["queue_id"], arrived, int(message["message_size"]), len(message["recipients"]))
    except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError):
        return None


def _last_line(text: bytes) -> str:
    lines = [line for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    return printable(lines[-1]) if lines else ""


def printable(text: str) -> str:
    """The text without characters that would move a terminal's cursor, color it or type for the user."""
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65_536 else f"\\U{code:08x}"
