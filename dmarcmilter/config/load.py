"""Reads the conf file: TOML into one frozen Config, complete and validated before anything starts.

Errors name the file, the line, the key and what to write instead. An unknown key is an error that names the nearest
known one.
"""

import difflib
import re
import tomllib
import typing
from pathlib import Path
from typing import Any

import msgspec

from dmarcmilter.config import renamed_keys, toml_errors
from dmarcmilter.config.schema import Config
from dmarcmilter.config.toml_positions import KeyPath, Position, places, position_of
from dmarcmilter.config.type_errors import Wrong, first_wrong, table_of
from dmarcmilter.config.validation import UnusableError, check
from dmarcmilter.value import Value, representation_without

DEFAULT_PATH = "/etc/dmarcmilter/dmarcmilter.toml"
MODE_NOT_WRITTEN = (
    '[policy] mode is not written, so the default applies, which has changed from "enforce" to "monitor": '
    'no policy is enforced; to enforce, write mode = "enforce"'
)
MAX_BYTES = 4_194_304
"""Largest conf file accepted, in bytes; a larger one is an error."""
BYTE_ORDER_MARK = (
    "the file begins with a byte order mark (BOM), which is ignored; save it as UTF-8 without a byte order mark"
)
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_KEY = re.compile(r"\[(?P<section>[\w.]+)\] (?P<key>\w+)")
_ENTRY = re.compile(r"\[\[(?P<array>\w+)\]\] (?P<name>.+?): (?P<rest>.*)", re.DOTALL)


class ConfigError(Exception):
    """A conf file that cannot be used; the text is for the administrator."""

    def __init__(self, text: str, *, where: str = "", position: Position | None = None) -> None:
        super().__init__(": ".join(str(part) for part in (where, position, text) if part))
        self.text = text
        """Without file and line."""


class Loaded(Value):
    """A conf file that was read."""

    config: Config
    warnings: tuple[str, ...]
    """Sentences for the administrator about how the file is written."""
    path: str = ""
    """Empty: no file was read, these are the defaults."""
    source: str = ""
    """The text of the file."""

    def __repr__(self) -> str:
        return representation_without(self, "source")

    def located(self, error: ConfigError) -> ConfigError:
        """The error with file and line, for one that was only noticed when the configuration was put to use."""
        if not self.path:
            return error
        return _error_at(_path_in(error.text, {}), error.text, self.source, self.path)


def load(path: str) -> Config:
    """The configuration in the file at path; ConfigError when it cannot be read or used."""
    return read(path).config


def read(path: str) -> Loaded:
    """The configuration in the file at path (empty: the defaults) with warnings about the file."""
    source = _text(path) if path else ""
    text = source.removeprefix("\ufeff")
    values = _values(text, path)
    config = _converted(values, text, path)
    warnings = [BYTE_ORDER_MARK] if text != source else []
    warnings += renamed_keys.warnings(values)
    if "mode" not in values.get("policy", {}):
        warnings.append(MODE_NOT_WRITTEN)
    return Loaded(config, tuple(warnings), path, text)


def parse(text: str, *, where: str = "conf") -> Config:
    """The configuration in a TOML text; `where`: its name in errors."""
    return _converted(_values(text, where), text, where)


def _text(path: str) -> str:
    """The text of the file, with its byte order mark."""
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError((error.strerror or str(error)).lower(), where=path) from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"larger than {MAX_BYTES} bytes", where=path)
    if raw.startswith(_UTF16_MARKS) or b"\0" in raw:
        raise ConfigError("the file is UTF-16 or no text at all; save it as UTF-8", where=path)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line_start = before.rfind(b"\n") + 1
        column = len(before[line_start:].decode("utf-8").removeprefix("\ufeff")) + 1
        position = Position(before.count(b"\n") + 1, column)
        text = f"the byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise ConfigError(text, where=path, position=position) from error


