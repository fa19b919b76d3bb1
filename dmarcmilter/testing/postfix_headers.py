"""How Postfix takes a message apart for a milter and applies what the milter asks for.

A header field is `(name, value)`: bytes, the value is all that follows the colon, folds are CRLF.
Only the standard library is imported, so that the demonstration can use this too.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

Field = tuple[bytes, bytes]

# Postfix's own trace field stands first in its queue file. A milter never sees it, but it counts as position 0
# for insertions and cannot be changed or deleted.
OWN_RECEIVED: Field = (b"Received", b" from client by mta (Postfix) with ESMTP")

# What Postfix keeps of a field, name and colon included, folds as LF: below the protocol's 65,535 octets.
FIELD_LIMIT = 60_000
# Postfix reads a longer line in pieces of this size.
PIECE = 2048

_LABEL = re.compile(rb"([!-9;-~]+)[ \t]*:")
_BARE_CR = re.compile(rb"\r(?!\n)")


class Edit(Enum):
    """What a milter may ask of the header, by the code of the packet."""

    ADD = b"h"
    INSERT = b"i"
    CHANGE = b"m"


@dataclass(frozen=True, slots=True)
class HeaderEdit:
    kind: Edit
    index: int
    name: bytes
    value: bytes
    """With the leading space that it will have after the colon; empty: delete."""


def split_message(message: bytes) -> tuple[list[Field], bytes]:
    """Header fields and body as the milter is to get them.

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
    """The field as Postfix keeps and shows it: up to its limit and to the first NUL.

    Of what is over the limit, a continuation line is left out as a whole, but a very long one is cut.
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
    """The header as delivered (with the MTA's own trace field), what was added, and what was removed.

    Positions move at once: of two requests to delete number 1, the second takes the former number 2.
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
    """Where the wanted instance stands; a field that was inserted at the top a moment ago is counted too."""
    same = [
        at for at, field in enumerate(fields) if field is not OWN_RECEIVED and field[0].lower() == edit.name.lower()
    ]
    wanted = max(edit.index, 1)
    return same[wanted - 1] if wanted <= len(same) else None


def _folded(value: bytes) -> bytes:
    """A line of the value that does not start with white space is made a continuation."""
    first, *rest = value.split(b"\n")
    return b"\r\n".join([first, *(line if line[:1] in (b" ", b"\t") else b"\t" + line for line in rest)])
