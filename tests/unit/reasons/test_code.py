"""Reason codes as the program uses them: none is unused, and each is made with its parameters."""

import ast
import re
from pathlib import Path

import pytest

import dmarcmilter
from dmarcmilter.reasons import Code
from dmarcmilter.reasons.catalogue import parameters_of

PACKAGE = Path(dmarcmilter.__file__).parent


def test_no_code_is_unused():
    """Each code is written by the program, or known from what an older version wrote."""
    sources = [path for path in PACKAGE.rglob("*.py") if path.name != "code.py"]
    written = set(re.findall(r"Code\.([A-Z0-9_]+)", "".join(path.read_text(encoding="utf-8") for path in sources)))
    old = (PACKAGE / "reasons" / "old_texts.toml").read_text(encoding="utf-8")
    assert {code.name for code in Code} <= written | {key.upper() for key in re.findall(r"^(\w+) =", old, re.MULTILINE)}


def reasons_made():
    """Each `Reason.of(Code.X, ...)` in the program: where it stands, its code, the names of its parameters."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Reason.of":
                code, names = node.args[0], frozenset(keyword.arg for keyword in node.keywords)
                if isinstance(code, ast.Attribute) and getattr(code.value, "id", "") == "Code":
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", Code[code.attr], names


@pytest.mark.slow
def test_each_reason_is_made_with_the_parameters_of_its_code():
    made = list(reasons_made())
    assert len(made) > 100
    assert not [place for place, code, names in made if names != parameters_of(code)]
