"""Incoming Authentication-Results fields that claim to be ours (RFC 8601 5), which are removed.

A field is removed unless every reader would take it for a field of another server: readers differ on what is malformed.
"""

import re
from collections.abc import Collection, Sequence
from typing import Final

from dmarcmilter.mail import domain
from dmarcmilter.mail.header_tokens import CONTROLS, QUOTED_STRING, skip_cfws, unfold, unquote

MAX_MAPPED: Final = 100
"""Incoming fields whose authserv-id is mapped to A-labels for comparison; further ones are removed. Mapping is slow,
and such fields are rare."""
MAX_SCANNED_FIELD: Final = 4096
"""Bytes at the beginning of a field in which its authserv-id must end; otherwise the field is removed."""
MAX_COMMENTS: Final = 100
"""Comments read in these bytes; a field with more is removed unread. Each comment costs time."""
MAX_ID_END: Final = 960
"""Bytes of a field body within which the authserv-id and the version must end; a field in which they end later is
removed. They stand before any place where an MTA splits an over-long line (line_split.SPLIT_WIDTHS)."""
MAX_SCANNED: Final = 262_144
"""Bytes read of all fields of a message; further fields are removed unread."""

_ID_TOKEN: Final = re.compile(rb"[!#-'*+\-.0-9A-Z^-~\x80-\xff]+")
_NOT_OF_A_NAME: Final = re.compile(rb"[^A-Za-z0-9._-]")
_JOB: Final = re.compile(rb"/[!#-'*+\-./0-9:=?@A-Z^-~]+")
_VERSION: Final = re.compile(rb"[0-9]+")
_SUPPORTED_VERSION: Final = b"1"


def forged(values: Sequence[bytes], ids: Collection[str]) -> tuple[int, ...]:
    """Authentication-Results fields to remove (RFC 8601 5), by occurrence from 1, the highest first.

    They must be deleted in this order, because MTAs disagree on whether the numbers of later fields change.
    """
    if not values:
        return ()
    ours = frozenset(_comparable(identifier.encode("utf-8", "replace")) for identifier in ids if identifier)
    unread = _unread(values)
    return tuple(
        number for number in range(len(values), 0, -1) if number in unread or _claims_ours(values[number - 1], ours)
    )


def _unread(values: Sequence[bytes]) -> set[int]:
    """Occurrences to remove unread, because they exceed MAX_SCANNED bytes or MAX_MAPPED mappings to A-labels."""
    unread = set()
    scanned = mapped = 0
    for number, value in enumerate(values, 1):
        scanned += min(len(value), MAX_SCANNED_FIELD)
        mapped += not value.partition(b";")[0].isascii()
        if scanned > MAX_SCANNED or mapped > MAX_MAPPED:
            unread.add(number)
    return unread


def _claims_ours(value: bytes, ours: frozenset[str]) -> bool:
    """Whether a reader may believe that the field is ours.

    True for a field that cannot be read up to its first semicolon, because lenient readers differ on it. Such is a
    field that begins with a result and names no server (`spf=pass ...`): readers that accept it attribute it to their
    own site. True also for any version but 1 (RFC 8601 5).
    """
    text = unfold(value[:MAX_SCANNED_FIELD])
    start = skip_cfws(text, 0) if text.count(b"(") <= MAX_COMMENTS else None
    if start is None:
        return True
    end = _id_end(text, start)
    if end is None:
        return True
    identifier = _id_text(text[start:end])
    if not identifier or _comparable(identifier) in ours:
        return True
    if not identifier.isascii() and domain.parse(identifier) is None:
        return True  # unreadable: programs drop or replace such bytes
    if _comparable(_NOT_OF_A_NAME.sub(b"", identifier)) in ours:
        return True  # programs may drop such characters from readable text, too, and strip other kinds of quotes
    # Readers without support for nested comments or quoted pairs may read the identifier inside one, and some of them
    # drop bytes above 127 from it.
    comments = text[:start].lower()
    if not comments.isascii() or any(name.encode() in comments for name in ours):
        return True
    if job := _JOB.match(text, end):
        end = job.end()  # some filters append the queue id to the authserv-id
    after = skip_cfws(text, end)
    if after is None:
        return True
    if after > end and (version := _VERSION.match(text, after)):
        after = skip_cfws(text, version.end())
        if after is None or version.group() != _SUPPORTED_VERSION:
            return True
    if text[after : after + 1] == b";" or (after == len(text) and len(value) <= MAX_SCANNED_FIELD):
        return after > MAX_ID_END or CONTROLS.search(text, 0, after) is not None
    return True


def _id_end(text: bytes, start: int) -> int | None:
    match = QUOTED_STRING.match(text, start) or _ID_TOKEN.match(text, start)
    return match.end() if match else None


def _id_text(raw: bytes) -> bytes:
    """The authserv-id without quotes and without a queue id."""
    text = unquote(raw) if raw.startswith(b'"') else raw
    return text.split(b"/", 1)[0]


def _comparable(raw: bytes) -> str:
    """The identifier in a form in which spellings that readers treat as equal are equal: case, final dot, U-labels and
    white space do not count.
    """
    text = raw.decode("utf-8", "replace")
    text = "".join(text.split()).rstrip(".")
    return domain.parse(text) or text.lower()
