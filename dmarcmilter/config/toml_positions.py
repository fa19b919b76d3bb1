"""Line and column of each key in a TOML text, which tomllib does not provide."""

import bisect
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from dmarcmilter.value import Value

KeyPath = tuple[str | int, ...]
"""Names of tables and keys from the outermost to the innermost; numbers of elements of arrays, from 0."""

MAX_DEPTH = 50
"""Depth of nested arrays and inline tables that are read; keys in deeper ones have no position."""

_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[^\s\"'#=.,\[\]{}]+")
_VALUE = re.compile(r"[^,\]}#\r\n]*")
_STRINGS = (
    re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"?'),
    re.compile(r"'[^'\n]*'?"),
)


class Position(NamedTuple):
    """A place in a text; line and column are counted from 1, the column in characters."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


class Place(Value):
    """A key, a table's name or an element of an array, and where it begins."""

    path: KeyPath
    position: Position
    is_table: bool = False
    """It is a table's name, [name] or [[name]]."""


def places(text: str) -> list[Place]:
    """All keys, table names and array elements in their order; in a text that is not TOML, those recognized."""
    return list(_Reader(text).places())


def position_of(text: str, path: KeyPath) -> Position | None:
    """The position of the key, or of the innermost table around it that the text names."""
    known: dict[KeyPath, Position] = {}
    for place in places(text):
        # A dotted key, [name.inner] and the first [[name]] also name the tables that they are in.
        for length in range(1, len(place.path) + 1):
            known.setdefault(place.path[:length], place.position)
    return next((known[path[:length]] for length in range(len(path), 0, -1) if path[:length] in known), None)


@dataclass
class _Reader:
    """Reads a TOML text from its beginning to its end, for positions and not for values."""

    text: str
    at: int = 0
    """Index of the next character to read."""
    lines: list[int] = field(default_factory=list)
    """Index of the first character of each line."""
    arrays: dict[KeyPath, int] = field(default_factory=dict)
    """Index of the newest element of each [[name]]."""

    def __post_init__(self) -> None:
        self.lines = [0, *(match.end() for match in re.finditer("\n", self.text))]

    def places(self) -> Iterator[Place]:
        table: KeyPath = ()
        while self.at < len(self.text):
            self._skip_blank()
            start = self.at
            is_array = self._take("[[")
            if is_array or self._take("["):
                if key := self._key():
                    table = self._element(key) if is_array else self._numbered(key)
                    yield Place(table, self._position(start), is_table=True)
            elif key := self._key():
                yield Place((*table, *key), self._position(start))
                if self._take("="):
                    yield from self._value((*table, *key), 0)
            self._skip_line()

    def _element(self, key: KeyPath) -> KeyPath:
        """The path of a new element of an array of tables."""
        path = self._numbered(key[:-1]) + key[-1:]
        self.arrays[path] = self.arrays.get(path, -1) + 1
        return (*path, self.arrays[path])

    def _numbered(self, key: KeyPath) -> KeyPath:
        """A table's path with the indexes in the arrays of tables that it is in."""
        path: KeyPath = ()
        for name in key:
            path = (*path, name)
            if path in self.arrays:
                path = (*path, self.arrays[path])
        return path

    def _key(self) -> KeyPath:
        """Read a dotted key; empty: there is none."""
        names: list[str] = []
        while True:
            self._skip(_SPACE)
            start = self.at
            if self.text[start : start + 1] in ('"', "'") and self._skip_string():
                names.append(_unquoted(self.text[start : self.at]))
            elif self._skip(_BARE):
                names.append(self.text[start : self.at])
            self._skip(_SPACE)
            if self.at == start or not self._take("."):
                return tuple(names)

    def _value(self, path: KeyPath, depth: int) -> Iterator[Place]:
        """Read a value; the places within it, if it is an array or an inline table."""
        self._skip(_SPACE)
        if self._skip_string():
            return
        if depth < MAX_DEPTH and self._take("["):
            yield from self._array(path, depth + 1)
        elif depth < MAX_DEPTH and self._take("{"):
            yield from self._inline_table(path, depth + 1)
        else:
            self._skip(_VALUE)

    def _array(self, path: KeyPath, depth: int) -> Iterator[Place]:
        number = 0
        while self.at < len(self.text):
            self._skip_blank()
            if self._take("]"):
                return
            start = self.at
            yield Place((*path, number), self._position(start))
            yield from self._value((*path, number), depth)
            self._skip_blank()
            number += 1
            if not self._take(",") and not self.text.startswith("]", self.at):
                return

    def _inline_table(self, path: KeyPath, depth: int) -> Iterator[Place]:
        while self.at < len(self.text):
            self._skip(_SPACE)
            start = self.at
            if key := self._key():
                yield Place((*path, *key), self._position(start))
            if not self._take("="):
                self._take("}")
                return
            yield from self._value((*path, *key), depth)
            self._skip(_SPACE)
            if not self._take(","):
                self._take("}")
                return

    def _position(self, at: int) -> Position:
        line = bisect.bisect_right(self.lines, at)
        return Position(line, at - self.lines[line - 1] + 1)

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Move beyond what matches the pattern; False: nothing does."""
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return bool(match and match[0])

    def _skip_string(self) -> bool:
        return any(self._skip(pattern) for pattern in _STRINGS)

    def _skip_blank(self) -> None:
        """Move beyond white space, ends of lines and comments."""
        while self.at < len(self.text) and self.text[self.at] in " \t\r\n#":
            if self.text[self.at] == "#":
                self._skip_line()
            else:
                self.at += 1

    def _skip_line(self) -> None:
        end = self.text.find("\n", self.at)
        self.at = len(self.text) if end < 0 else end + 1

    def _take(self, text: str) -> bool:
        """Move beyond this text; False: something else is there."""
        if self.text.startswith(text, self.at):
            self.at += len(text)
            return True
        return False


def _unquoted(key: str) -> str:
    """A key without its quotes and escapes; as it is, if they are not valid."""
    try:
        return next(iter(tomllib.loads(f"{key} = 0")))
    except tomllib.TOMLDecodeError:
        return key
