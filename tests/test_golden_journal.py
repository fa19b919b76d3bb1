"""Journals of all versions so far are read for ever, and mean to every reader what they always meant."""

import json

import goldenjournal
import pytest

from dmarcmilter.explain import Language

REWORDED = "a sentence of the catalogue was reworded: `python tests/goldenjournal.py` writes the new texts"


def test_there_are_journals():
    assert len(goldenjournal.NAMES) >= 16


@pytest.mark.parametrize("name", goldenjournal.NAMES)
def test_each_line_decodes_to_what_was_written(name):
    for line in goldenjournal.lines_of(name):
        assert goldenjournal.as_json(goldenjournal.read(line)) == json.loads(line)


@pytest.mark.parametrize("name", goldenjournal.NAMES)
def test_readers_make_of_it_what_they_always_made(name):
    told, expected = goldenjournal.told(name), goldenjournal.expected(name)
    for line, of_line in zip(told.pop("lines"), expected.pop("lines"), strict=True):
        assert line == of_line
    assert told == expected


@pytest.mark.parametrize("name", goldenjournal.NAMES)
@pytest.mark.parametrize("language", Language)
def test_sentences(name, language):
    text = (goldenjournal.FOLDER / f"{name}.{language}.txt").read_text(encoding="utf-8")
    assert goldenjournal.texts(name, language) == text, REWORDED
