"""Reading the conf file: TOML to one frozen Config, complete and checked before anything starts.

An unknown key is an error that names the nearest known one; a value of the wrong type or outside its choices is an
error that names the key.
"""

import dataclasses
import difflib
import re
import tomllib
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from dmarcmilter.settings import Config
from dmarcmilter.settings.validation import UnusableError, check

DEFAULT_PATH = "/etc/dmarcmilter/dmarcmilter.toml"
MODE_NOT_WRITTEN = (
    '[policy] mode is not written, so the default applies, which has changed from "enforce" to "monitor": '
    'no policy is enforced; to enforce, write mode = "enforce"'
)


class ConfigError(Exception):
    """A conf file that cannot be used; the text is for the administrator."""


@dataclass(frozen=True, slots=True)
class Loaded:
    config: Config
    warnings: tuple[str, ...]
    """Sentences for the administrator about how the file is written."""


def load(path: str) -> Config:
    """The configuration in the file at path; ConfigError when it cannot be read or used."""
    return read(path).config


def read(path: str) -> Loaded:
    """The configuration in the file at path (empty: the defaults) with warnings about the file."""
    try:
        text = Path(path).read_text(encoding="utf-8") if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    values = _values(text, path)
    config = _converted(values, path)
    is_mode_written = "mode" in values.get("policy", {})
    return Loaded(config, () if is_mode_written else (MODE_NOT_WRITTEN,))


def parse(text: str, *, where: str = "conf") -> Config:
    return _converted(_values(text, where), where)


def _values(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: {error}") from error


def _converted(values: dict[str, Any], where: str) -> Config:
    try:
        _refuse_unknown(values)
        config = msgspec.convert(values, Config)
        check(config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_in_our_words(str(error))}") from error
    except (ConfigError, UnusableError) as error:
        raise ConfigError(f"{where}: {error}") from None
    return config


def _refuse_unknown(values: dict[str, Any], schema: type = Config, where: str = "") -> None:
    hints = typing.get_type_hints(schema)
    for name, value in values.items():
        if name not in hints:
            raise ConfigError(_unknown(name, hints, where))
        inner = table_of(hints[name])
        for table in value if isinstance(value, list) else [value]:
            if inner is not None and isinstance(table, dict):
                _refuse_unknown(table, inner, f"{where}.{name}" if where else name)


def table_of(hint: Any) -> type | None:
    """The dataclass that a key's tables are made of: of one table, or of each in an array of tables."""
    for found in (hint, *typing.get_args(hint)):
        if isinstance(found, type) and dataclasses.is_dataclass(found):
            return found
    return None


def _unknown(name: str, known: typing.Iterable[str], where: str) -> str:
    if not where:
        return f"unknown section [{name}]{_nearest(name, known)}"
    elsewhere = [section for section, keys in _sections() if name in keys]
    hint = f"; it belongs in [{elsewhere[0]}] {name}" if elsewhere else _nearest(name, known)
    return f"[{where}]: unknown key {name}{hint}"


def _sections() -> typing.Iterator[tuple[str, list[str]]]:
    for section, hint in typing.get_type_hints(Config).items():
        table = table_of(hint)
        if table is not None:
            yield section, [entry.name for entry in dataclasses.fields(table)]


def _nearest(word: str, known: typing.Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.0)
    return f"; the nearest known is {close[0]}" if close else ""


def _in_our_words(message: str) -> str:
    """Turn msgspec's "... - at `$.milter.workers`" into "[milter] workers: ..."; of an array of tables, "[[...]]"."""
    found = re.fullmatch(r"(.*) - at `\$\.([^`]*)`", message)
    if not found:
        return message
    path = re.sub(r"\[[^\]]*\]", "", found[2]).split(".")
    section, key = (".".join(path[:-1]), path[-1]) if len(path) > 1 else (path[0], "")
    where = f"[[{section}]]" if "]." in found[2] else f"[{section}]"
    return f"{where} {key}: {found[1]}".replace(" :", ":")


def changed(config: Config) -> dict[str, Any]:
    """Only what differs from the defaults, as plain values."""
    return _difference(plain(config), plain(Config()))


def _difference(mine: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in mine.items():
        if value == defaults[key]:
            continue
        found[key] = _difference(value, defaults[key]) if isinstance(value, dict) else value
    return found


def plain(config: Config) -> dict[str, Any]:
    """Sections of keys with plain TOML values."""
    result: dict[str, Any] = msgspec.to_builtins(config)
    return result
