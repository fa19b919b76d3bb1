"""docs/dev/threats.md: each threat names the tests that show its defense, and those tests exist."""

import ast
import re
from functools import cache

import pytest

from tests.support.paths import TESTS

TEXT = (TESTS.parent / "docs" / "dev" / "threats.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+/test_\w+\.py)::(test_\w+)`", TEXT)))
THREATS = [
    line
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith(("| attack ", "|---"))
]  # fmt: skip


@cache
def functions(file):
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_each_test_that_is_named_exists(file, name):
    assert name in functions(file)


@pytest.mark.parametrize("line", THREATS)
def test_each_threat_has_a_defense_and_a_test(line):
    _, threat, defense, shown, _ = line.split("|")
    assert threat.strip()
    assert defense.strip()
    assert re.fullmatch(r" `[\w/]+/test_\w+\.py::test_\w+`(, `[\w/]+/test_\w+\.py::test_\w+`)* ", shown)


def test_the_page_is_not_empty():
    assert len(THREATS) > 40


def test_security_md_points_to_what_there_is():
    text = (TESTS.parent / "SECURITY.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([\w./]+)\)", text)
    assert links
    assert all((TESTS.parent / link).is_file() for link in links)
    # No address but that of debian/control, which it points to.
    assert "@" not in text
