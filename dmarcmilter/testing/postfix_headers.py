"""Header fields as Postfix shows them to a milter, and the milter's changes as Postfix applies them.

A header field is `(name, value)`: bytes, the value is all that follows the colon, folds are CRLF.
"""

import re
from collections.abc import Iterable
from enum import Enum

from dmarcmilter.value import Value

Field = tuple[bytes, bytes]

OWN_RECEIVED: Field = (b"Received", b" from client by mta (Postfix) with ESMTP")
"""Postfix's own trace field, the first in its queue file. A milter never sees it; it counts as position 0 for
insertions, and cannot be changed or deleted."""

FIELD_LIMIT = 60_000
"""Bytes of a field that Postfix keeps, with name and colon, folds as LF; the rest is cut off."""
PIECE = 2048
"""Bytes in which Postfix reads a longer line, piece by piece."""

_LABEL = re.compile(rb"([!-9;-~]+)[ \t]*:")
_BARE_CR = re.compile(rb"\r(?!\n)")


class Edit(Enum):
    """The header changes that a milter may request, by the code of the packet."""

    ADD = b"h"
    INSERT = b"i"
    CHANGE = b"m"


class HeaderEdit(Value):
    kind: Edit
    index: int
    name: bytes
    value: bytes
    """Value with the space that will follow the colon; empty: delete the field."""


def split_message(message: bytes) -> tuple[list[Field], bytes]:
    """Split a message into the header fields and the body that the milter gets.

    A bare LF ends a line and a bare CR becomes a space. The first line that is neither a field nor a
    continuation ends the header; unless it is empty it is the first line of the body.
    """
    lines = _BARE_CR.sub(b" ", message).replace(b"\r\n", b"\n").split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    fields: list[list[bytes]] = []
    position = 0
    for line in lines:
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1].append(line)
        elif _LABEL.match(line):
            fields.append([line])
        else:
            break
        position += 1
    if position < len(lines) and lines[position] == b"":
        position += 1
    body = b"".join(line + b"\r\n" for line in lines[position:])
    return [_field(text) for text in fields], body


def _field(lines: list[bytes]) -> Field:
    label = _LABEL.match(lines[0])
    assert label is not None
    return label[1], b"\r\n".join([lines[0][label.end() :], *lines[1:]])


def as_queued(field: Field) -> Field:
    """The field as Postfix keeps and shows it: up to FIELD_LIMIT and to the first NUL.

    A continuation line that crosses the limit is left out as a whole; one longer than PIECE is cut.
    """
    name, value = field
    room = FIELD_LIMIT - len(name) - 1
    kept: list[bytes] = []
    for line in value.split(b"\0")[0].split(b"\r\n"):
        if len(line) > room and len(line) <= PIECE:
            break
        kept.append(line[:room])
        room -= len(line) + 1
        if room <= 0:
            break
    return name, b"\r\n".join(kept)


def apply_edits(fields: Iterable[Field], edits: Iterable[HeaderEdit]) -> tuple[list[Field], list[Field], list[Field]]:
    """Apply changes; return the delivered header (with OWN_RECEIVED), the added fields and the deleted fields.

    Positions move at once: of two requests to delete number 1, the second deletes the former number 2.
    """
    result = [OWN_RECEIVED, *fields]
    added: list[Field] = []
    deleted: list[Field] = []
    for edit in edits:
        place = None
        if edit.kind is Edit.INSERT:
            place = min(edit.index, len(result))
        elif edit.kind is Edit.CHANGE:
            place = _instance(result, edit)
            if place is not None:
                deleted.append(result.pop(place))
        if edit.value:
            new = (edit.name, _folded(edit.value))
            result.insert(len(result) if place is None else place, new)
            added.append(new)
    return result, added, deleted


def _instance(fields: list[Field], edit: HeaderEdit) -> int | None:
    """Position of the requested instance; a field that was inserted before this request is counted too."""
    same = [
        at for at, field in enumerate(fields) if field is not OWN_RECEIVED and field[0].lower() == edit.name.lower()
    ]
    wanted = max(edit.index, 1)
    return same[wanted - 1] if wanted <= len(same) else None


def _folded(value: bytes) -> bytes:
    """Make each further line of the value a continuation line."""
    first, *rest = value.split(b"\n")
    return b"\r\n".join([first, *(line if line[:1] in (b" ", b"\t") else b"\t" + line for line in rest)])
