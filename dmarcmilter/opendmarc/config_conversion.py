"""An opendmarc.conf as a conf file of ours: what has an equivalent, and a note for each setting that was found.

A value is taken only if our own reader takes it, so the result always loads.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from dmarcmilter.config import load as configuration
from dmarcmilter.config.load import ConfigError
from dmarcmilter.config.schema import Config
from dmarcmilter.opendmarc import value_conversion
from dmarcmilter.opendmarc.config_file import ConfFile, Setting, printable
from dmarcmilter.opendmarc.setting_table import KEYS, RENAMED, Fate, Key
from dmarcmilter.opendmarc.value_conversion import NotTakenError, Taken, Values

HEAD = (
    'OpenDMARC 1.4.2 finds policies by RFC 7489, dmarcmilter by RFC 9989; [dmarc] discovery = "psl" is the old way.',
    "`dmarcmilter config check --live FILE` tells what else to look at.",
)
MAX_SHOWN = 200
"""Characters of a value in a note."""

ReadFile = Callable[[str], bytes]
"""The octets of a file that the conf names; OSError when they cannot be had."""


@dataclass(frozen=True, slots=True)
class Note:
    """What became of one setting."""

    name: str
    value: str
    """Empty: it was not in the file."""
    fate: Fate | None
    """None: OpenDMARC 1.4.2 does not know it either, or its value says nothing."""
    text: str

    def __str__(self) -> str:
        if not self.value:
            return f"{self.name} is not in the file: {self.text}"
        return f"{self.name} {self.value}: {self.fate or 'not taken over'}: {self.text}"


@dataclass(frozen=True, slots=True)
class Conversion:
    values: Values
    notes: tuple[Note, ...]
    """Of what is in the file, in its order, then of defaults that differ."""
    suggestions: tuple[str, ...] = ()
    """Lines of TOML for a person to complete."""


@dataclass
class _Draft:
    values: Values = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    suggestions: list[str] = field(default_factory=list)

    def take(self, taken: Taken) -> str:
        """Why our reader does not take it; empty: it does."""
        trial = {name: dict(keys) for name, keys in self.values.items()}
        for (section, key), value in taken.values.items():
            trial.setdefault(section, {})[key] = value
        try:
            configuration.parse(toml(trial))
        except ConfigError as error:
            return error.text
        self.values = trial
        return ""


def convert(conf: ConfFile, read_file: ReadFile, *, socket: str = "") -> Conversion:
    """`socket`: ours, in place of the one in the file."""
    found = {RENAMED.get(name, name): setting for name, setting in conf.settings.items()}
    if socket:
        found["socket"] = Setting("Socket", socket, 0)
    draft = _Draft()
    for name, setting in found.items():
        key = KEYS.get(name)
        draft.notes.append(_unknown(setting) if key is None else _one(key, setting, found, read_file, draft))
    _defaults(found, draft)
    return Conversion(draft.values, tuple(draft.notes), tuple(draft.suggestions))


def _unknown(setting: Setting) -> Note:
    return Note(setting.name, setting.value[:MAX_SHOWN], None, "OpenDMARC 1.4.2 has no such setting")


def _one(key: Key, setting: Setting, found: dict[str, Setting], read_file: ReadFile, draft: _Draft) -> Note:
    shown = setting.value[:MAX_SHOWN]
    converter = value_conversion.CONVERTERS.get(key.name)
    if converter is None:
        return Note(key.name, shown, key.fate, key.becomes)
    try:
        taken = converter(setting.value, value_conversion.Context(found, read_file, draft.values))
    except NotTakenError as reason:
        return Note(key.name, shown, None, str(reason))
    draft.suggestions += taken.suggestions
    if not taken.values:
        return Note(key.name, shown, key.fate if taken.fate is None else taken.fate, taken.text or key.becomes)
    problem = draft.take(taken)
    if problem:
        return Note(key.name, shown, None, problem)
    became = (f"[{section}] {name} = {_value(value)[:MAX_SHOWN]}" for (section, name), value in taken.values.items())
    return Note(key.name, shown, Fate.TAKEN, ", ".join(became) + (f" ({taken.text})" if taken.text else ""))


def _defaults(found: dict[str, Setting], draft: _Draft) -> None:
    """What OpenDMARC does when a setting is not in the file, where we would do something else."""
    for values in value_conversion.UNSET.values():
        # Also when it is in the file with a value that says nothing.
        if not values.keys() & {(section, key) for section, keys in draft.values.items() for key in keys}:
            draft.take(Taken(values))
    for key in KEYS.values():
        if key.when_unset and key.name.lower() not in found:
            draft.notes.append(Note(key.name, "", key.fate, key.when_unset))


def toml(values: Values) -> str:
    """Sections in the order of the sample conf file, tables within sections after their own keys."""
    order = [section.name for section in fields(Config)]
    lines = []
    for section in sorted(values, key=lambda name: (order.index(name.partition(".")[0]), name)):
        lines += [f"[{section}]", *(f"{key} = {_value(value)}" for key, value in values[section].items()), ""]
    return "\n".join(lines)


def _value(value: Any) -> str:
    """These read the same in JSON and TOML; what is not ASCII is written as it is, as TOML wants it."""
    return json.dumps(value, ensure_ascii=False)


def written(found: Conversion, source: str) -> str:
    """The whole file: what became of each setting, then ours."""
    lines = [
        f"# Made by `dmarcmilter config from-opendmarc` of {printable(source)}.",
        *(f"# {line}" for line in HEAD),
        "#",
    ]
    lines += [f"# {note}" for note in found.notes]
    lines += ["", toml(found.values).rstrip("\n")]
    if found.suggestions:
        lines += ["", "# To be completed by hand:", *(f"# {line}" for line in found.suggestions)]
    return "\n".join(lines).rstrip("\n") + "\n"
