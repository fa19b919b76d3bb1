"""Where the project and its tests are."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
TESTS = PROJECT / "tests"
CASES = TESTS / "cases"
CHECKOUT = PROJECT.parents[1] if (PROJECT / ".compiled-from").exists() else PROJECT
"""The checkout, of which `PROJECT` may be the compiled copy (scripts/compile)."""
SHARED = CHECKOUT.parent / "shared"
"""Test cases and standards outside of the project; tests skip where it is missing."""