def _values(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem, position = toml_errors.explain(error, text, Config)
        raise ConfigError(problem, where=where, position=position) from error
    except (RecursionError, ValueError) as error:
        # A number with thousands of digits, or lists nested too deeply.
        raise ConfigError("a value is too long, or nested too deeply", where=where) from error


def _converted(values: dict[str, Any], text: str, where: str) -> Config:
    """The validated configuration with these values; ConfigError with the position of the key that is wrong."""
    wrong = renamed_keys.key_given_twice(values)
    values = renamed_keys.with_new_names(values)
    wrong = wrong or _unknown_key(values) or first_wrong(values, Config)
    if wrong is not None:
        raise _error_at(wrong.path, wrong.text, text, where)
    try:
        config = msgspec.convert(values, Config)
        check(config)
    except (msgspec.ValidationError, UnusableError) as error:
        path = _element_in(str(error), _path_in(str(error), values), values)
        message = _with_value(str(error), path, values)
        raise _error_at(path, message, text, where) from None
    return config


def _error_at(path: KeyPath, message: str, text: str, where: str) -> ConfigError:
    """The error with the position of the key in the text, also where the text has the key's old name."""
    old_path = renamed_keys.old_path(path)
    if old_path is not None and any(place.path == old_path for place in places(text)):
        path, message = old_path, f"{message} ({old_path[1]} is its old name)"
    return ConfigError(message, where=where, position=position_of(text, path))


def _unknown_key(values: dict[str, Any], schema: type = Config, path: KeyPath = (), section: str = "") -> Wrong | None:
    """The first key that the schema does not have, or None."""
    hints = typing.get_type_hints(schema)
    for name, value in values.items():
        here = (*path, name)
        if name not in hints:
            return Wrong(here, _unknown(name, value, hints, section, is_entry=bool(path) and isinstance(path[-1], int)))
        inner = table_of(hints[name])
        is_array = isinstance(value, list)
        for number, table in enumerate(value if is_array else [value]):
            if inner is not None and isinstance(table, dict):
                below = (*here, number) if is_array else here
                wrong = _unknown_key(table, inner, below, f"{section}.{name}" if section else name)
                if wrong is not None:
                    return wrong
    return None


def _unknown(name: str, value: Any, known: typing.Iterable[str], section: str, *, is_entry: bool) -> str:
    """The error about an unknown key or section, with where it belongs or the nearest known name."""
    elsewhere = [f"[{other}] {name}" for other, keys in _sections(Config) if name in keys]
    elsewhere += renamed_keys.places_of_old_name(name)
    if not section and not isinstance(value, dict | list):
        advice = f"; it belongs in {' or '.join(elsewhere)}" if elsewhere else _nearest(name, _keys())
        return f"key {name} outside of any [section]{advice}"
    if not section:
        names = [section for section, _ in _sections(Config)]
        below = [f"[{section}]" for section in names if section.endswith(f".{name}")]
        advice = f"; it is {' or '.join(below)}" if below else _nearest(name, [*known, *names])
        return f"unknown section [{name}]{advice}"
    hint = f"; it belongs in {' or '.join(elsewhere)}" if elsewhere else _nearest(name, known)
    return f"{f'[[{section}]]' if is_entry else f'[{section}]'}: unknown key {name}{hint}"


def _sections(schema: type, outer: str = "") -> typing.Iterator[tuple[str, list[str]]]:
    """Each section of the conf file with the names of its keys."""
    for name, hint in typing.get_type_hints(schema).items():
        table = table_of(hint)
        if table is None:
            continue
        section = f"{outer}.{name}" if outer else name
        keys = typing.get_type_hints(table)
        yield section, [key for key in keys if table_of(keys[key]) is None]
        yield from _sections(table, section)


def _keys() -> list[str]:
    return [key for _, keys in _sections(Config) for key in keys]


def _nearest(word: str, known: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.0)
    return f"; the nearest known is {close[0]}" if close else ""


def _path_in(message: str, values: dict[str, Any]) -> KeyPath:
    """The path of the key that a message begins with: `[section] key: ...` or `[[array]] name of the entry: ...`."""
    if match := _KEY.match(message):
        return (*match["section"].split("."), match["key"])
    if match := _ENTRY.match(message):
        for number, entry in enumerate(values.get(match["array"], ())):
            if entry.get("name", str(number + 1)) == match["name"]:
                key = re.match(r"\w*", match["rest"])
                return (match["array"], number, key[0] if key else "")
        return (match["array"],)
    return ()


def _with_value(message: str, path: KeyPath, values: dict[str, Any]) -> str:
    """The message with the wrong number, if it does not have it already."""
    value = _value(path, values)
    if not isinstance(value, int | float) or str(value) in message:
        return message
    key, _, allowed = message.partition(": ")
    return f"{key}: {value} is not allowed; allowed: {allowed}"


def _element_in(message: str, path: KeyPath, values: dict[str, Any]) -> KeyPath:
    """The path of the element that the message quotes, if the key's value is a list."""
    value = _value(path, values)
    elements = value if isinstance(value, list) else []
    numbers = (number for number, element in enumerate(elements) if repr(element) in message)
    return next(((*path, number) for number in numbers), path)


def _value(path: KeyPath, values: dict[str, Any]) -> Any:
    """The value at the path; None: there is none."""
    value: Any = values
    for name in path:
        value = value.get(name) if isinstance(value, dict) else value[name] if isinstance(name, int) else None
    return value


def changed(config: Config) -> dict[str, Any]:
    """The values that differ from the defaults, as plain TOML values."""
    return _difference(plain(config), plain(Config()))


def _difference(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    changes = {}
    for key, value in values.items():
        if value == defaults[key]:
            continue
        changes[key] = _difference(value, defaults[key]) if isinstance(value, dict) else value
    return changes


def plain(config: Config) -> dict[str, Any]:
    """The configuration as sections of keys with plain TOML values."""
    result: dict[str, Any] = msgspec.to_builtins(config)
    return result
