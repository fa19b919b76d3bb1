"""The tables of cases in tests/cases."""

import tomllib
from typing import Any

from tests.support.paths import CASES


def case_table(name: str) -> dict[str, Any]:
    """The content of tests/cases/NAME.toml."""
    return tomllib.loads((CASES / f"{name}.toml").read_text(encoding="utf-8"))
