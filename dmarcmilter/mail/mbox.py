"""Messages in a file: one by itself, or many in an mbox file (RFC 4155), read one after the other."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_MESSAGE = 256 * 1_048_576
"""Largest message read, in bytes; a larger one is refused."""
MAX_LINE = 65_536
"""Bytes read at a time of a line without an end."""

_SEPARATOR = re.compile(rb"From (\S+)[ \t].*\d\d:\d\d.*\d{4}")
_FIRST_SEPARATOR = re.compile(rb"From (\S*)")
_QUOTED = re.compile(rb"(>+From )")


class TooLargeError(Exception):
    """A message of more than MAX_MESSAGE bytes."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as it was stored."""

    raw: bytes
    """Without the mbox separator, and with the quoting of its `From ` lines taken away."""
    sender: bytes | None = None
    """The envelope sender in the mbox separator; None: there is no separator."""


def messages(file: BinaryIO) -> Iterator[Stored]:
    """Each message of the file. One that begins with a separator (`From `) is an mbox file, else it is one message."""
    line = file.readline(MAX_LINE)
    match = _FIRST_SEPARATOR.match(line)
    if match is None:
        yield Stored(_whole(line, file))
        return
    sender = match[1]
    _skip_rest(line, file)
    while sender is not None:
        raw, following = _one(file)
        yield Stored(raw, sender)
        sender = following


def _whole(start: bytes, file: BinaryIO) -> bytes:
    raw = start + file.read(MAX_MESSAGE + 1 - len(start))
    if len(raw) > MAX_MESSAGE:
        raise TooLargeError
    return raw


def _one(file: BinaryIO) -> tuple[bytes, bytes | None]:
    """The message that begins here, and the sender in the separator after it; None: it is the last one."""
    parts: list[bytes] = []
    size = 0
    is_blank_before = is_line_start = True
    while line := file.readline(MAX_LINE):
        if is_line_start and is_blank_before and (match := _SEPARATOR.match(line)):
            _skip_rest(line, file)
            return _joined(parts), match[1]
        if is_line_start and _QUOTED.match(line):
            line = line[1:]
        size += len(line)
        if size > MAX_MESSAGE:
            raise TooLargeError
        parts.append(line)
        is_blank_before = is_line_start and line in (b"\n", b"\r\n")
        is_line_start = line.endswith(b"\n")
    return _joined(parts), None


def _joined(parts: list[bytes]) -> bytes:
    """The message without the empty line that mbox puts after it."""
    if parts and parts[-1] in (b"\n", b"\r\n"):
        parts.pop()
    return b"".join(parts)


def _skip_rest(line: bytes, file: BinaryIO) -> None:
    while line and not line.endswith(b"\n"):
        line = file.readline(MAX_LINE)
