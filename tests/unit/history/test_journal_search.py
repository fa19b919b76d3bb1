"""Outcomes found in journal files."""

import json
from datetime import UTC, datetime

import pytest

from dmarcmilter.history import journal_search
from dmarcmilter.history.journal_search import OutcomeSearch
from tests.support import journals


def ids(matches):
    return [match.identity.queue_id for match in matches]


def test_the_newest_comes_first_and_from_all_files(tmp_path):
    for number, name in enumerate(("20270114-1-1.jsonl", "20270115-1-1.jsonl", "20270115-2-2.jsonl")):
        journals.append(tmp_path, [journals.record(queue_id="4ABC", time=journals.at(10 - number))], name)
    days = journal_search.days(tmp_path)
    assert [[path.name for path in day] for day in days] == [
        ["20270115-2-2.jsonl", "20270115-1-1.jsonl"],
        ["20270114-1-1.jsonl"],
    ]
    found = journal_search.in_files([path for day in days for path in day], OutcomeSearch("queue_id", "4ABC"))
    assert [match.identity.time for match in found] == [journals.at(10), journals.at(9), journals.at(8)]
    assert found[0].place == "20270114-1-1.jsonl"


def test_the_id_must_be_the_whole_value_of_its_key(tmp_path):
    others = [
        journals.record(queue_id="4ABCD"),
        journals.record(helo="4ABC"),
        journals.record(queue_id='x","queue_id":"4ABC'),
        journals.record(message_id_hash="4abc4abc4abc4abc"),
    ]
    journals.append(tmp_path, [*others, journals.record(queue_id="4ABC")])
    path = tmp_path / journals.NAME
    assert ids(journal_search.in_files([path], OutcomeSearch("queue_id", "4ABC"))) == ["4ABC"]
    assert ids(journal_search.in_files([path], OutcomeSearch("message_id_hash", "4abc4abc4abc4abc"))) == [
        others[3]["queue_id"]
    ]


def test_since_leaves_out_files_and_lines(tmp_path):
    for day in ("20270113", "20270114", "20270115"):
        journals.append(tmp_path, [journals.record(queue_id="A")], f"{day}-1-1.jsonl")
    journals.append(tmp_path, [journals.record(queue_id="A")], "renamed.jsonl")
    since = datetime(2027, 1, 14, 12, tzinfo=UTC)
    assert [day[0].name for day in journal_search.days(tmp_path, since)] == [
        "renamed.jsonl",
        "20270115-1-1.jsonl",
        "20270114-1-1.jsonl",
    ]
    paths = [path for day in journal_search.days(tmp_path, since) for path in day]
    assert len(journal_search.in_files(paths, OutcomeSearch("queue_id", "A", since))) == 3
    assert not journal_search.in_files(paths, OutcomeSearch("queue_id", "A", datetime(2027, 2, 1, tzinfo=UTC)))


def test_no_journal_yet(tmp_path):
    assert journal_search.days(tmp_path / "none") == []


@pytest.mark.parametrize("block", [1, 7, 64, 1000, 4096])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_lines_over_the_ends_of_blocks(block, end, tmp_path, monkeypatch):
    monkeypatch.setattr(journal_search, "BLOCK", block)
    monkeypatch.setattr(journal_search, "MAX_LINE", 1000)
    path = tmp_path / "f"
    lines = [b"one X", b"", b"two", b"X" * 90, b"three X X", b"four", b"XX"]
    path.write_bytes(b"\n".join(lines) + end)
    assert list(journal_search.backwards(path, b"X")) == [line for line in reversed(lines) if b"X" in line]


def test_a_line_without_end_costs_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_search, "BLOCK", 100)
    monkeypatch.setattr(journal_search, "MAX_LINE", 300)
    path = tmp_path / "f"
    path.write_bytes(b"first X\n" + b"y" * 5000 + b"\nlast X\n")
    found = list(journal_search.backwards(path, b"X"))
    assert (found[0], found[-1]) == (b"last X", b"first X")
    assert all(len(line) <= 400 for line in found)


def test_empty_file(tmp_path):
    (tmp_path / "f").touch()
    assert list(journal_search.backwards(tmp_path / "f", b"X")) == []


def test_lines_that_are_no_outcomes_are_passed_over(tmp_path):
    journals.append(tmp_path, [journals.record(queue_id="A")])
    path = tmp_path / journals.NAME
    with path.open("ab") as file:
        file.write(b'{"queue_id":"A"}\n["A"]\n"A"\n{"v":1,"queue_id":"A","time":\n\xff"A"\n')
        file.write(json.dumps(journals.record(queue_id="A") | {"v": 99}).encode() + b"\n")
        file.write(b'{"torn "A"')
    assert len(journal_search.in_files([path], OutcomeSearch("queue_id", "A"))) == 1


def test_no_more_than_can_be_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_search, "MAX_MATCHES", 3)
    journals.append(tmp_path, [journals.record(queue_id="A", time=journals.at(n)) for n in range(9)])
    found = journal_search.in_files([tmp_path / journals.NAME], OutcomeSearch("queue_id", "A"))
    assert [match.identity.time for match in found] == [journals.at(8), journals.at(7), journals.at(6)]
