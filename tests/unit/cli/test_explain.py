"""`dmarcmilter explain` and `replay` over a journal and a database, and the language that is spoken."""

import json
import shutil
import sqlite3

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.cli.output_language import of_locale
from dmarcmilter.mail import message_id_hash
from dmarcmilter.reasons import Language
from tests.support import journals
from tests.support.explain_command import explain, matches, replay, run, write_conf

KEY = bytes(range(32))
TODAY, YESTERDAY, OLD = "20270115-1-1.jsonl", "20270114-1-1.jsonl", "20270101-1-1.jsonl"


@pytest.fixture
def conf(tmp_path):
    return write_conf(tmp_path)


def test_found_in_the_journal(conf, tmp_path):
    journals.append(tmp_path / "journal", [journals.record(queue_id="4ABC"), *journals.some(5)], TODAY)
    result = explain(conf, "4ABC")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "2027-01-15 08:00:00.123 UTC, queue id 4ABC, client 192.0.2.1, HELO mta.example.net"
    assert "  DMARC fails: no aligned identifier passed." in lines
    assert "  The message is refused." in lines
    assert '      dkim_domain = ["=list.example"]' in lines
    assert not (tmp_path / "h.db").exists(), "asking makes no database"


def test_not_found(conf, tmp_path):
    journals.append(tmp_path / "journal", journals.some(5), TODAY)
    result = explain(conf, "4ABC")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "'4ABC'" in result.stderr
    assert matches(explain(conf, "4ABC", "--json")) == []


@pytest.mark.parametrize("identifier", ["", "a b", "x" * 101, 'a"b', "queue/id", "日本"])
def test_what_is_no_id(identifier, conf):
    result = explain(conf, identifier)
    assert result.exit_code == 2
    assert "neither a queue id nor a Message-ID" in result.stderr


def test_an_id_that_was_used_again(conf, tmp_path):
    for name, minutes in ((OLD, -20_000), (YESTERDAY, -1000), (TODAY, 5)):
        found = [journals.record(queue_id="A1", time=journals.at(minutes + n)) for n in range(2)]
        journals.append(tmp_path / "journal", found, name)
    newest = explain(conf, "A1", "--json")
    assert [match["record"]["time"] for match in matches(newest)] == [journals.at(6), journals.at(5)]
    every = explain(conf, "A1", "--json", "--all")
    times = [match["record"]["time"] for match in matches(every)]
    assert times == [journals.at(n) for n in (6, 5, -999, -1000, -19_999, -20_000)]
    recent = explain(conf, "A1", "--json", "--all", "--since", "2027-01-10")
    assert len(matches(recent)) == 4
    shown = explain(conf, "A1", "--all")
    assert shown.stdout.count("queue id A1") == 6
    assert "6 outcomes, newest first" in shown.stderr


def test_journal_and_database_tell_an_outcome_once(conf, tmp_path):
    journals.append(tmp_path / "journal", [journals.record(queue_id="A1"), *journals.some(5)], TODAY)
    run("history", "ingest", "--config", conf)
    both = matches(explain(conf, "A1", "--json", "--all"))
    assert [match["place"] for match in both] == [TODAY]
    (tmp_path / "journal" / TODAY).unlink()
    stored = matches(explain(conf, "A1", "--json"))
    assert [match["place"] for match in stored] == ["database"]
    assert stored[0]["explanation"] == both[0]["explanation"]
    assert stored[0]["record"] == both[0]["record"]


def test_a_database_that_cannot_be_used_is_told_and_passed_over(conf, tmp_path):
    (tmp_path / "h.db").write_text("no database\n" * 100, encoding="utf-8")
    journals.append(tmp_path / "journal", [journals.record(queue_id="A1", time=journals.at(-20_000))], OLD)
    for name in (TODAY, YESTERDAY):
        journals.append(tmp_path / "journal", journals.some(1), name)
    result = explain(conf, "A1")
    assert result.exit_code == 0
    assert "the database is not searched" in result.stderr
    assert "queue id A1" in result.stdout


def test_found_by_message_id(conf, tmp_path):
    (tmp_path / "key").write_bytes(KEY)
    hashed = message_id_hash.of_text(b"<x.1@example.com>", KEY)
    record = journals.record(message_id_hash=hashed)
    journals.append(tmp_path / "journal", [record, *journals.some(5)], TODAY)
    for spelling in ("<x.1@example.com>", "x.1@example.com"):
        assert matches(explain(conf, spelling, "--json"))[0]["record"] == record
    run("history", "ingest", "--config", conf)
    (tmp_path / "journal" / TODAY).unlink()
    assert matches(explain(conf, "x.1@example.com", "--json"))[0]["record"] == record
    assert explain(conf, "x.2@example.com").exit_code == 1


