"""Conf keys that have a new name. The old name keeps working; a warning names the new one."""

from collections.abc import Mapping
from typing import Any, Final

from dmarcmilter.config.toml_positions import KeyPath
from dmarcmilter.config.type_errors import Wrong

RENAMED_KEYS: Final[Mapping[KeyPath, str]] = {
    ("dns", "strangers_budget"): "unaligned_budget",
    ("reports", "shape"): "format",
}
"""Path of the old key -> name of the new key, in the same section."""

_OLD_NAMES: Final = {(*path[:-1], new): str(path[-1]) for path, new in RENAMED_KEYS.items()}


def current_path(path: KeyPath) -> KeyPath:
    """The path under which the schema knows this key."""
    return (*path[:-1], RENAMED_KEYS[path]) if path in RENAMED_KEYS else path


def old_path(path: KeyPath) -> KeyPath | None:
    """The former path of the key (or of the element in its list); None: the key was never renamed."""
    old_name = _OLD_NAMES.get(path[:2])
    return (path[0], old_name, *path[2:]) if old_name else None


def places_of_old_name(name: str) -> list[str]:
    """The section and the new name of each key that had this name, for an error about the name in a wrong section."""
    return [f"[{path[0]}], now {new}" for path, new in RENAMED_KEYS.items() if path[-1] == name]


def key_given_twice(values: Mapping[str, Any]) -> Wrong | None:
    """The error when a key is written under its old and its new name."""
    for path, new in RENAMED_KEYS.items():
        if _has(values, path) and _has(values, current_path(path)):
            return Wrong(path, f"{_shown(path)} is the old name of {new}, which is given too; keep only {new}")
    return None


def with_new_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a conf file with each old name replaced."""
    result = dict(values)
    for path, new in RENAMED_KEYS.items():
        section, old = str(path[0]), str(path[1])
        if _has(values, path):
            result[section] = {new if key == old else key: value for key, value in result[section].items()}
    return result


def warnings(values: Mapping[str, Any]) -> list[str]:
    """One sentence for each old name in a conf file."""
    return [
        f"{_shown(path)} has a new name: write {new}; the old name still works"
        for path, new in RENAMED_KEYS.items()
        if _has(values, path)
    ]


def _has(values: Mapping[str, Any], path: KeyPath) -> bool:
    section, key = path
    table = values.get(str(section))
    return isinstance(table, dict) and key in table


def _shown(path: KeyPath) -> str:
    section, key = path
    return f"[{section}] {key}"
