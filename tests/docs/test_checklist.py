"""Every rule that a receiver has to follow is covered by a row or by a test that names it.

The rules stand in cases/checklist.toml. A row of another table names them in `ids = ["DKIM-12", "SPF-03"]`. A test
names them in a comment of its own line that begins with them: `# DKIM-12, SPF-03`, with or without words behind a
colon. Rules that no code follows yet, or ever, say so in `where`.
"""

import re
import tomllib
from collections import Counter

import pytest

from tests.support.paths import SHARED, TESTS

CHECKLIST = SHARED / "docs" / "receiver-checklist.md"

RULES = {rule["id"]: rule for rule in tomllib.loads((TESTS / "cases" / "checklist.toml").read_text("utf-8"))["rule"]}
LEVELS = {"MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "RULE", "REC", "INFO"}

ID = r"(?:FROM|DISC|REC|ALIGN|POL|RES|AR|SPF|DKIM|ARC|AGG|RUF)-[0-9]{2}"
OTHER_ID = r"AMB-[0-9]{2}"
"""A choice where the RFCs are ambiguous: explained in docs, no rule of its own."""
COMMENT = re.compile(rf"^\s*# ((?:{ID}|{OTHER_ID})(?:, (?:{ID}|{OTHER_ID}))*)(?=$|:|\.)", re.MULTILINE)
ITEM = re.compile(rf"^- \*\*({ID})\*\*", re.MULTILINE)
AFTER_THE_RULES = "## 11."


def ids_of_rows(value):
    """All `ids` in a table, at whatever depth."""
    if isinstance(value, dict):
        yield from (name for name in value.get("ids", ()) if re.fullmatch(ID, name))
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from ids_of_rows(item)


def covered():
    """How often each rule is named."""
    found = Counter()
    for path in (TESTS / "cases").glob("*.toml"):
        found.update(ids_of_rows(tomllib.loads(path.read_text(encoding="utf-8"))))
    for path in TESTS.rglob("*.py"):
        for match in COMMENT.finditer(path.read_text(encoding="utf-8")):
            found.update(re.findall(ID, match[1]))
    return found


def test_every_rule_is_covered():
    named = covered()
    missing = [f"{name} {rule['level']}: {rule['says']}" for name, rule in RULES.items() if not named[name]]
    assert not [line for line in missing if "where" not in RULES[line.split()[0]]]


def test_what_is_named_is_a_rule():
    assert not set(covered()) - set(RULES)


def test_what_is_covered_needs_no_excuse():
    named = covered()
    assert not [name for name, rule in RULES.items() if "where" in rule and named[name]]


def test_rules_are_complete():
    assert {rule["level"] for rule in RULES.values()} <= LEVELS
    assert all(rule["says"] and re.match(r"[0-9]{4}\b", rule["rfc"]) for rule in RULES.values())
    text = (TESTS / "cases" / "checklist.toml").read_text("utf-8")
    assert text.count("{ id = ") == len(RULES), "an id stands twice"


def test_the_list_is_that_of_the_receiver_checklist():
    if not CHECKLIST.is_file():
        pytest.skip("../shared/docs/receiver-checklist.md is missing: the list of rules was not compared with it")
    text = CHECKLIST.read_text(encoding="utf-8").partition(AFTER_THE_RULES)[0]
    assert set(ITEM.findall(text)) == set(RULES)
