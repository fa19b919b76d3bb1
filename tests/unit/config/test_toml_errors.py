"""Any conf file that is not TOML gets an error of one line, at a place in it. (The messages: test_conf_errors.py.)"""

import contextlib
import tomllib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dmarcmilter.config import toml_errors
from dmarcmilter.config.schema import Config
from dmarcmilter.config.toml_errors import MAX_SHOWN


def explained(text):
    with pytest.raises(tomllib.TOMLDecodeError) as raised:
        tomllib.loads(text)
    return toml_errors.explain(raised.value, text, Config)


PIECES = st.sampled_from([
    *("[policy]\n", "[[override]]\n", "[a", "]", "{", "}", ",", "=", "#", "\n", " ", "\t", "\r", "\x00"),
    *('mode = "enforce"\n', "mode = enforce\n", "workers: 4\n", "a.b = 1\n", "b = [1,\n", "database = x:y@z\n"),
    *('"', "'", '"""', "'''", "\\", "\\u12", "1979-13-01", "\u201c", "\u00a0", "\U0001f600"),
])  # fmt: skip


@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=60))
@settings(max_examples=200, deadline=None)
@example("a = [\n")
@example("'''")
@example('a = "x\n')
@example("[policy]\nmode = \u201cenforce\u201d")
def test_any_text_gets_one_line_and_a_place_within_the_file(text):
    with contextlib.suppress(tomllib.TOMLDecodeError, RecursionError):
        tomllib.loads(text)
        return
    message, position = explained(text)
    assert message
    assert "\n" not in message
    assert "at line" not in message
    if position is not None:
        lines = text.split("\n")
        assert 1 <= position.line <= len(lines)
        assert 1 <= position.column <= len(lines[position.line - 1]) + 1


@pytest.mark.parametrize(
    "line",
    [
        "database = postgresql://u:hunter2@h/db",
        "database: postgresql://u:hunter2@h/db",
        "database = \u201chunter2\u201d",
    ],
)
def test_no_error_shows_a_password(line):
    message, _ = explained(f"[history]\n{line}\n")
    assert message.startswith("[history] database: ")
    assert "hunter2" not in message


def test_a_long_value_is_not_repeated():
    message, _ = explained(f"[policy]\nreject_text = {'x' * 5000}\n")
    assert message.startswith("[policy] reject_text: ")
    assert len(message) < 3 * MAX_SHOWN + 200


def test_a_value_of_control_characters_moves_no_cursor():
    message, _ = explained("[policy]\nmode = \x1b[2J\n")
    assert message.isprintable()


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('[policy]\nmode = "enforce\n', 2, 16),
        ("a = 1\nb = [1,\n2,\n", 2, 1),
        ("a = 1\nb = {c = 1,\n", 2, 12),
        ("a = '''x\n", 1, 5),
        ("a = 1\nb = [\n# c\n", 2, 1),
        ("a = 1\nb = [[1, 2], [3,\n", 2, 1),
        ("a = 1\nb = {c = 1, d = [2,", 2, 13),
        ("a = 1\nb = {c = 1}\nd =", 3, 1),
        ("a = 1\n\n[b\n", 3, 3),
    ],
)
def test_the_place_is_where_something_begins_that_does_not_end(text, line, column):
    _, position = explained(text)
    assert (position.line, position.column) == (line, column)


def test_a_key_that_is_given_twice_names_the_first_line():
    message, position = explained("[dns]\ntimeout = 1.0\n\ntimeout = 2.0\n")
    assert message == "[dns] timeout is given twice, first in line 2; keep one of the two"
    assert position.line == 4
