"""Authentication-Results (RFC 8601): writing ours, and recognising fields that claim to be ours.

The sender chooses much of what is reported, so nothing reaches the field but through `_value`, `_identity` and
`_printable`: ASCII without controls, inside a token or a quoted-string that it cannot end.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from dmarcmilter.mail import domain
from dmarcmilter.mail.header_tokens import CONTROLS, QUOTED_STRING, skip_cfws, unfold, unquote

MAX_VALUE: Final = 255
"""Octets of one reported value; a longer one is not reported (no domain or selector is longer)."""
MAX_FIELD: Final = 8000
"""Octets of the whole field body: MTAs and readers cut or refuse long header fields."""
MAX_RESULTS: Final = 100
"""Results that are looked at; the checks have their own, lower limits."""
MAX_LINE: Final = 78
"""RFC 5322 2.1.1. No piece can come near the 998 that must not be passed."""
MAX_WORDS: Final = 256
"""Names of our own that are remembered as well-formed: there are about thirty."""
MAX_MAPPED: Final = 100
"""Incoming fields whose identifier is mapped to A-labels to be compared: mapping is slow, and such fields are rare."""
LEFT_OUT: Final = "further signatures not shown"

_FOLD: Final = "\n\t"  # what a milter hands over; the MTA writes the CR
# A part of RFC 2045 5.1 token: readers exist that take an apostrophe, a backtick or a percent sign for more than text.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_.+-]+")
_PRINTABLE: Final = re.compile(r"[ -~]*")
_NOT_PRINTABLE: Final = re.compile(r"[^ -~]")
_COMMENT_SPECIAL: Final = re.compile(r"[()\\]")
# RFC 6376 3.5 domain-name: two labels or more of RFC 5321 4.1.2 sub-domain.
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_IDENTITY: Final = re.compile(rf"(?P<local>.*)@(?P<domain>{_LABEL}(?:\.{_LABEL})+)")
# RFC 5321 4.1.2 Keyword; a property is ptype "." property.
_KEYWORD: Final = re.compile(_LABEL)
_PROPERTY: Final = re.compile(rf"{_LABEL}\.{_LABEL}")


@dataclass(frozen=True, slots=True)
class Result:
    """One resinfo (RFC 8601 2.2). Method, result and property names are ours; everything else may be hostile."""

    method: str
    result: str
    reason: str = ""
    comment: str = ""
    properties: tuple[tuple[str, str], ...] = ()
    """("header.d", value): a value that is empty, too long or not printable ASCII leaves the property out."""


def render(authserv_id: str, results: Sequence[Result]) -> str:
    """The field body (RFC 8601 2.2), folded with LF TAB, without the leading space. ValueError for names of our own."""
    if not authserv_id or len(authserv_id) > MAX_VALUE or not _PRINTABLE.fullmatch(authserv_id):
        raise ValueError("authserv-id is not printable ASCII of at most 255 octets")
    head = _value(authserv_id)
    if not results:
        return f"{head}; none"
    shown = _at_most(MAX_RESULTS, results)
    left_out = len(shown) < len(results)
    field = _field(head, shown, left_out=left_out)
    while len(field) > MAX_FIELD:
        position = _last_dkim(shown)
        if position is None:
            # Results without signatures are few; bare ones always fit.
            return _field(head, [replace(result, reason="", comment="", properties=()) for result in shown])
        del shown[position]
        left_out = True
        field = _field(head, shown, left_out=left_out)
    return field


def _at_most(limit: int, results: Sequence[Result]) -> list[Result]:
    """Signatures give way to the other results, the later ones first."""
    room = max(0, limit - sum(result.method != "dkim" for result in results))
    kept: list[Result] = []
    for result in results:
        if result.method == "dkim":
            if not room:
                continue
            room -= 1
        kept.append(result)
    return kept[:limit]


def _last_dkim(results: Sequence[Result]) -> int | None:
    positions = [position for position, result in enumerate(results) if result.method == "dkim"]
    return positions[-1] if positions else None


def _field(head: str, results: Sequence[Result], *, left_out: bool = False) -> str:
    lines = [head]
    last = _last_dkim(results) if left_out else None
    for number, result in enumerate(results):
        lines[-1] += ";"
        used = MAX_LINE  # every result begins a line
        for piece in _pieces(result, more_left_out=number == last):
            if used + 1 + len(piece) < MAX_LINE:
                lines[-1] += " " + piece
                used += 1 + len(piece)
            else:
                lines.append(piece)
                used = 1 + len(piece)
    return _FOLD.join(lines)


def _pieces(result: Result, *, more_left_out: bool) -> Iterator[str]:
    """What no fold may enter."""
    yield f"{_keyword(result.method)}={_keyword(result.result)}"
    if result.comment:
        yield _comment(result.comment)
    if more_left_out:
        yield _comment(LEFT_OUT)
    if result.reason:
        yield f"reason={_value(_printable(result.reason))}"
    for name, value in result.properties:
        _check_property(name)
        if _TOKEN.fullmatch(value) and len(value) <= MAX_VALUE:
            yield f"{name}={value}"  # as most are
            continue
        # A name that was never in the message must not appear: such a value is dropped, not repaired.
        if value and len(value) <= MAX_VALUE and _PRINTABLE.fullmatch(value):
            yield f"{name}={_identity(value)}"


@lru_cache(maxsize=MAX_WORDS)
def _check_property(name: str) -> None:
    if not _PROPERTY.fullmatch(name):
        raise ValueError(f"not a property name: {name!r}")


@lru_cache(maxsize=MAX_WORDS)
def _keyword(word: str) -> str:
    if not _KEYWORD.fullmatch(word):
        raise ValueError(f"not a keyword: {word!r}")
    return word


def _identity(text: str) -> str:
    """A pvalue: RFC 8601 2.2 wants an email identity as [local-part] "@" domain-name, anything else as a value."""
    match = _IDENTITY.fullmatch(text) if "@" in text else None
    if not match:
        return _value(text)
    local = match["local"]
    return f"{_value(local) if local else ''}@{match['domain']}"


def _value(text: str) -> str:
    """RFC 2045 5.1 value: the token where it is one, else a quoted-string."""
    if _TOKEN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _printable(text: str) -> str:
    return _NOT_PRINTABLE.sub("?", text[:MAX_VALUE])


def _comment(text: str) -> str:
    """RFC 5322 3.2.2. Ours alone, and escaped all the same."""
    escaped = _COMMENT_SPECIAL.sub(r"\\\g<0>", _printable(text))
    return f"({escaped})"


# The first words of a field: as much as is needed to know whose it claims to be.
_ID_TOKEN: Final = re.compile(rb"[!#-'*+\-.0-9A-Z^-~\x80-\xff]+")
_NOT_OF_A_NAME: Final = re.compile(rb"[^A-Za-z0-9._-]")
_JOB: Final = re.compile(rb"/[!#-'*+\-./0-9:=?@A-Z^-~]+")
_VERSION: Final = re.compile(rb"[0-9]+")
MAX_SCANNED_FIELD: Final = 4096
"""Octets of a field in which its authserv-id must end; one in which it does not is removed."""
MAX_COMMENTS: Final = 100
"""Comments in as much of a field; one with more is removed unread. Each costs a step, and there may be many fields."""
MAX_SCANNED: Final = 262_144
"""Octets of all the fields of a message that are read so."""
_SUPPORTED_VERSION: Final = b"1"


def forged(values: Sequence[bytes], ids: Collection[str]) -> tuple[int, ...]:
    """Which Authentication-Results fields to remove (RFC 8601 5): occurrences from 1, the highest first.

    The order is the one to delete in: MTAs disagree on whether the numbers of later fields move.
    """
    ours = frozenset(_comparable(identifier.encode("utf-8", "replace")) for identifier in ids if identifier)
    unread = _unread(values)
    return tuple(
        number for number in range(len(values), 0, -1) if number in unread or _claims_ours(values[number - 1], ours)
    )


def _unread(values: Sequence[bytes]) -> set[int]:
    """Occurrences that are removed unread, whosever they are: past MAX_SCANNED octets, or MAX_MAPPED IDNA mappings."""
    found = set()
    octets = mapped = 0
    for number, value in enumerate(values, 1):
        octets += min(len(value), MAX_SCANNED_FIELD)
        mapped += not value.partition(b";")[0].isascii()
        if octets > MAX_SCANNED or mapped > MAX_MAPPED:
            found.add(number)
    return found


def _claims_ours(value: bytes, ours: frozenset[str]) -> bool:
    """Whether a reader may take the field for ours.

    So does one that cannot be read up to its first semicolon, because nobody knows what a lenient reader makes of it.
    That includes a field which starts with a result and names no server (`spf=pass ...`): readers that accept it
    credit it to their own site. So does any version but 1 (RFC 8601 5).
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
        return True  # unreadable: programs drop or replace such octets
    if _comparable(_NOT_OF_A_NAME.sub(b"", identifier)) in ours:
        return True  # programs may drop them from what can be read, too, and strip quotes of other kinds
    # Readers that know no nested comments or quoted pairs may find the identifier inside one, and some of them drop
    # octets above 127 from it.
    comments = text[:start].lower()
    if not comments.isascii() or any(name.encode() in comments for name in ours):
        return True
    if job := _JOB.match(text, end):
        end = job.end()  # an authserv-id with the queue id appended, as some filters write
    after = skip_cfws(text, end)
    if after is None:
        return True
    if after > end and (version := _VERSION.match(text, after)):
        after = skip_cfws(text, version.end())
        if after is None or version.group() != _SUPPORTED_VERSION:
            return True
    if text[after : after + 1] == b";" or (after == len(text) and len(value) <= MAX_SCANNED_FIELD):
        return CONTROLS.search(text, 0, after) is not None
    return True


def _id_end(text: bytes, start: int) -> int | None:
    match = QUOTED_STRING.match(text, start) or _ID_TOKEN.match(text, start)
    return match.end() if match else None


def _id_text(raw: bytes) -> bytes:
    """Without the quotes and without a queue id."""
    text = unquote(raw) if raw.startswith(b'"') else raw
    return text.split(b"/", 1)[0]


def _comparable(raw: bytes) -> str:
    """One spelling for all that readers take for the same identifier: case, final dot, U-label, white space."""
    text = raw.decode("utf-8", "replace")
    text = "".join(text.split()).rstrip(".")
    return domain.parse(text) or text.lower()
