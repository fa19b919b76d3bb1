"""Kinds of faults in published DMARC records, for statistics (RFC 9989 4.8, 4.10)."""

import difflib
import re
from collections.abc import Mapping
from enum import StrEnum


class FaultKind(StrEnum):
    """One kind of fault. The values are recorded in outcomes: add kinds, never rename one."""

    SPF_RECORD = "spf_record"
    SEVERAL_RECORDS = "several_records"
    ONLY_VERSION = "only_version"
    VERSION_CASE = "version_case"
    WRONG_VERSION = "wrong_version"
    NO_VERSION = "no_version"
    QUOTED = "quoted"
    COLON_FOR_SEMICOLON = "colon_for_semicolon"
    MISSING_SEMICOLON = "missing_semicolon"
    COLON_FOR_EQUALS = "colon_for_equals"
    NO_POLICY = "no_policy"
    POLICY_MONITOR = "policy_monitor"
    POLICY_MISSPELLED = "policy_misspelled"
    POLICY_UNKNOWN = "policy_unknown"
    NO_MAILTO = "no_mailto"
    SEMICOLON_IN_ADDRESSES = "semicolon_in_addresses"
    INVALID_ADDRESS = "invalid_address"
    INVALID_VALUE = "invalid_value"
    EMPTY_VALUE = "empty_value"
    INVALID_CHARACTERS = "invalid_characters"
    TAG_TWICE = "tag_twice"
    NOT_A_TAG = "not_a_tag"
    TOO_LONG = "too_long"
    UNKNOWN_TAG = "unknown_tag"
    OBSOLETE_TAG = "obsolete_tag"


FAULT_TEXTS: Mapping[str, str] = {
    FaultKind.SPF_RECORD: "SPF record at _dmarc",
    FaultKind.SEVERAL_RECORDS: "several DMARC records at one name",
    FaultKind.ONLY_VERSION: "only v=, no other tag",
    FaultKind.VERSION_CASE: "v=DMARC1 in the wrong case",
    FaultKind.WRONG_VERSION: "other or misspelled version",
    FaultKind.NO_VERSION: "does not begin with v=",
    FaultKind.QUOTED: "quotes or backslashes in the record",
    FaultKind.COLON_FOR_SEMICOLON: "colon instead of semicolon",
    FaultKind.MISSING_SEMICOLON: "semicolon missing between tags",
    FaultKind.COLON_FOR_EQUALS: "colon instead of equals sign",
    FaultKind.NO_POLICY: "p is missing",
    FaultKind.POLICY_MONITOR: "policy is monitor",
    FaultKind.POLICY_MISSPELLED: "policy is misspelled (quarentena)",
    FaultKind.POLICY_UNKNOWN: "policy is another unknown word",
    FaultKind.NO_MAILTO: "report address without mailto:",
    FaultKind.SEMICOLON_IN_ADDRESSES: "semicolon between report addresses",
    FaultKind.INVALID_ADDRESS: "other invalid report address",
    FaultKind.INVALID_VALUE: "invalid value of another tag",
    FaultKind.EMPTY_VALUE: "tag without a value",
    FaultKind.INVALID_CHARACTERS: "characters that a record cannot hold",
    FaultKind.TAG_TWICE: "the same tag twice",
    FaultKind.NOT_A_TAG: "text that is no tag",
    FaultKind.TOO_LONG: "more tags, addresses or bytes than are read",
    FaultKind.UNKNOWN_TAG: "unknown tag",
    FaultKind.OBSOLETE_TAG: "tag that RFC 9989 dropped",
}

DMARC_WITHIN = 64
"""Bytes at the beginning of TXT data in which the word `dmarc` shows that it was meant as a DMARC record."""
MAX_EXAMINED = 256
"""Bytes of TXT data examined to classify its fault; the rest is ignored."""
MISSPELLED_LIKENESS = 0.6
"""Smallest likeness (difflib's ratio, 0 to 1) of a misspelled policy word to the right one: quarentena, quarantaine,
rejected, non. A word less like any is unknown."""
MISSPELLED_LENGTHS = range(3, 17)
"""Lengths of words that may be misspelled policy words, in characters; others are unknown."""

_POLICY_WORDS = ("none", "quarantine", "reject")
_MONITOR = re.compile(r"monitor\w*")
_ANOTHER_TAG = r"(?:adkim|aspf|fo|np|p|pct|psd|rf|ri|rua|ruf|sp|t)[ \t]*[=:]"
_MERGED = re.compile(rf"([\w-]*)[ \t]*(?:([:,.])[ \t]*|[ \t]+)(?={_ANOTHER_TAG})", re.IGNORECASE)

