"""scripts/audit: what was not asked for is no clean bill of health."""

import importlib.machinery
import importlib.util
import json

import pytest

from tests.support.paths import PROJECT


@pytest.fixture(scope="module")
def audit():
    loader = importlib.machinery.SourceFileLoader("audit", str(PROJECT / "scripts" / "audit"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("audit", loader))
    loader.exec_module(module)
    return module


CLEAN = {"name": "click", "version": "8.1", "vulns": []}
FAULTY = {"name": "idna", "version": "3.6", "vulns": [{"id": "PYSEC-2024-60", "fix_versions": ["3.7"]}]}
UNMENDED = {"name": "x", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": []}]}
SKIPPED = {"name": "rich", "skip_reason": "Dependency not found on PyPI and could not be audited: rich (15.0.0)"}


@pytest.mark.parametrize(
    ("found", "status", "told"),
    [
        ([CLEAN], 0, ("1 packages, no known vulnerability\n", "")),
        ([CLEAN, FAULTY], 1, ("idna 3.6: PYSEC-2024-60, mended in 3.7\n", "")),
        ([UNMENDED], 1, ("x 1: CVE-1, mended in no version yet\n", "")),
        ([CLEAN, SKIPPED], 2, ("", "1 of 2 packages could not be asked for")),
        ([FAULTY, SKIPPED], 1, ("idna 3.6: PYSEC-2024-60, mended in 3.7\n", "NOT AUDITED")),
        ([], 2, ("", "NOT AUDITED")),
    ],
)
def test_judged(audit, found, status, told, capsys):
    assert audit.judged(json.dumps({"dependencies": found, "fixes": []})) == status
    said = capsys.readouterr()
    assert (said.out, told[1] in said.err) == (told[0], True)


@pytest.mark.parametrize("answer", ["", "no JSON", "[]", "{}", '{"dependencies": [{"vulns": [1]}]}'])
def test_no_answer_fails(audit, answer, capsys):
    assert audit.judged(answer, "Traceback\nConnectionError: no route") == 2
    assert "NOT AUDITED: ConnectionError: no route" in capsys.readouterr().err
