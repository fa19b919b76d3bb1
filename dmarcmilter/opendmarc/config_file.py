"""An opendmarc.conf as it stands: names and values. Nothing in it can be wrong enough to stop the reading.

One setting a line, name and value apart by white space, names in any case, `#` ends a line, the last of several counts
(opendmarc.conf(5)).
"""

import re
from dataclasses import dataclass

MAX_FILE = 1_048_576
"""Octets; what is beyond is not read. The commented sample of all settings has 20,000."""
MAX_SETTINGS = 1_000
"""Different names. There are 45."""
MAX_VALUE = 8_192
"""Characters of a value; its own reader cuts lines at 1,023 octets."""
MAX_NAME = 64
MAX_NOTES = 100


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    """As written."""
    value: str
    """Printable, without space around it."""
    line: int


@dataclass(frozen=True, slots=True)
class ConfFile:
    settings: dict[str, Setting]
    """By name in lower case."""
    notes: tuple[str, ...]
    """What could not be read."""


def parse(raw: bytes) -> ConfFile:
    settings: dict[str, Setting] = {}
    notes = [f"only the first {MAX_FILE} octets are read"] if len(raw) > MAX_FILE else []
    for number, line in enumerate(raw[:MAX_FILE].decode("utf-8-sig", "replace").split("\n"), 1):
        name, _, rest = printable(line.partition("#")[0]).strip().partition(" ")
        value = unquoted(rest.strip())
        if not name:
            continue
        if not value or len(value) > MAX_VALUE or len(name) > MAX_NAME:
            notes.append(f"line {number}: {name[:MAX_NAME]}: " + ("too long" if value else "no value"))
        elif len(settings) < MAX_SETTINGS or name.lower() in settings:
            # Taken out first, so that the order is that of the lines that count.
            settings.pop(name.lower(), None)
            settings[name.lower()] = Setting(name, value, number)
    return ConfFile(settings, tuple(notes[:MAX_NOTES]))


def printable(text: str) -> str:
    """White space as spaces; any other character that would not show as a question mark: values end up in comments."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def unquoted(value: str) -> str:
    """The value without quotes around all of it, and without the backslashes within them."""
    if len(value) < 2 or value[0] not in "\"'" or value[-1] != value[0]:
        return value
    return re.sub(r"\\(.)", r"\1", value[1:-1]).strip()


def listed(value: str) -> list[str]:
    """A list with commas."""
    return [part for part in (word.strip() for word in value.split(",")) if part]


def is_true(value: str) -> bool | None:
    """By the first character, as its reader does it; None: neither."""
    first = value[:1].lower()
    return True if first in {"t", "y", "1"} else False if first in {"f", "n", "0"} else None


def number(value: str) -> int | None:
    """Decimal, octal with a leading 0, hexadecimal with 0x: strtol(3) with base 0."""
    digits = value.lower().removeprefix("-")
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") and len(digits) > 1 else 10
    try:
        found = int(digits.removeprefix("0x") if base == 16 else digits, base) if len(digits) < 20 else None
    except ValueError:
        return None
    return found if found is None or not value.startswith("-") else -found
