"""Reasons in outcome records: read by code or, in records of older versions without codes, by text.

The table of texts is frozen: it has the texts written before there were codes, and never gets new ones.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import NamedTuple, Protocol, TypeAlias, Union

from msgspec import UNSET, UnsetType

from dmarcmilter.reasons.catalogue import PLACEHOLDER, parameters_of
from dmarcmilter.reasons.code import Code
from dmarcmilter.reasons.reason import Parameter, Reason
from dmarcmilter.value import Value, field

MAX_TEXT = 1000
"""Longest text recognized, in characters; a longer one is kept as it is, unrecognized. No recorded reason is longer."""
MAX_DEPTH = 3
"""Deepest nesting of reasons that is read, such as an SPF term, its DNS failure and the cause of that; a deeper one is
unrecognized."""
RECOGNIZED_KEPT = 4096
"""Recognized texts cached; with more, the least recently used are dropped."""

BY_TERM = frozenset({"pass", "fail", "softfail", "neutral"})
"""SPF results that come from a term of the record."""

_VALUES: Mapping[str, str] = {
    "reason": ".+",
    "fields": ".+",
    "chain": ".+",
    "term": ".+",
    "rdtype": "TXT|AAAA|A|MX|PTR",
}
"""Patterns of parameters that are not plain names or numbers. Names and numbers have no space, so that matching is
linear."""
_NAME = "[^ ]+?"


RecordedParameters: TypeAlias = dict[str, Union[str, int, "RecordedReason"]]
"""The parameters of a reason in a record, by name."""


class RecordedReason(Value, omit_defaults=True):
    """The code and parameters of a reason in a record. A parameter may be another reason."""

    code: str
    parameters: RecordedParameters = field(default_factory=dict)


def recorded(reason: Reason) -> RecordedReason:
    """The form of a reason in a list of a record."""
    parameters = {name: recorded(value) if isinstance(value, Reason) else value for name, value in reason.parameters}
    return RecordedReason(code=reason.code, parameters=parameters)


def recorded_code(reason: Reason | None) -> str | UnsetType:
    """The code to record beside the text of a reason."""
    return reason.code if reason else UNSET


def recorded_parameters(reason: Reason | None) -> RecordedParameters | UnsetType:
    """The parameters to record beside the text of a reason; left out if the code has none."""
    return recorded(reason).parameters if reason and reason.parameters else UNSET


class HasReason(Protocol):
    """A result in an outcome record, with its reason as English text and as code and parameters."""

    @property
    def reason(self) -> str: ...
    @property
    def reason_code(self) -> str | UnsetType: ...
    @property
    def reason_parameters(self) -> RecordedParameters | UnsetType: ...


class HasSpfReason(HasReason, Protocol):
    """An SPF result in an outcome record."""

    @property
    def result(self) -> str: ...


class _TextPattern(NamedTuple):
    """The pattern of the texts of one code."""

    pattern: re.Pattern[str]
    code: Code
    has_term: bool
    """Whether a colon and a term of an SPF record follow."""


def reason_of(part: HasReason) -> Reason | None:
    """The reason of a result in an outcome record; None: it has none."""
    return read(part.reason, part.reason_code, part.reason_parameters)


def reasons_of(
    texts: Sequence[str] | UnsetType, values: Sequence[RecordedReason] | UnsetType = UNSET
) -> tuple[Reason, ...]:
    """The reasons of a list of texts, and of the list of their codes and parameters, if that was recorded."""
    texts, values = texts or (), values or ()
    pairs = zip(texts, values, strict=True) if len(values) == len(texts) else ((text, None) for text in texts)
    reasons = (read(text, value.code, value.parameters) if value else recognized(text) for text, value in pairs if text)
    return tuple(reason for reason in reasons if reason)


def spf_reason(spf: HasSpfReason) -> Reason | None:
    """The reason of an SPF result. Older versions recorded only the text of the term that decided."""
    if spf.reason and not spf.reason_code and spf.result in BY_TERM:
        return Reason.of(Code.SPF_MATCHED_TERM, term=spf.reason)
    return reason_of(spf)


def read(
    text: str | UnsetType | None, code: str | UnsetType = UNSET, parameters: RecordedParameters | UnsetType = UNSET
) -> Reason | None:
    """The reason of a record from its three values; None: there is none."""
    reason = _by_code(code, parameters or {}, MAX_DEPTH) if code else None
    return reason or (recognized(text) if text else None)


def _by_code(code: str, parameters: RecordedParameters, depth: int) -> Reason | None:
    """The reason of a recorded code; None: this version does not know the code or its parameters."""
    try:
        known = Code(code)
    except ValueError:
        return None
    if parameters_of(known) != parameters.keys():
        return None
    values: dict[str, Parameter] = {}
    for name, value in parameters.items():
        inner = _inner(value, depth) if isinstance(value, RecordedReason) else value
        if inner is None:
            return None
        values[name] = inner
    return Reason.of(known, **values)


def _inner(value: RecordedReason, depth: int) -> Reason | None:
    return _by_code(value.code, value.parameters, depth - 1) if depth else None


@lru_cache(RECOGNIZED_KEPT)
def recognized(text: str) -> Reason:
    """The reason that an older version recorded as this text; Code.UNRECOGNIZED for any other text."""
    return _recognized(text, MAX_DEPTH) or Reason.of(Code.UNRECOGNIZED, text=text)


def _recognized(text: str, depth: int) -> Reason | None:
    if not depth or len(text) > MAX_TEXT:
        return None
    plain, patterns = _table()
    if text in plain:
        return Reason.of(plain[text])
    for pattern in patterns:
        if match := pattern.pattern.fullmatch(text):
            return _made(pattern, match.groupdict(), depth)
    return None


def _made(pattern: _TextPattern, values: dict[str, str], depth: int) -> Reason:
    term = values.pop("term", "") if pattern.has_term else ""
    parameters: dict[str, Parameter] = dict(values)
    if "reason" in values:
        inner = values["reason"]
        parameters["reason"] = _recognized(inner, depth - 1) or Reason.of(Code.UNRECOGNIZED, text=inner)
    reason = Reason.of(pattern.code, **parameters)
    return Reason.of(Code.SPF_AT_TERM, reason=reason, term=term) if pattern.has_term else reason


@cache
def _table() -> tuple[Mapping[str, Code], tuple[_TextPattern, ...]]:
    """Texts without parameters, and the patterns of the others in the order in which they are tried."""
    file = resources.files("dmarcmilter.reasons").joinpath("old_texts.toml")
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    plain = {
        template: Code(code)
        for table in tables.values()
        for code, template in table.items()
        if not PLACEHOLDER.search(template)
    }
    return plain, tuple(_patterns(tables))


def _patterns(tables: Mapping[str, Mapping[str, str]]) -> Iterator[_TextPattern]:
    for table, templates in tables.items():
        for code, template in templates.items():
            if table == "spf_records":
                yield _TextPattern(re.compile(_pattern(template + ": {term}")), Code(code), has_term=True)
            if PLACEHOLDER.search(template):
                yield _TextPattern(re.compile(_pattern(template)), Code(code), has_term=False)


def _pattern(template: str) -> str:
    parts = PLACEHOLDER.split(template)
    return "".join(
        re.escape(part) if index % 2 == 0 else f"(?P<{part}>{_VALUES.get(part, _NAME)})"
        for index, part in enumerate(parts)
    )
