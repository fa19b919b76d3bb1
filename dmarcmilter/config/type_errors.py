"""Errors about values of the conf file that have the wrong type or are none of the allowed words."""

import difflib
import enum
import json
import types
import typing
from collections.abc import Iterator
from datetime import date
from typing import Any

import msgspec

from dmarcmilter.config.toml_positions import KeyPath
from dmarcmilter.value import Value

MAX_SHOWN = 60
"""Characters of a wrong value that an error shows; the rest is cut off."""
SECRETS = frozenset({"database"})
"""Keys whose value may hold a password: no error shows it."""
EXAMPLES: dict[type, str] = {date: "2027-06-30", str: '"..."', bool: "true", int: "5", float: "5.0"}
"""An example value of each type, for keys without a default."""
UNITS = {"days": "days", "bytes": "bytes", "megabytes": "megabytes", "percent": "percent"}
"""Unit of a whole number, by the last word of its key. Numbers with a decimal point are seconds."""


class Wrong(Value):
    """A value that the schema does not allow."""

    path: KeyPath
    text: str
    """Begins with the section and the key."""


def first_wrong(values: dict[str, Any], schema: type) -> Wrong | None:
    """The first wrong value in a table that has no unknown keys."""
    return next(_in_table(values, schema, (), ""), None)


def kind_of(hint: Any) -> Any:
    """The type of a key's values, from its type hint; str for a choice of words."""
    return str if _words(hint) else _kind(hint)


def with_value(hint: Any, key: str, default: Any, value: str) -> str:
    """What to write for a key whose value was given without quotes or without an equals sign."""
    words = _words(hint)
    if value and json.dumps(value.lower()) in words:
        return f"{key} = {json.dumps(value.lower())}"
    if value and kind_of(hint) is str and not words:
        return f"{key} = {toml(value)}"
    if value and kind_of(hint) is tuple:
        return f"{key} = [{toml(value)}]"
    return expected(hint, key, default)


def expected(hint: Any, key: str, default: Any) -> str:
    """What to write for a key, with an example: `a whole number, for example workers = 0`."""
    if words := _words(hint):
        return f"one of {', '.join(words)}"
    kind = _kind(hint)
    if kind is tuple:
        return f'a list of texts, for example {key} = ["...", "..."]'
    example = EXAMPLES[kind] if default is None or default == "" else toml(default)
    return f"{_named(kind, key)}, for example {key} = {example}"


def table_of(hint: Any) -> type | None:
    """The class of a key's table, or of each table in its array of tables; None: the key has plain values."""
    for member in (hint, *typing.get_args(hint)):
        if isinstance(member, type) and issubclass(member, Value):
            return member
    return None


def is_array_of_tables(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple and table_of(hint) is not None


def defaults_of(schema: type) -> dict[str, Any]:
    """The default of each key; None: it has none, or a default factory."""
    fields = msgspec.structs.fields(schema)
    return {field.name: None if field.default is msgspec.NODEFAULT else field.default for field in fields}


def toml(value: Any) -> str:
    """A plain value in TOML."""
    if isinstance(value, date):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False, default=str)


def _in_table(values: dict[str, Any], schema: type, path: KeyPath, section: str) -> Iterator[Wrong]:
    """The wrong values in a table at this path; `section`: its name for errors."""
    hints, defaults = typing.get_type_hints(schema), defaults_of(schema)
    for key, value in values.items():
        hint, here = hints[key], (*path, key)
        name = f"{section}.{key}" if section else key
        if (inner := table_of(hint)) is None:
            where = f"[[{section}]] {key}" if path and isinstance(path[-1], int) else f"[{section}] {key}"
            yield from _in_value(value, hint, here, where, defaults[key])
        elif is_array_of_tables(hint):
            yield from _in_array(value, inner, here, name)
        elif isinstance(value, dict):
            yield from _in_table(value, inner, here, name)
        else:
            text = "a list" if isinstance(value, list) else shown(value)
            yield Wrong(here, f"[{name}]: is a section with keys of its own, not {text}: write [{name}], once")


def _in_array(value: Any, inner: type, path: KeyPath, name: str) -> Iterator[Wrong]:
    """The wrong values and missing keys in an array of tables."""
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        yield Wrong(path, f"[[{name}]]: write [[{name}]], with two brackets on each side, above each entry")
        return
    for number, table in enumerate(value):
        yield from _in_table(table, inner, (*path, number), name)
        for field in msgspec.structs.fields(inner):
            if field.required and field.name not in table:
                example = expected(typing.get_type_hints(inner)[field.name], field.name, None)
                yield Wrong((*path, number), f"[[{name}]] {field.name}: is missing; write {example}")


