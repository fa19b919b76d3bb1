"""docs/explain.md shows what the commands print, word by word."""

import json
import re
from ipaddress import ip_address

import pytest
from click.testing import CliRunner

from dmarcmilter.auth.signature_fault import SignatureFault
from dmarcmilter.cli import main
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.value import replace
from tests.support import journals, outcomes
from tests.support.paths import PROJECT

PAGE = (PROJECT / "docs" / "explain.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```console\n\$ dmarcmilter ([^\n]+)\n(.*?)```", PAGE, re.DOTALL))
"""By the arguments of the command."""


def matched(term):
    return Reason.of(Code.SPF_MATCHED_TERM, term=term)


def broken(domain):
    return replace(outcomes.dkim(f"fail {domain}"), selector="s2026", reason=SignatureFault.BODY_MISMATCH.reason)


def passed(domain):
    return replace(outcomes.dkim(f"pass {domain}"), selector="lists")


def outcome(queue_id, client, helo, found, *lines):
    mail = outcomes.message(*lines, queue_id=queue_id, client_ip=ip_address(client), helo=helo)
    return outcomes.recorded(outcomes.outcome(outcomes.evidence(**found), mail, rollout_draw=0))


OUTCOMES = [
    outcome(
        "4dXq1k5Zz1",
        "198.51.100.9",
        b"mail.attacker.example",
        {"spf": replace(outcomes.spf("fail example.com"), reason=matched("-all")), "record": "v=DMARC1; p=reject"},
    ),
    outcome(
        "4dXq2k5Zz2",
        "203.0.113.80",
        b"lists.example",
        {
            "spf": replace(outcomes.spf("pass lists.example"), reason=matched("mx")),
            "dkim": [passed("lists.example"), broken("example.com")],
        },
        "List-Id: Chat <chat.lists.example>",
    ),
]


@pytest.fixture
def conf(tmp_path):
    journals.append(tmp_path / "journal", OUTCOMES, "20270115-1-1.jsonl")
    (tmp_path / "list.dat").write_text("com\nexample\n", encoding="utf-8")
    path = tmp_path / "new.toml"
    path.write_text(
        f'[policy]\nmode = "enforce"\nmailing_lists = ["lists.example"]\n[dmarc]\npsl_file = "{tmp_path}/list.dat"\n'
        f'[history]\njournal = "{tmp_path}/journal"\ndatabase = "sqlite:///{tmp_path}/h.db"\n',
        encoding="utf-8",
    )
    return path


def printed(conf, arguments):
    words = arguments.replace("--config new.toml", "").split()
    environment = {"LC_ALL": "C.UTF-8", "COLUMNS": "100"}
    return CliRunner().invoke(main, [words[0], "--config", str(conf), *words[1:]], env=environment).stdout


@pytest.mark.parametrize("arguments", BLOCKS)
def test_the_page_shows_what_is_printed(arguments, conf):
    shown = [line.rstrip() for line in BLOCKS[arguments].splitlines()]
    real = printed(conf, arguments).replace(str(conf.parent), "/var/lib/dmarcmilter")
    assert [line.rstrip() for line in real.splitlines()] == shown


def test_the_page_shows_both_and_one_in_japanese():
    ids = [found["queue_id"] for found in OUTCOMES]
    shown = {words for words in BLOCKS if words.startswith("explain")}
    assert shown == {*(f"explain {queue_id}" for queue_id in ids), f"explain {ids[-1]} --lang ja"}
    assert any(words.startswith("replay") for words in BLOCKS)


def test_the_page_names_the_keys_of_json(conf):
    found = json.loads(printed(conf, "explain 4dXq1k5Zz1 --json"))
    keys = {*found, *found["matches"][0], *found["matches"][0]["explanation"], "code", "text", "conf"}
    assert not [key for key in keys if f"`{key}`" not in PAGE]
    replayed = json.loads(printed(conf, "replay --config new.toml --since 2027-01-01 --until 2027-02-01 --json"))
    assert not [key for key in replayed if f"`{key}`" not in PAGE]
