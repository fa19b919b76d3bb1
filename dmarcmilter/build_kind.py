"""Whether this installation's mail path is compiled (docs/performance.md), or runs interpreted."""

import importlib.util
from enum import StrEnum
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES

_PROBE = "dmarcmilter.pipeline"
"""One of the modules that are compiled; they are built together or not at all."""


class BuildKind(StrEnum):
    COMPILED = "compiled"
    INTERPRETED = "interpreted"


@cache
def build_kind() -> BuildKind:
    """The kind of this installation. Finds the module without importing it, so that `--version` is fast."""
    spec = importlib.util.find_spec(_PROBE)
    origin = (spec and spec.origin) or ""
    return BuildKind.COMPILED if origin.endswith(tuple(EXTENSION_SUFFIXES)) else BuildKind.INTERPRETED