def _in_value(value: Any, hint: Any, path: KeyPath, where: str, default: Any) -> Iterator[Wrong]:
    """What is wrong with a plain value or the elements of a list; `where`: section and key for the error."""
    key = str(path[-1])
    if words := _words(hint):
        if not isinstance(value, str) or value not in map(json.loads, words):
            yield Wrong(path, f"{where}: {_shown(key, value)} is not allowed; write {_choice(words, value)}")
    elif _kind(hint) is tuple and isinstance(value, list):
        for number, element in enumerate(value):
            if not isinstance(element, str):
                text = f"{where}: {_shown(key, element)} in the list is {_is(element)}; write each element in quotes"
                yield Wrong((*path, number), text)
    elif isinstance(value, float) and _kind(hint) is int:
        yield Wrong(path, f"{where}: {value} is no whole number; write {expected(hint, key, default)}")
    elif not _fits(value, hint):
        yield Wrong(path, f"{where}: {_shown(key, value)} is {_is(value)}; write {_instead(value, hint, key, default)}")


def _instead(value: Any, hint: Any, key: str, default: Any) -> str:
    """What to write in place of a wrong value: the value itself in the right form where that is possible."""
    kind = _kind(hint)
    is_shown = key not in SECRETS and len(str(value)) <= MAX_SHOWN
    if kind is tuple and isinstance(value, str) and is_shown:
        return f"a list of texts: {key} = [{toml(value)}]"
    if kind is str and isinstance(value, list) and len(value) == 1 and isinstance(value[0], str) and is_shown:
        return f"one text: {key} = {toml(value[0])}"
    return expected(hint, key, default)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value other than a list has a type that the key allows."""
    kinds = [kind for kind in _members(hint) if kind is not type(None)]
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int) and float in kinds:
        return True
    if date in kinds:
        return type(value) is date or (isinstance(value, str) and _is_date(value))
    return any(isinstance(value, kind) for kind in kinds if kind is not tuple)


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _members(hint: Any) -> list[Any]:
    """The types of a union, or the one type; a tuple without the types of its elements."""
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return [tuple if typing.get_origin(member) is tuple else member for member in members]


def _kind(hint: Any) -> Any:
    """The type that errors ask for: the list, where a text or a list of texts is allowed."""
    members = [member for member in _members(hint) if member is not type(None)]
    return tuple if tuple in members else members[0]


def _words(hint: Any) -> list[str]:
    """The allowed words in quotes; empty: the key is not a choice of words."""
    is_choice = isinstance(hint, type) and issubclass(hint, enum.StrEnum)
    return [json.dumps(str(member)) for member in hint] if is_choice else []


def _choice(words: list[str], value: Any) -> str:
    """The allowed words, with the one that was probably meant."""
    close = [json.dumps(word) for word in difflib.get_close_matches(str(value).lower(), map(json.loads, words), n=1)]
    if close == [json.dumps(str(value).lower())]:
        return f"{close[0]}, in lower case" if isinstance(value, str) else f"{close[0]}, in quotes"
    known = f"one of {', '.join(words)}"
    return f"{known}; the nearest is {close[0]}" if close else known


def _named(kind: Any, key: str) -> str:
    """The type that a key's value should have, in plain words."""
    if kind is bool:
        return "true or false, without quotes"
    if kind is date:
        return "a date without quotes"
    if kind is str:
        return "text in quotes"
    unit = "seconds" if kind is float else UNITS.get(key.rpartition("_")[2], "")
    number = "number" if kind is float else "whole number"
    return f"a {number} in {unit}, without quotes and unit" if unit else f"a {number} without quotes"


def _is(value: Any) -> str:
    """The type that a value has, in plain words."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")


def _shown(key: str, value: Any) -> str:
    """A wrong value for an error, unless it may hold a password."""
    return "the value" if key in SECRETS else shown(value)


def shown(value: Any) -> str:
    """A wrong value in TOML, on one line and cut off at MAX_SHOWN characters."""
    if isinstance(value, list | dict):
        return "the value"
    text = "".join(character if character.isprintable() else "?" for character in toml(value))
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
