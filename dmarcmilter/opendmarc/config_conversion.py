"""Converts an opendmarc.conf to a conf file of ours, with a note for each of its settings.

A value is taken over only if our own reader accepts it, so the result always loads.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dmarcmilter.config import load as configuration
from dmarcmilter.config.load import ConfigError
from dmarcmilter.config.schema import Config
from dmarcmilter.opendmarc import value_conversion
from dmarcmilter.opendmarc.config_file import ConfFile, Setting, printable
from dmarcmilter.opendmarc.setting_table import KEYS, RENAMED, Fate, OpendmarcSetting
from dmarcmilter.opendmarc.value_conversion import NotTakenError, Taken, Values
from dmarcmilter.value import Value

HEAD = (
    'OpenDMARC 1.4.2 finds policies by RFC 7489, dmarcmilter by RFC 9989; [dmarc] discovery = "psl" is the old way.',
    "`dmarcmilter config check --live FILE` shows what else needs attention.",
)
"""Lines at the top of the converted file."""
MAX_SHOWN = 200
"""Characters of a value that a note shows; the rest is cut off."""

ReadFile = Callable[[str], bytes]
"""Reads a file that the conf names, given its path; OSError when it cannot be read."""


class Note(Value):
    """What became of one setting."""

    name: str
    value: str
    """Empty: the setting is not in the file."""
    fate: Fate | None
    """None: OpenDMARC 1.4.2 does not know the setting, or its value was not taken over."""
    text: str
    """What it became, or the reason why it was not taken over."""

    def __str__(self) -> str:
        if not self.value:
            return f"{self.name} is not in the file: {self.text}"
        return f"{self.name} {self.value}: {self.fate or 'not taken over'}: {self.text}"


class Conversion(Value):
    """A converted conf file."""

    values: Values
    notes: tuple[Note, ...]
    """Notes on the settings in the file, in its order, then on defaults that differ."""
    suggestions: tuple[str, ...] = ()
    """Lines of TOML that the administrator has to complete."""


@dataclass
class _Draft:
    """A conversion in progress."""

    values: Values = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    suggestions: list[str] = field(default_factory=list)

    def add(self, taken: Taken) -> str:
        """Add values, unless our reader refuses them; its error, or empty."""
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
    """The converted conf file. `socket`: the milter socket in place of the one in the file."""
    settings = {RENAMED.get(name, name): setting for name, setting in conf.settings.items()}
    if socket:
        settings["socket"] = Setting("Socket", socket, 0)
    draft = _Draft()
    for name, setting in settings.items():
        key = KEYS.get(name)
        draft.notes.append(_unknown(setting) if key is None else _convert(key, setting, settings, read_file, draft))
    _add_defaults(settings, draft)
    return Conversion(draft.values, tuple(draft.notes), tuple(draft.suggestions))


def _unknown(setting: Setting) -> Note:
    return Note(setting.name, setting.value[:MAX_SHOWN], None, "OpenDMARC 1.4.2 has no such setting")


def _convert(
    key: OpendmarcSetting, setting: Setting, settings: dict[str, Setting], read_file: ReadFile, draft: _Draft
) -> Note:
    """Convert one setting into the draft; the note says what became of it."""
    shown = setting.value[:MAX_SHOWN]
    converter = value_conversion.CONVERTERS.get(key.name)
    if converter is None:
        return Note(key.name, shown, key.fate, key.becomes)
    try:
        taken = converter(setting.value, value_conversion.Context(settings, read_file, draft.values))
    except NotTakenError as reason:
        return Note(key.name, shown, None, str(reason))
    draft.suggestions += taken.suggestions
    if not taken.values:
        return Note(key.name, shown, key.fate if taken.fate is None else taken.fate, taken.text or key.becomes)
    problem = draft.add(taken)
    if problem:
        return Note(key.name, shown, None, problem)
    lines = (f"[{section}] {name} = {_value(value)[:MAX_SHOWN]}" for (section, name), value in taken.values.items())
    return Note(key.name, shown, Fate.TAKEN, ", ".join(lines) + (f" ({taken.text})" if taken.text else ""))


def _add_defaults(settings: dict[str, Setting], draft: _Draft) -> None:
    """Add values and notes for settings that are not in the file, where OpenDMARC's default differs from ours."""
    for values in value_conversion.UNSET.values():
        # Also when the setting is in the file but its value was not taken over.
        if not values.keys() & {(section, key) for section, keys in draft.values.items() for key in keys}:
            draft.add(Taken(values))
    for key in KEYS.values():
        if key.when_unset and key.name.lower() not in settings:
            draft.notes.append(Note(key.name, "", key.fate, key.when_unset))


def toml(values: Values) -> str:
    """The values as TOML: sections in the order of the sample conf file, with [section.table] after [section]."""
    order = Config.__struct_fields__
    lines = []
    for section in sorted(values, key=lambda name: (order.index(name.partition(".")[0]), name)):
        lines += [f"[{section}]", *(f"{key} = {_value(value)}" for key, value in values[section].items()), ""]
    return "\n".join(lines)


def _value(value: Any) -> str:
    """A value in TOML, which is the same in JSON for the types used here."""
    return json.dumps(value, ensure_ascii=False)


def render(conversion: Conversion, source: str) -> str:
    """The text of the new conf file: comments with what became of each setting, then the values."""
    lines = [
        f"# Made by `dmarcmilter config from-opendmarc` from {printable(source)}.",
        *(f"# {line}" for line in HEAD),
        "#",
    ]
    lines += [f"# {note}" for note in conversion.notes]
    lines += ["", toml(conversion.values).rstrip("\n")]
    if conversion.suggestions:
        lines += ["", "# To be completed by hand:", *(f"# {line}" for line in conversion.suggestions)]
    return "\n".join(lines).rstrip("\n") + "\n"