def test_without_the_key_no_message_id_can_be_found(conf, tmp_path):
    result = explain(conf, "x.1@example.com")
    assert result.exit_code == 2
    assert f"{tmp_path}/key" in result.stderr
    assert "queue id" in result.stderr
    (tmp_path / "key").write_bytes(b"short")
    assert "too short" in explain(conf, "x.1@example.com").stderr
    (tmp_path / "key").write_bytes(KEY)
    assert explain(conf, "<>").exit_code == 2


def test_an_outcome_that_cannot_be_explained_hides_no_other(conf, tmp_path):
    broken = journals.record(queue_id="A1", time=journals.at(1)) | {"spf": {"result": "pass"}}
    journals.append(tmp_path / "journal", [broken, journals.record(queue_id="A1")], TODAY)
    result = explain(conf, "A1")
    assert result.exit_code == 0
    assert "cannot be explained" in result.stdout
    assert "The message is refused." in result.stdout
    found = matches(explain(conf, "A1", "--json"))
    assert found[0]["explanation"] is None
    assert found[1]["explanation"]["decided"]


@pytest.mark.parametrize("damage", [b'"\xff\xfe"', b"9" * 5000], ids=["bytes that are not UTF-8", "a huge number"])
def test_a_damaged_line_hides_no_other(conf, tmp_path, damage):
    journals.append(tmp_path / "journal", [journals.record(queue_id="A1", time=journals.at(1))], TODAY)
    path = tmp_path / "journal" / TODAY
    path.write_bytes(path.read_bytes().replace(b'"sampled_out":false', b'"sampled_out":' + damage))
    journals.append(tmp_path / "journal", [journals.record(queue_id="A1")], TODAY)
    assert "cannot be explained" in explain(conf, "A1").stdout
    damaged, whole = matches(explain(conf, "A1", "--json"))
    assert (damaged["record"], damaged["explanation"]) == (None, None)
    assert "cannot be explained" in damaged["problem"]
    assert whole["explanation"]["decided"]


def test_what_is_hostile_in_a_journal_never_reaches_the_terminal_raw(conf, tmp_path):
    record = journals.record(queue_id="A1", helo="\x1b[2J\u202e\x07", author_domain="[bold red]x[/]\r\n")
    record["policy"] = record["policy"] | {"record": "v=DMARC1; \x9b\x00"}
    journals.append(tmp_path / "journal", [record], TODAY)
    for lang in ("en", "ja"):
        printed = explain(conf, "A1", "--lang", lang).stdout
        assert all(line.isprintable() for line in printed.split("\n"))
        assert "[bold red]x[/]" in printed
    assert "\x1b" not in explain(conf, "A1", "--json").stdout


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "ja"}, "ja"),
        ({"LANG": "ja_JP.UTF-8", "LC_MESSAGES": "C"}, "en"),
        ({"LANG": "C", "LC_MESSAGES": "ja_JP.eucJP"}, "ja"),
        ({"LANG": "en_GB.UTF-8", "LC_ALL": "ja_JP"}, "ja"),
        ({"LANG": "ja_JP", "LC_ALL": ""}, "ja"),
        ({"LANG": "jam_JM"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LC_ALL": "\x00\udcff"}, "en"),
    ],
)
def test_language_of_the_locale(environment, language):
    assert of_locale(environment) is Language(language)


def test_language_of_the_commands(conf, tmp_path):
    journals.append(tmp_path / "journal", [journals.record(queue_id="A1")], TODAY)
    assert "このメールの扱いは「拒否」です。" in explain(conf, "A1", LC_ALL="ja_JP.UTF-8").stdout
    assert "The message is refused." in explain(conf, "A1", "--lang", "en", LC_ALL="ja_JP.UTF-8").stdout
    assert "このメールの扱いは「拒否」です。" in explain(conf, "A1", "--lang", "ja").stdout
    assert explain(conf, "A1", "--lang", "fr").exit_code == 2
    found = json.loads(explain(conf, "A1", "--lang", "ja", "--json").stdout)
    assert found["language"] == "ja"
    assert found["matches"][0]["explanation"]["decided"][-1] == {
        "code": "done.reject",
        "text": "このメールの扱いは「拒否」です。",
    }


def test_a_terminal_without_japanese_letters(conf, tmp_path):
    journals.append(tmp_path / "journal", [journals.record(queue_id="A1")], TODAY)
    result = CliRunner(charset="latin-1").invoke(main, ["explain", "--config", conf, "--lang", "ja", "A1"])
    assert result.exit_code == 0
    assert "p=reject" in result.stdout


