"""Our Authentication-Results field (RFC 8601): its results as text, folded and bounded.

The sender chooses many of the reported values. They reach the field only through `_value`, `_identity` and
`_printable`: ASCII without controls, inside a token or a quoted-string that the value cannot end.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from dmarcmilter.value import Value, replace

MAX_VALUE: Final = 255
"""Longest value reported, in bytes; a longer one is left out. No domain or selector is longer."""
MAX_FIELD: Final = 8000
"""Largest field body written, in bytes; signatures are left out to stay below. MTAs and readers cut or refuse long
header fields."""
MAX_RESULTS: Final = 100
"""Results written; further ones are left out. The checks have their own, lower limits."""
MAX_LINE: Final = 78
"""Longest line, in characters, unless one piece is longer (RFC 5322 2.1.1). No piece comes near the 998 of RFC 5322."""
MAX_WORDS: Final = 256
"""Names of methods, results and properties cached as valid; there are about thirty."""
LEFT_OUT: Final = "further signatures not shown"
"""Comment written if signatures were left out."""

_FOLD: Final = "\n\t"  # the line end that a milter uses; the MTA adds the CR
# A subset of the token of RFC 2045 5.1: some readers give an apostrophe, a backtick or a percent sign a meaning.
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


class MethodResult(Value):
    """One resinfo (RFC 8601 2.2). Method, result and property names are ours; all other text may be hostile."""

    method: str
    result: str
    reason: str = ""
    comment: str = ""
    properties: tuple[tuple[str, str], ...] = ()
    """("header.d", value): a value that is empty, too long or not printable ASCII leaves the property out."""


def render(authserv_id: str, results: Sequence[MethodResult]) -> str:
    """The field body (RFC 8601 2.2), folded with LF TAB, without the leading space. ValueError for invalid names."""
    if not authserv_id or len(authserv_id) > MAX_VALUE or not _PRINTABLE.fullmatch(authserv_id):
        raise ValueError("authserv-id is not printable ASCII of at most 255 bytes")
    head = _value(authserv_id)
    if not results:
        return f"{head}; none"
    shown = _at_most(MAX_RESULTS, results)
    left_out = len(shown) < len(results)
    field = _field(head, shown, left_out=left_out)
    while len(field) > MAX_FIELD:
        position = _last_dkim(shown)
        if position is None:
            # There are few results besides signatures, and without reason, comment and properties they always fit.
            return _field(head, [replace(result, reason="", comment="", properties=()) for result in shown])
        del shown[position]
        left_out = True
        field = _field(head, shown, left_out=left_out)
    return field


def _at_most(limit: int, results: Sequence[MethodResult]) -> list[MethodResult]:
    """At most `limit` results: signatures are left out first, the last ones before others."""
    if len(results) <= limit:
        return list(results)
    room = max(0, limit - sum(result.method != "dkim" for result in results))
    kept: list[MethodResult] = []
    for result in results:
        if result.method == "dkim":
            if not room:
                continue
            room -= 1
        kept.append(result)
    return kept[:limit]


def _last_dkim(results: Sequence[MethodResult]) -> int | None:
    positions = [position for position, result in enumerate(results) if result.method == "dkim"]
    return positions[-1] if positions else None


def _field(head: str, results: Sequence[MethodResult], *, left_out: bool = False) -> str:
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


def _pieces(result: MethodResult, *, more_left_out: bool) -> list[str]:
    """The parts of a result between which the field may be folded."""
    pieces = [f"{_keyword(result.method)}={_keyword(result.result)}"]
    if result.comment:
        pieces.append(_comment(result.comment))
    if more_left_out:
        pieces.append(_comment(LEFT_OUT))
    if result.reason:
        pieces.append(f"reason={_value(_printable(result.reason))}")
    for name, value in result.properties:
        _check_property(name)
        if _TOKEN.fullmatch(value) and len(value) <= MAX_VALUE:
            pieces.append(f"{name}={value}")  # the common case
        elif value and len(value) <= MAX_VALUE and _PRINTABLE.fullmatch(value):
            # An invalid value is left out, not repaired: a repaired one was never in the message.
            pieces.append(f"{name}={_identity(value)}")
    return pieces


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
    """A pvalue (RFC 8601 2.2): [local-part] "@" domain-name for an email identity, else a value."""
    match = _IDENTITY.fullmatch(text) if "@" in text else None
    if not match:
        return _value(text)
    local = match["local"]
    return f"{_value(local) if local else ''}@{match['domain']}"


def _value(text: str) -> str:
    """A value (RFC 2045 5.1): the text as a token if it is one, else as a quoted-string."""
    if _TOKEN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _printable(text: str) -> str:
    return _NOT_PRINTABLE.sub("?", text[:MAX_VALUE])


def _comment(text: str) -> str:
    """A comment (RFC 5322 3.2.2). The text is always ours, and is escaped all the same."""
    escaped = _COMMENT_SPECIAL.sub(r"\\\g<0>", _printable(text))
    return f"({escaped})"
