"""Tests that need the interpreted build (see tests/unit/test_build_kind.py): the sources are the same in both."""

import pytest

from dmarcmilter.build_kind import BuildKind, build_kind


def _interpreted_only(reason):
    return pytest.mark.skipif(build_kind() is BuildKind.COMPILED, reason=reason)


counts_calls = _interpreted_only("counts the calls of a function by replacing it; compiled code calls it directly")
plants_bugs = _interpreted_only("puts a bug in the place of a function; compiled code calls the function directly")
sets_limits = _interpreted_only("sets another limit than the constant of a module, which compiled code has inlined")
traces_lines = _interpreted_only("ends the process at each line, and compiled code has none")
runs_scripts = _interpreted_only("tests the scripts that compile, which are not compiled themselves")