def test_replay_of_the_journal(conf, tmp_path):
    records = [journals.record("reject", queue_id=f"R{n}", author_domain=f"a{n % 3}.example.com") for n in range(9)]
    journals.append(tmp_path / "journal", [*records, *(journals.record("pass") for _ in range(6))], TODAY)
    result = replay(tmp_path, 'mode = "enforce"\nreject_action = "quarantine"', "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (found["messages"], found["changed"], found["unreadable"], found["gaps"]) == (15, 9, 0, {})
    assert found["done"] == [
        {"from": "refused", "to": "held", "messages": 9},
        {"from": "delivered", "to": "delivered", "messages": 6},
    ]
    assert found["source"] == str(tmp_path / "journal")
    assert found["nothing_before"] == "2027-01-15"
    assert [domain["domain"] for domain in found["domains"]] == ["a0.example.com", "a1.example.com", "a2.example.com"]
    assert found["domains"][0]["changes"][0]["examples"] == ["R0", "R3", "R6"]


def test_replay_on_a_terminal(conf, tmp_path):
    records = [journals.record("reject", author_domain=f"a{n}.example.com") for n in range(5)]
    journals.append(tmp_path / "journal", records, TODAY)
    result = replay(tmp_path, 'mode = "monitor"', "--limit-domains", "2")
    text = " ".join(result.stdout.split())
    assert "refused delivered 5" in text
    assert "... and 3 more domains" in text
    assert "Total: 5 of 5 messages would be treated differently (100.00%)." in text
    assert "enforced for everybody" not in text, "what would be done is the same"


def test_replay_where_nothing_changes(conf, tmp_path):
    journals.append(tmp_path / "journal", [journals.record(), journals.record("pass")], TODAY)
    result = replay(tmp_path, 'mode = "enforce"')
    assert result.exit_code == 0
    assert "Total: 0 of 2 messages" in result.stdout


def test_replay_of_the_database_when_it_reaches_back_further(conf, tmp_path):
    journals.append(tmp_path / "journal", [journals.record(time=journals.at(-20_000))], OLD)
    journals.append(tmp_path / "journal", [journals.record()], TODAY)
    run("history", "ingest", "--config", conf)
    (tmp_path / "journal" / OLD).unlink()
    found = json.loads(replay(tmp_path, 'mode = "monitor"', "--json").stdout)
    assert (found["source"], found["messages"], found["changed"]) == ("database", 2, 2)
    # From a day on that the journal holds, it is the journal that is read.
    found = json.loads(replay(tmp_path, 'mode = "monitor"', "--json", "--since", "2027-01-15").stdout)
    assert (found["source"], found["messages"]) == (str(tmp_path / "journal"), 1)


def test_replay_says_what_it_could_not_know(conf, tmp_path):
    old = {name: value for name, value in journals.record().items() if name != "draws"}
    journals.append(tmp_path / "journal", [old, journals.record()], TODAY)
    with (tmp_path / "journal" / TODAY).open("ab") as file:
        file.write(b"\x1b[31m no outcome\n")
    result = replay(tmp_path, '[forwarders]\nnames = ["relay.example"]')
    text = " ".join(result.stdout.split())
    assert "note: 1 messages: recorded by an older version" in text
    assert "note: 1 messages: the client's name was not looked up" in text
    assert "note: 1 lines could not be read" in text


def test_replay_shows_hostile_names_harmlessly(conf, tmp_path):
    record = journals.record(author_domain="[red]\x1b[31mx\u202e", queue_id="\x07[/]Q")
    journals.append(tmp_path / "journal", [record], TODAY)
    printed = replay(tmp_path, 'mode = "monitor"').stdout
    assert all(line.isprintable() for line in printed.split("\n"))
    assert "[red]" in printed


def test_replay_errors(conf, tmp_path):
    assert run("replay", "--config", str(tmp_path / "none.toml")).exit_code == 2
    assert run("replay").exit_code == 2
    assert replay(tmp_path, "", "--until", "2026-11-01").exit_code == 2
    assert replay(tmp_path, "nonsense = 1").exit_code == 2


def test_replay_of_an_empty_journal(conf, tmp_path):
    (tmp_path / "journal").mkdir()
    result = replay(tmp_path, "", "--json")
    nothing = json.loads(result.stdout)
    assert (result.exit_code, nothing["messages"], nothing["changed"]) == (0, 0, 0)


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_replay_without_journal_and_database_is_an_error(conf, tmp_path, arguments):
    """An answer of 0 changes would be a false all-clear: a NEW without the running conf's [history] reads nothing."""
    result = replay(tmp_path, "", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"dmarcmilter: no journal at {tmp_path}/journal and no database: "
        "is [history] the same as in the running conf?\n"
    )


def test_replay_without_a_journal_reads_the_database(conf, tmp_path):
    journals.append(tmp_path / "journal", [journals.record()], TODAY)
    run("history", "ingest", "--config", conf)
    shutil.rmtree(tmp_path / "journal")
    found = json.loads(replay(tmp_path, "", "--json").stdout)
    assert (found["source"], found["messages"]) == ("database", 1)


def test_the_index_by_message_id_is_used(conf, tmp_path):
    journals.append(tmp_path / "journal", [journals.record()], TODAY)
    run("history", "ingest", "--config", conf)
    with sqlite3.connect(tmp_path / "h.db") as connection:
        plan = connection.execute("EXPLAIN QUERY PLAN SELECT * FROM outcomes WHERE message_id_hash = 1").fetchall()
    assert "ix_outcomes_message_id_hash" in str(plan)
