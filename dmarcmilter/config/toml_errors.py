"""Explains tomllib's errors about a conf file that is not TOML in plain words, with what to write instead."""

import re
import tomllib
import typing
import unicodedata
from datetime import date
from typing import Any

from dmarcmilter.config.renamed_keys import current_path
from dmarcmilter.config.toml_positions import Place, Position, places
from dmarcmilter.config.type_errors import SECRETS, defaults_of, kind_of, table_of, with_value

MAX_SHOWN = 60
"""Characters of a value that an error shows; the rest is cut off."""

_LOCATED = re.compile(r"(?P<text>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL)
_ASSIGNMENT = re.compile(r"\s*(?P<key>[A-Za-z0-9_.-]+)\s*=\s*(?P<value>[^\s#\"'\[{][^#]*?)\s*(?:#.*)?$")
_NOT_ASSIGNED = re.compile(r"\s*(?P<key>[A-Za-z0-9_.-]+)\s*(?:[:\s]\s*)(?P<value>[^\s=:][^#]*?)\s*(?:#.*)?$")
_OPENED = re.compile(r"[^=]*=[ \t]*([\[{])")
_QUOTES = str.maketrans(
    dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02", '"') | dict.fromkeys("\u2018\u2019\u201a\u201b", "'")
)
"""Typographic quotes, as word processors and web pages make them, mapped to those of TOML."""

_IS_NOT = {int: "is no number", float: "is no number", bool: "is not true or false", date: "is no date"}
"""What is wrong with a value without quotes, by the type that it should have."""
_PLAIN = (
    ("Unescaped", "a backslash in \"...\" must be written \\\\; in '...' it stands for itself"),
    ("Escaped character", "a \\u escape that is no character"),
    ("Invalid hex", "a \\u escape needs four hexadecimal digits, \\U needs eight"),
    ("Unterminated string", "the text has no closing quote"),
    ('Expected \'"""\'', 'a text that begins with """ has no closing """'),
    ("Expected \"'''\"", "a text that begins with ''' has no closing '''"),
    ('Expected "\'"', "the text has no closing quote"),
    ("Unclosed array", "in a list a comma, the closing ] or quotes around text are missing"),
    ("Unclosed inline table", "in { ... } a comma or the closing } is missing"),
    ("Expected ']]'", "[[name]] needs two closing brackets"),
    ("Expected ']'", "[name] has no closing bracket, or the name needs quotes"),
    ("Expected '='", 'expected key = value, for example mode = "monitor"'),
    ("Invalid initial character", "expected the name of a key"),
    ("Invalid date", "a date that does not exist"),
    ("Invalid value", "the value is missing, or text without quotes"),
    ("Invalid statement", "expected [section], key = value or # comment"),
    ("Expected newline", "something follows the value that does not belong there; each key needs a line of its own"),
    ("Duplicate inline table key", "the same key is given twice in { ... }"),
    ("Cannot", "the same key or section is given twice"),
)


def explain(error: tomllib.TOMLDecodeError, text: str, schema: type) -> tuple[str, Position | None]:
    """What is wrong with the text, and where."""
    match = _LOCATED.fullmatch(str(error))
    message = match["text"] if match else str(error)
    if match is None or match["line"] is None:
        return _at_end(message, text)
    position = Position(int(match["line"]), int(match["column"]))
    problem = _twice(message, text, position) or _of_line(message, text, position, schema)
    return problem or (_character(text, position) or _plain(message), position)


def _character(text: str, position: Position) -> str:
    """The error about a character that is not ASCII and may look like a space or a letter; empty: it is ASCII."""
    character = text.split("\n")[position.line - 1][position.column - 1 : position.column]
    if not character or character.isascii():
        return ""
    name = unicodedata.name(character, "without a name").lower()
    return f"the character U+{ord(character):04X} ({name}) cannot stand here, outside of quotes"


def _plain(message: str) -> str:
    """The message of tomllib in plain words; unchanged, if it is not known here."""
    if message.startswith(("Illegal character", "Found invalid character")):
        character = message.partition("character ")[2].strip("'\"")
        if character in ("\\n", "\\r\\n"):
            return "the text has no closing quote on this line"
        return f"the character {character} cannot stand here"
    return next((plain for start, plain in _PLAIN if message.startswith(start)), message)


def _at_end(message: str, text: str) -> tuple[str, Position | None]:
    """The error about the end of the file, at the start of what is not closed or not complete."""
    if message.startswith(("Invalid value", "Invalid initial character")) and (opened := _left_open(text)):
        return _plain(opened[0]), opened[1]
    position = _unclosed(message, text)
    return _plain(message), position or next((place.position for place in reversed(places(text))), None)


def _left_open(text: str) -> tuple[str, Position] | None:
    """The innermost list or inline table that is open where the file ends, after a comma or with nothing in it.

    As the beginning of tomllib's message about one, and the position of its key; None: there is none.
    """
    known = places(text)
    keys = {place.path: place.position for place in known if not place.is_table}
    path = known[-1].path if known else ()
    for length in range(len(path), 0, -1):
        position = keys.get(path[:length])
        if position and (match := _OPENED.match(text.split("\n")[position.line - 1], position.column - 1)):
            return ("Unclosed array" if match[1] == "[" else "Unclosed inline table"), position
    return None


def _unclosed(message: str, text: str) -> Position | None:
    """The start of the text, list or table that is not closed before the end of the file."""
    if message.startswith("Unclosed"):
        named = [place for place in places(text) if not isinstance(place.path[-1], int)]
        return named[-1].position if named else None
    marks = ('"""', '"') if message.startswith("Unterminated") else ("'''",) if "'''" in message else ()
    at = next((index for mark in marks if (index := text.rfind(mark)) >= 0), -1)
    if not marks and (match := re.search(r"=[ \t]*('[^'\n]*)$", text, re.MULTILINE)):
        at = match.start(1)
    return Position(text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)) if at >= 0 else None