_SPF = re.compile(rb"[ \t\"]*(?:v[ \t]*=[ \t]*spf1|spf2\.0)\b", re.IGNORECASE)
_POLICY = rb"\b[sn]?p[ \t]*[=:][ \t]*(?:none|quarantine|reject)\b"
_WITHOUT_VERSION = re.compile(rb"[ \t\";]*" + _POLICY, re.IGNORECASE)
_BARE_VERSION = re.compile(rb"[ \t\"]*v[ \t]*=[ \t\";]*", re.IGNORECASE)
_OTHER_VERSION = re.compile(rb"[ \t\"]*v[ \t]*=[^;=]{0,16}[;, \t].*" + _POLICY, re.IGNORECASE | re.DOTALL)
_VERSION = rb"[ \t]*v[ \t]*=[ \t]*DMARC1[ \t]*"
_QUOTED = re.compile(rb"[ \t]*[\"'\\]|[ \t]*v[ \t]*=[ \t]*\\*[\"']|" + _VERSION + rb"\\", re.IGNORECASE)
_VERSION_FAULTS = (
    (FaultKind.QUOTED, _QUOTED),
    (FaultKind.COLON_FOR_SEMICOLON, re.compile(_VERSION + rb":", re.IGNORECASE)),
    (FaultKind.MISSING_SEMICOLON, re.compile(_VERSION + rb"(?:[,./|]|(?=[a-z]{1,5}[ \t]*=))", re.IGNORECASE)),
    (FaultKind.COLON_FOR_EQUALS, re.compile(rb"[ \t]*v[ \t]*:[ \t]*DMARC", re.IGNORECASE)),
    (FaultKind.VERSION_CASE, re.compile(_VERSION + rb"(?:;|\Z)", re.IGNORECASE)),
    (FaultKind.WRONG_VERSION, re.compile(rb"[ \t]*v[ \t]*=", re.IGNORECASE)),
)
"""Patterns for TXT data that contains `dmarc` but is no DMARC record; the first match gives the fault."""


def of_no_record(raw: bytes) -> FaultKind | None:
    """The fault of TXT data at `_dmarc` that is not a DMARC record; None: it was not meant as one."""
    start = raw[:MAX_EXAMINED]
    if _SPF.match(start):
        return FaultKind.SPF_RECORD
    if b"dmarc" in raw[:DMARC_WITHIN].lower():
        return next((kind for kind, pattern in _VERSION_FAULTS if pattern.match(start)), FaultKind.NO_VERSION)
    if _BARE_VERSION.fullmatch(start):
        return FaultKind.ONLY_VERSION
    if _WITHOUT_VERSION.match(start):
        return FaultKind.NO_VERSION
    return FaultKind.WRONG_VERSION if _OTHER_VERSION.match(start) else None


def of_policy(value: str) -> FaultKind:
    """The fault of an invalid value of p, sp or np."""
    value = value.strip().lower()
    if merged := _MERGED.match(value):
        return FaultKind.COLON_FOR_SEMICOLON if merged[2] == ":" else FaultKind.MISSING_SEMICOLON
    word = value.strip("\"'`.,:!")
    if _MONITOR.fullmatch(word):
        return FaultKind.POLICY_MONITOR
    if word in _POLICY_WORDS or word.split("=")[-1].strip() in _POLICY_WORDS:
        return FaultKind.POLICY_MISSPELLED
    if len(word) in MISSPELLED_LENGTHS and difflib.get_close_matches(word, _POLICY_WORDS, 1, MISSPELLED_LIKENESS):
        return FaultKind.POLICY_MISSPELLED
    return FaultKind.POLICY_UNKNOWN


def of_value(value: str) -> FaultKind:
    """The fault of an invalid value of another tag."""
    if merged := _MERGED.match(value):
        return FaultKind.COLON_FOR_SEMICOLON if merged[2] == ":" else FaultKind.MISSING_SEMICOLON
    return FaultKind.INVALID_VALUE


def of_part(part: str) -> FaultKind:
    """The fault of text between two semicolons that is no tag."""
    name, colon, _ = part.strip().partition(":")
    if name.strip().lower() in ("mailto", "http", "https") or ("@" in part and "=" not in part):
        return FaultKind.SEMICOLON_IN_ADDRESSES
    if colon and re.fullmatch(_ANOTHER_TAG, name.strip() + ":", re.IGNORECASE):
        return FaultKind.COLON_FOR_EQUALS
    return FaultKind.NOT_A_TAG


def of_address(item: str) -> FaultKind:
    """The fault of one item of rua or ruf that is no URI."""
    item = item.strip()
    scheme, colon, _ = item.partition(":")
    if "@" in item and (not colon or "@" in scheme):
        return FaultKind.NO_MAILTO
    return FaultKind.INVALID_ADDRESS
