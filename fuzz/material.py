"""Where first inputs come from: the rule tables of the tests and, where they lie beside the project, shared vectors."""

import json
import tomllib
from collections.abc import Iterator
from typing import Any

from fuzz import TESTS
from tests.support.paths import SHARED

VECTORS = SHARED / "vectors"
BETWEEN = b"\n%%\n"
"""Between the parts of an input that has several."""


def parts(data: bytes, count: int) -> list[bytes]:
    """So many parts; those that are missing are empty."""
    found = data.split(BETWEEN, count - 1)
    return found + [b""] * (count - len(found))


def rows(name: str) -> Iterator[dict[str, Any]]:
    """All rows of tests/cases/NAME.toml."""
    table = tomllib.loads((TESTS / "cases" / f"{name}.toml").read_text(encoding="utf-8"))
    for value in table.values():
        if isinstance(value, list):
            yield from (row for row in value if isinstance(row, dict))


def octets(row: dict[str, Any], text: str) -> bytes:
    """Text of a row as it comes on the wire."""
    return text.encode("latin-1" if row.get("latin1") else "utf-8")


def vectors(*kinds: str) -> Iterator[dict[str, Any]]:
    """Vectors of these categories (all: none given); nothing where the vectors are not there."""
    for path in sorted(VECTORS.glob("*/*.jsonl")):
        if kinds and path.stem not in kinds:
            continue
        with path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def message_of(vector: dict[str, Any]) -> bytes:
    """The message of a vector as octets; empty: it has none, or one too long to be of use here."""
    text = vector.get("message", "")
    pieces = [text] if isinstance(text, str) else text
    whole = ""
    for piece in pieces:
        if isinstance(piece, str):
            whole += piece
        elif len(piece["repeat"]) * piece["times"] < 4096:
            whole += "".join(piece["repeat"].replace("{i}", str(i)) for i in range(piece["times"]))
    return whole.encode("latin-1", "replace")


def fields_of(message: bytes, name: bytes) -> Iterator[bytes]:
    """The bodies of the header fields of that name (in lower case), folds kept."""
    head = message.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b"\0 ").replace(b"\r\n\t", b"\0\t")
    for line in head.split(b"\r\n"):
        key, colon, value = line.partition(b":")
        if colon and key.strip().lower() == name:
            yield value.replace(b"\0", b"\r\n")
