"""Reasons read from outcome records: by their codes, or, where an older version wrote none, by their texts.

The table of texts is frozen: it knows what was written before there were codes, and nothing is added to it.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from importlib import resources
from typing import Any, NamedTuple

from dmarcmilter.reasons.catalogue import PLACEHOLDER, parameters_of
from dmarcmilter.reasons.code import Code
from dmarcmilter.reasons.reason import Parameter, Reason

MAX_TEXT = 1000
"""Characters of a text in which a code is looked for: longer than any reason that was recorded. A longer text is kept
as it is, unrecognized."""
MAX_DEPTH = 3
"""Reasons within each other that are read: an SPF term, the DNS failure there, and its cause."""
RECOGNIZED_KEPT = 4096
"""Recognized texts that are remembered."""

BY_TERM = frozenset({"pass", "fail", "softfail", "neutral"})
"""SPF results that a term of the record decides."""

_VALUES: Mapping[str, str] = {
    "reason": ".+",
    "fields": ".+",
    "chain": ".+",
    "term": ".+",
    "rdtype": "TXT|AAAA|A|MX|PTR",
}
"""Patterns of the parameters that are no plain name or number. Those hold no space, so matching stays linear."""
_NAME = "[^ ]+?"


class _Shape(NamedTuple):
    """What a text of one code looks like."""

    pattern: re.Pattern[str]
    code: Code
    has_term: bool
    """The text goes on with a colon and a term of an SPF record."""


def reason_in(part: Mapping[str, Any], key: str = "reason") -> Reason | None:
    """The reason that a part of an outcome record has under this key; None: it has none.

    `KEY` is the English text, `KEY_code` and `KEY_parameters` say the same as values.
    """
    return read(part.get(key), part.get(f"{key}_code"), part.get(f"{key}_parameters"))


def reasons_in(part: Mapping[str, Any], key: str) -> tuple[Reason, ...]:
    """The reasons that a part of an outcome record has as a list under this key: `KEY` and, as values, `KEY_codes`."""
    texts = part.get(key) or ()
    values = part.get(f"{key}_codes") or ()
    if len(values) != len(texts):
        values = [{}] * len(texts)
    pairs = zip(texts, values, strict=True)
    reasons = (read(text, value.get("code"), value.get("parameters")) for text, value in pairs)
    return tuple(reason for reason in reasons if reason)


def spf_reason(spf: Mapping[str, Any]) -> Reason | None:
    """The reason of an SPF result. Older versions recorded the term that decided as nothing but its text."""
    text = spf.get("reason")
    if text and not spf.get("reason_code") and spf["result"] in BY_TERM:
        return Reason(Code.SPF_MATCHED_TERM, term=text)
    return reason_in(spf)


def read(text: str | None, code: str | None, parameters: Mapping[str, Any] | None) -> Reason | None:
    """The reason of a record from its three values; None: there is none."""
    reason = _by_code(code, parameters or {}, MAX_DEPTH) if code else None
    return reason or (recognized(text) if text else None)


def _by_code(code: object, parameters: Mapping[str, Any], depth: int) -> Reason | None:
    """None when the code is of a newer version, or its parameters are not what this version knows."""
    try:
        known = Code(code)  # type: ignore[arg-type]
    except ValueError:
        return None
    if parameters_of(known) != parameters.keys():
        return None
    values: dict[str, Parameter] = {}
    for name, value in parameters.items():
        inner = _inner(value, depth) if isinstance(value, Mapping) else value
        if not isinstance(inner, str | int | Reason):
            return None
        values[name] = inner
    return Reason(known, **values)


def _inner(value: Mapping[str, Any], depth: int) -> Reason | None:
    parameters = value.get("parameters") or {}
    if not depth or not isinstance(parameters, Mapping):
        return None
    return _by_code(value.get("code"), parameters, depth - 1)


@lru_cache(RECOGNIZED_KEPT)
def recognized(text: str) -> Reason:
    """The reason that an older version recorded as this text; Code.UNRECOGNIZED for any other text."""
    return _recognized(text, MAX_DEPTH) or Reason(Code.UNRECOGNIZED, text=text)


def _recognized(text: str, depth: int) -> Reason | None:
    if not depth or len(text) > MAX_TEXT:
        return None
    plain, shapes = _table()
    if text in plain:
        return Reason(plain[text])
    for shape in shapes:
        if match := shape.pattern.fullmatch(text):
            return _made(shape, match.groupdict(), depth)
    return None


def _made(shape: _Shape, values: dict[str, str], depth: int) -> Reason:
    term = values.pop("term", "") if shape.has_term else ""
    parameters: dict[str, Parameter] = dict(values)
    if "reason" in values:
        inner = values["reason"]
        parameters["reason"] = _recognized(inner, depth - 1) or Reason(Code.UNRECOGNIZED, text=inner)
    reason = Reason(shape.code, **parameters)
    return Reason(Code.SPF_AT_TERM, reason=reason, term=term) if shape.has_term else reason


@cache
def _table() -> tuple[Mapping[str, Code], tuple[_Shape, ...]]:
    """Texts without values, and the shapes of the others in the order in which they are tried."""
    file = resources.files("dmarcmilter.reasons").joinpath("old_texts.toml")
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    plain = {
        template: Code(code)
        for table in tables.values()
        for code, template in table.items()
        if not PLACEHOLDER.search(template)
    }
    return plain, tuple(_shapes(tables))


def _shapes(tables: Mapping[str, Mapping[str, str]]) -> Iterator[_Shape]:
    for table, templates in tables.items():
        for code, template in templates.items():
            if table == "spf_records":
                yield _Shape(re.compile(_pattern(template + ": {term}")), Code(code), has_term=True)
            if PLACEHOLDER.search(template):
                yield _Shape(re.compile(_pattern(template)), Code(code), has_term=False)


def _pattern(template: str) -> str:
    parts = PLACEHOLDER.split(template)
    return "".join(
        re.escape(part) if index % 2 == 0 else f"(?P<{part}>{_VALUES.get(part, _NAME)})"
        for index, part in enumerate(parts)
    )