def _twice(message: str, text: str, position: Position) -> tuple[str, Position | None] | None:
    """The error about a key or a section that was given before; None: it is another error."""
    if not message.startswith(("Cannot", "Duplicate inline table key")):
        return None
    known = places(text)
    until = [place for place in known if place.position <= position]
    last = next((place for place in reversed(until) if not isinstance(place.path[-1], int)), None)
    if message.startswith("Cannot declare") or (last and last.is_table):
        last = next((place for place in reversed(until) if place.is_table), None)
    if last is None:
        return None
    name = _shown(last)
    earlier = next((place for place in known if place.path == last.path and place is not last), None)
    if earlier is None or earlier.position >= last.position:
        return (
            f"{name} contradicts an earlier line: it is a key there and a section here, or the reverse",
            last.position,
        )
    advice = "write all its keys in one place" if last.is_table else "keep one of the two"
    return f"{name} is given twice, first in line {earlier.position.line}; {advice}", last.position


def _of_line(message: str, text: str, position: Position, schema: type) -> tuple[str, Position | None] | None:
    """The error about a value without quotes or a line without an equals sign; None: it is another error."""
    line = text.split("\n")[position.line - 1].rstrip("\r")
    if line[position.column - 1 : position.column] == "\r":
        return "a line ends with CR alone; save the file with LF or CRLF at the ends of lines", position
    if message.startswith("Expected '='") and (match := _NOT_ASSIGNED.match(line)):
        where, hint, default = _about(match["key"], text, position, schema)
        wanted = with_value(hint, match["key"], default, _showable(match["key"], match["value"].strip()))
        return f"{where}: write {wanted}, with an equals sign", Position(position.line, match.start("key") + 1)
    if not message.startswith(("Invalid value", "Expected newline", "Invalid date")):
        return None
    match = _ASSIGNMENT.match(line)
    if match is None or any(mark in match["value"] for mark in "\"'"):
        return None
    where, hint, default = _about(match["key"], text, position, schema)
    value = match["value"]
    kind = kind_of(hint)
    problem = f"{_short(_showable(match['key'], value) or '...')} {_IS_NOT.get(kind, 'needs quotes')}"
    if value.translate(_QUOTES) != value:
        value = value.translate(_QUOTES).strip("\"'")
        problem = "typographic quotes do not count"
    wanted = with_value(hint, match["key"], default, _showable(match["key"], value))
    return f"{where}: {problem}; write {wanted}", Position(position.line, match.start("value") + 1)


def _showable(key: str, value: str) -> str:
    """The value without quotes, if an error may show it; else empty."""
    return "" if key in SECRETS or len(value) > MAX_SHOWN else value.strip("\"'")


def _about(key: str, text: str, position: Position, schema: type) -> tuple[str, Any, Any]:
    """The name of a key with its section, its type (text, if it is unknown) and its default."""
    tables = [place for place in places(text) if place.is_table and place.position.line < position.line]
    path = [name for name in tables[-1].path if isinstance(name, str)] if tables else []
    hint, default = _hint([*path, *key.split(".")], schema)
    is_array = bool(tables) and isinstance(tables[-1].path[-1], int)
    section = ".".join(path)
    where = (f"[[{section}]] {key}" if is_array else f"[{section}] {key}") if section else key
    return where, str if hint is None else hint, default


def _hint(path: list[str], schema: type) -> tuple[Any, Any]:
    """The type of the key at this path and its default; None: the schema has no such key."""
    path = [str(name) for name in current_path(tuple(path))]
    for name in path[:-1]:
        inner = table_of(typing.get_type_hints(schema).get(name))
        if inner is None:
            return None, None
        schema = inner
    hint = typing.get_type_hints(schema).get(path[-1])
    if hint is None or table_of(hint) is not None:
        return None, None
    return hint, defaults_of(schema)[path[-1]]


def _shown(place: Place) -> str:
    names = [str(name) for name in place.path if isinstance(name, str)]
    if place.is_table:
        return f"[{'.'.join(names)}]"
    return f"[{'.'.join(names[:-1])}] {names[-1]}" if len(names) > 1 else names[-1]


def _short(text: str) -> str:
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
