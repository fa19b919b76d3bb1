"""Where the project and its tests are."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
TESTS = PROJECT / "tests"
CASES = TESTS / "cases"
