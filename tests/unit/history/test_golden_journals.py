"""Journals of all versions so far are read for ever, and mean to every reader what they always meant."""

import json

import pytest

from dmarcmilter.history import journal_line_reader
from dmarcmilter.reasons import Language
from tests.support import golden_journals

REWORDED = "a sentence of the catalogue was reworded: `python -m tests.support.golden_journals` writes the new texts"


RENAMED = [
    ("", "quarantine_method", "set_apart"),
    ("", "quarantine_method_reason", "set_apart_reason"),
    ("", "would_action", "would"),
    ("arc", "unresolved", "unsettled"),
    ("dmarc", "dns_failures", "troubles"),
]
"""Part of a record, key, and the key's former name, which is read and written too."""


def test_there_are_journals():
    assert len(golden_journals.NAMES) >= 17


@pytest.mark.parametrize("name", golden_journals.NAMES)
def test_each_line_decodes_to_what_was_written(name):
    for line in golden_journals.lines_of(name):
        written = json.loads(line)
        for part, key, former in RENAMED:
            values = written[part] if part else written
            if former in values:
                values[key] = values[former]
        assert golden_journals.as_json(golden_journals.read(line)) == written


@pytest.mark.parametrize("name", golden_journals.NAMES)
def test_readers_make_of_it_what_they_always_made(name):
    told, expected = golden_journals.told(name), golden_journals.expected(name)
    for line, of_line in zip(told.pop("lines"), expected.pop("lines"), strict=True):
        assert line == of_line
    assert told == expected


@pytest.mark.parametrize("name", ["08-other-discovery", "09-author-unread"])
@pytest.mark.parametrize("size", [2000, 4000, 8192])
def test_statistics_do_not_follow_from_how_much_is_read_at_once(name, size, monkeypatch):
    """Two policies of one Author Domain have equally many messages, and are written in another order."""
    monkeypatch.setattr(journal_line_reader, "CHUNK", size)
    assert golden_journals.told(name)["statistics"] == golden_journals.expected(name)["statistics"]


@pytest.mark.parametrize("name", golden_journals.NAMES)
@pytest.mark.parametrize("language", Language)
def test_sentences(name, language):
    text = (golden_journals.FOLDER / f"{name}.{language}.txt").read_text(encoding="utf-8")
    assert golden_journals.texts(name, language) == text, REWORDED
