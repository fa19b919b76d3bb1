"""The layout of the tests: by kind, and tests/unit and tests/wire in the folders of the package."""

import ast

import pytest

from tests.support.paths import PROJECT, TESTS

KINDS = {"unit", "properties", "wire", "mta", "docs"}
FILES = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("*.py"))
TEST_FILES = [name for name in FILES if name.rpartition("/")[2].startswith("test_")]
PACKAGE = PROJECT / "dmarcmilter"


def imports_of(name):
    """Dotted names that a file imports; `from a import b` counts as a.b."""
    for node in ast.walk(ast.parse((TESTS / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("name", TEST_FILES)
def test_each_test_file_is_in_a_folder_of_its_kind(name):
    kind, *folders, _ = name.split("/")
    assert kind in KINDS, "move the file to tests/unit, tests/wire, ... (see CONTRIBUTING.md)"
    if kind in {"unit", "wire"}:
        assert PACKAGE.joinpath(*folders).is_dir(), f"dmarcmilter has no package {'.'.join(folders)}"


@pytest.mark.parametrize("name", FILES)
def test_no_test_imports_another_test(name):
    """What tests share is in tests/support."""
    imported = [found for found in imports_of(name) if "test_" in found.partition(".")[0] or ".test_" in found]
    assert not [found for found in imported if not found.startswith("dmarcmilter.")]
    assert not [found for found in imported if found.startswith("tests.") and not found.startswith("tests.support.")]
