"""Parser of DMARC Policy Records (RFC 9989 4.7, 4.8; RFC 7489 6.3, 6.4), valid or not.

An invalid tag takes its default. Only `p`, `sp` and `np` can make the whole record unusable (RFC 9989 4.10.1). Every
error is reported as a RecordFault.
"""

import re
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from dmarcmilter.dmarc import record_fault_kinds
from dmarcmilter.dmarc.record_fault_kinds import FaultKind
from dmarcmilter.dmarc.report_uri import RecordFault, parse_list, shown
from dmarcmilter.value import Value

MAX_RECORD = 8192
"""Largest record read in full, in bytes; of a larger one, the whole tags within these bytes are read."""
MAX_TAGS = 64
"""Tags read from one record; further ones are not read. The registry has a dozen."""
MAX_TEXT = 1024
"""Longest text of a record as shown to people, in characters; the rest is cut."""

WSP = " \t"


class Disposition(StrEnum):
    """What a policy asks for (`p`, `sp` and `np`, RFC 9989 4.7), and what a receiver does with a message."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class Tag(StrEnum):
    """The tag that an assessment policy was taken from (RFC 9989 4.10.1)."""

    P = "p"
    SP = "sp"
    NP = "np"


class AlignmentMode(StrEnum):
    """Identifier alignment mode (RFC 9989 4.4)."""

    RELAXED = "r"
    STRICT = "s"


class Psd(StrEnum):
    """Whether the name is a Public Suffix Domain (RFC 9989 4.7, `psd`)."""

    Y = "y"
    N = "n"
    U = "u"


class YesOrNo(StrEnum):
    """dmarc-yorn (RFC 9989 4.8), the value of `t`."""

    Y = "y"
    N = "n"


class PolicyRecord(Value):
    """A DMARC Policy Record as read: its tags, with defaults, and its faults."""

    text: str
    """The record as shown to people: printable ASCII, other bytes as \\xNN, at most MAX_TEXT characters."""
    p: Disposition
    """The effective value: `none` where RFC 9989 4.10.1 says to act as if it were."""
    sp: Disposition | None
    np: Disposition | None
    adkim: AlignmentMode
    aspf: AlignmentMode
    t: bool | None
    """None: absent or invalid."""
    pct: int | None
    """None: absent or invalid (RFC 7489 6.3; historic in RFC 9989)."""
    psd: Psd
    fo: str
    rua: tuple[str, ...]
    ruf: tuple[str, ...]
    usable: bool
    """False: DMARC is not applied with this record (RFC 9989 4.10.1)."""
    faults: tuple[RecordFault, ...]


_VERSION = re.compile(rb"[ \t]*[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_NAME = re.compile(r"[A-Za-z]+")
# dmarc-value of RFC 9989 4.8, and the tab that its URI lists allow between items.
_VALUE = re.compile(r"[\t\x20-\x3a\x3c-\x7e]+")
_PERCENT = re.compile(r"[0-9]{1,3}")

_KNOWN = frozenset({"adkim", "aspf", "fo", "np", "p", "pct", "psd", "rf", "ri", "rua", "ruf", "sp", "t", "v"})
_HISTORIC = {
    "pct": "write t=y while testing and leave pct out: many receivers no longer read it",
    "rf": "leave it out",
    "ri": "leave it out",
}

Word = TypeVar("Word", bound=StrEnum)

MAX_CACHED_RECORD = 512
"""Largest record whose parsed form is cached, in bytes. Few records are larger; those are parsed each time."""
CACHED_RECORDS = 4096
"""Parsed records cached; with more, the least recently used are dropped."""

_Tags = dict[str, str | None]
"""Values by tag name in lower case; None: the tag is present but invalid."""


def is_policy_record(raw: bytes) -> bool:
    """Whether the data begins with the tag `v=DMARC1`, without which it is no DMARC record (RFC 9989 4.10, step 2).

    White space before `v` is allowed, as in DKIM's tag lists (RFC 6376 3.2).
    """
    return _VERSION.match(raw) is not None


def parse(raw: bytes) -> PolicyRecord | None:
    """Parse one TXT record, its character-strings joined (RFC 9989 4.5); None: not a DMARC record."""
    return _parse_cached(raw) if len(raw) <= MAX_CACHED_RECORD else _parse(raw)


def _parse(raw: bytes) -> PolicyRecord | None:
    if not is_policy_record(raw):
        return None
    faults: list[RecordFault] = []
    tags = _read_tags(raw, faults)
    rua = parse_list("rua", tags.get("rua"), faults)
    ruf = parse_list("ruf", tags.get("ruf"), faults)
    p, sp, np = (_word(Disposition, name, tags, faults) for name in ("p", "sp", "np"))
    if "p" not in tags:
        kind = FaultKind.NO_POLICY if len(tags) > 1 or faults else FaultKind.ONLY_VERSION
        faults.append(RecordFault("p", "the record has no p tag", "write p=none, p=quarantine or p=reject", kind))
    # RFC 9989 4.10.1: an invalid value of these three does not simply take its default (4.8).
    sound = p is not None and (sp is not None or "sp" not in tags) and (np is not None or "np" not in tags)
    mode = _word(YesOrNo, "t", tags, faults)
    return PolicyRecord(
        text=_for_people(raw),
        p=p if sound and p is not None else Disposition.NONE,
        sp=sp if sound else None,
        np=np if sound else None,
        adkim=_word(AlignmentMode, "adkim", tags, faults) or AlignmentMode.RELAXED,
        aspf=_word(AlignmentMode, "aspf", tags, faults) or AlignmentMode.RELAXED,
        t=None if mode is None else mode is YesOrNo.Y,
        pct=_percentage(tags, faults),
        psd=_word(Psd, "psd", tags, faults) or Psd.U,
        fo=_failure_options(tags, faults, ruf=ruf),
        rua=rua,
        ruf=ruf,
        usable=sound or bool(rua),
        faults=tuple(faults),
    )


_parse_cached = lru_cache(maxsize=CACHED_RECORDS)(_parse)


def near_miss(raw: bytes) -> RecordFault | None:
    """The fault of TXT data at `_dmarc` that was meant as a DMARC record but is none; None: it was not meant as one."""
    kind = None if is_policy_record(raw) else record_fault_kinds.of_no_record(raw)
    if kind is None:
        return None
    advice = "begin the record with v=DMARC1; in exactly these letters, without quotes or backslashes"
    if kind is FaultKind.SPF_RECORD:
        advice = "publish SPF at the domain itself, without _dmarc, and a record that begins with v=DMARC1; here"
    return RecordFault("v", f"not a DMARC record: it begins with {shown(raw[:24].decode('latin-1'))}", advice, kind)


def _read_tags(raw: bytes, faults: list[RecordFault]) -> _Tags:
    """Split a record into tags (RFC 9989 4.8). A tag that occurs twice is invalid (RFC 6376 3.2)."""
    whole = raw[:MAX_RECORD].decode("latin-1")
    if len(raw) > MAX_RECORD:
        whole = whole.rpartition(";")[0]
        faults.append(
            RecordFault(
                "", f"longer than {MAX_RECORD} bytes, the rest is not read", "shorten the record", FaultKind.TOO_LONG
            )
        )
    parts = whole.split(";", MAX_TAGS)
    if len(parts) > MAX_TAGS:
        del parts[MAX_TAGS:]
        faults.append(
            RecordFault(
                "", f"more than {MAX_TAGS} tags, the rest is not read", "shorten the record", FaultKind.TOO_LONG
            )
        )
    tags: _Tags = {"v": "DMARC1"}
    for part in parts[1:]:
        name, equals, value = (piece.strip(WSP) for piece in part.partition("="))
        if not part.strip(WSP):
            continue
        if not equals or _NAME.fullmatch(name) is None:
            advice = "write name=value and a semicolon after it"
            faults.append(RecordFault("", f"not a tag: {shown(part)}", advice, record_fault_kinds.of_part(part)))
            continue
        _add_tag(name.lower(), value, tags, faults)
    return tags


def _add_tag(name: str, value: str, tags: _Tags, faults: list[RecordFault]) -> None:
    """Add the tag, or its fault if it is unknown or repeated. An obsolete or invalid value gives both."""
    if name not in _KNOWN:
        advice = "correct its name or leave it out"
        faults.append(RecordFault(shown(name), "not a DMARC tag, ignored", advice, FaultKind.UNKNOWN_TAG))
        return
    if name in tags:
        tags[name] = None if name != "v" else tags[name]
        problem = "the tag stands more than once, so none of them counts"
        faults.append(RecordFault(name, problem, "keep one", FaultKind.TAG_TWICE))
        return
    if name in _HISTORIC:
        problem = "no longer part of DMARC (RFC 9989)"
        faults.append(RecordFault(name, problem, _HISTORIC[name], FaultKind.OBSOLETE_TAG))
    tags[name] = value
    if _VALUE.fullmatch(value) is None:
        tags[name] = None
        problem = "characters that a record cannot hold" if value else "the value is empty"
        kind = FaultKind.INVALID_CHARACTERS if value else FaultKind.EMPTY_VALUE
        faults.append(RecordFault(name, problem, "write printable ASCII, or leave the tag out", kind))


def _word(words: type[Word], name: str, tags: _Tags, faults: list[RecordFault]) -> Word | None:
    """The value of a tag that allows only certain words, in any case (RFC 5234 2.3); None: absent or invalid."""
    value = tags.get(name)
    if value is None:
        return None
    known = {word.value: word for word in words}
    word = known.get(value.lower())
    if word is None:
        choices = ", ".join(f"{name}={choice}" for choice in known)
        missing = " (is a semicolon missing?)" if "=" in value else ""
        kind = record_fault_kinds.of_policy(value) if words is Disposition else record_fault_kinds.of_value(value)
        faults.append(
            RecordFault(name, f"{shown(value)} is not a value of it", f"write one of {choices}{missing}", kind)
        )
    return word


def _percentage(tags: _Tags, faults: list[RecordFault]) -> int | None:
    """The value of `pct` (RFC 7489 6.3), 0 to 100; None: absent or invalid."""
    value = tags.get("pct")
    if value is None:
        return None
    if _PERCENT.fullmatch(value) is None or int(value) > 100:
        problem = f"{shown(value)} is not a number from 0 to 100"
        faults.append(RecordFault("pct", problem, "leave pct out", FaultKind.OBSOLETE_TAG))
        return None
    return int(value)


def _failure_options(tags: _Tags, faults: list[RecordFault], *, ruf: tuple[str, ...]) -> str:
    """The value of `fo` (dmarc-fo, RFC 9989 4.8): 0 or 1, d, s, each at most once. Ignored without `ruf` (4.7)."""
    value = tags.get("fo")
    if value is None or not ruf:
        return "0"
    options = [option.strip(WSP).lower() for option in value.split(":")]
    once = len(set(options)) == len(options)
    if not once or not {"0", "1", "d", "s"}.issuperset(options) or {"0", "1"}.issubset(options):
        problem = f"{shown(value)} is not a list of options"
        faults.append(
            RecordFault("fo", problem, "write 0 or 1, d, s with colons between", record_fault_kinds.of_value(value))
        )
        return "0"
    return ":".join(options)


def _for_people(raw: bytes) -> str:
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in raw[: MAX_TEXT + 1])
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


def parse_shown(text: str) -> PolicyRecord | None:
    """Parse a PolicyRecord.text again, without the last tag if the text was cut."""
    if len(text) >= MAX_TEXT and text.endswith("..."):
        text = text.rpartition(";")[0]
    return parse(_ESCAPED.sub(lambda escape: bytes.fromhex(escape[1].decode()), text.encode("ascii", "replace")))
