"""Messages in a file: a single one, or those of an mbox file (RFC 4155), read one after the other."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from dmarcmilter.value import Value

MAX_MESSAGE = 256 * 1_048_576
"""Largest message, in bytes; a larger one raises TooLargeError."""
MAX_LINE = 65_536
"""Bytes read at once of a long line; the rest of it is read next."""

_SEPARATOR = re.compile(rb"From (\S+)[ \t].*\d\d:\d\d.*\d{4}")
_FIRST_SEPARATOR = re.compile(rb"From (\S*)")
_QUOTED = re.compile(rb"(>+From )")


class TooLargeError(Exception):
    """A message of more than MAX_MESSAGE bytes."""


class Stored(Value):
    """A message of the file."""

    raw: bytes
    """The message without the mbox separator and without the quoting of its `From ` lines."""
    sender: bytes | None = None
    """The envelope sender in the mbox separator; None: there is no separator."""


def messages(file: BinaryIO) -> Iterator[Stored]:
    """Read each message. A file that begins with a separator (`From `) is an mbox file, any other a single message."""
    line = file.readline(MAX_LINE)
    match = _FIRST_SEPARATOR.match(line)
    if match is None:
        yield Stored(_whole(line, file))
        return
    sender = match[1]
    _skip_rest(line, file)
    while sender is not None:
        raw, following = _next_message(file)
        yield Stored(raw, sender)
        sender = following


def _whole(start: bytes, file: BinaryIO) -> bytes:
    raw = start + file.read(MAX_MESSAGE + 1 - len(start))
    if len(raw) > MAX_MESSAGE:
        raise TooLargeError
    return raw


def _next_message(file: BinaryIO) -> tuple[bytes, bytes | None]:
    """Read up to the next separator; return the message, and the sender in that separator (None: end of file)."""
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
    """Join the parts without the empty line that mbox puts after a message."""
    if parts and parts[-1] in (b"\n", b"\r\n"):
        parts.pop()
    return b"".join(parts)


def _skip_rest(line: bytes, file: BinaryIO) -> None:
    while line and not line.endswith(b"\n"):
        line = file.readline(MAX_LINE)
