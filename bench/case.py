"""One class of hostile input: how to make it at a size, and what has to read it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Case:
    module: str
    name: str
    largest: int
    """The size that the limits of the filter, of DNS or of libmilter let through (or one just beyond a limit)."""
    make: Callable[[int], Any]
    """The input of that size; not measured."""
    read: Callable[[Any], object]
    unit: str = "bytes"
