"""Reads an opendmarc.conf into names and values. Lines that cannot be read are noted and skipped.

Each line has a name in any case, white space and a value; `#` begins a comment; of several lines with one name the last
counts (opendmarc.conf(5)).
"""

import re

from dmarcmilter.value import Value

MAX_FILE = 1_048_576
"""Bytes of the file that are read; the rest is ignored. The commented sample of all settings has 20,000."""
MAX_SETTINGS = 1_000
"""Number of settings that are read; further ones are ignored. OpenDMARC has 45."""
MAX_VALUE = 8_192
"""Characters of a value; a longer one is noted and skipped. OpenDMARC itself cuts lines at 1,023 bytes."""
MAX_NAME = 64
"""Characters of a name; a setting with a longer one is noted and skipped."""
MAX_NOTES = 100
"""Number of notes on lines that cannot be read; further ones are dropped."""


class Setting(Value):
    """A setting in the file."""

    name: str
    """As written."""
    value: str
    """Printable, without quotes and white space around it."""
    line: int


class ConfFile(Value):
    """The content of an opendmarc.conf."""

    settings: dict[str, Setting]
    """Settings by name in lower case."""
    notes: tuple[str, ...]
    """What could not be read."""


def parse(raw: bytes) -> ConfFile:
    """The settings in the file; never fails."""
    settings: dict[str, Setting] = {}
    notes = [f"only the first {MAX_FILE} bytes are read"] if len(raw) > MAX_FILE else []
    for number, line in enumerate(raw[:MAX_FILE].decode("utf-8-sig", "replace").split("\n"), 1):
        name, _, rest = printable(line.partition("#")[0]).strip().partition(" ")
        value = unquoted(rest.strip())
        if not name:
            continue
        if not value or len(value) > MAX_VALUE or len(name) > MAX_NAME:
            notes.append(f"line {number}: {name[:MAX_NAME]}: " + ("too long" if value else "no value"))
        elif len(settings) < MAX_SETTINGS or name.lower() in settings:
            # Removed first, so that settings are in the order of the lines that count.
            settings.pop(name.lower(), None)
            settings[name.lower()] = Setting(name, value, number)
    return ConfFile(settings, tuple(notes[:MAX_NOTES]))


def printable(text: str) -> str:
    """The text on one line: white space becomes spaces, other unprintable characters question marks."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def unquoted(value: str) -> str:
    """The value without the quotes around it and the backslashes within them."""
    if len(value) < 2 or value[0] not in "\"'" or value[-1] != value[0]:
        return value
    return re.sub(r"\\(.)", r"\1", value[1:-1]).strip()


def listed(value: str) -> list[str]:
    """The elements of a list with commas."""
    return [part for part in (word.strip() for word in value.split(",")) if part]


def is_true(value: str) -> bool | None:
    """Whether the value means true, by its first character, as OpenDMARC reads it; None: neither true nor false."""
    first = value[:1].lower()
    return True if first in {"t", "y", "1"} else False if first in {"f", "n", "0"} else None


def number(value: str) -> int | None:
    """A whole number: decimal, octal with 0 in front or hexadecimal with 0x, as strtol(3) reads it; None: no number."""
    digits = value.lower().removeprefix("-")
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") and len(digits) > 1 else 10
    try:
        absolute = int(digits.removeprefix("0x") if base == 16 else digits, base) if len(digits) < 20 else None
    except ValueError:
        return None
    return absolute if absolute is None or not value.startswith("-") else -absolute
