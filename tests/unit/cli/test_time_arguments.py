"""Dates and times of options: the same forms everywhere, by one parser."""

from datetime import UTC, date, datetime, timedelta

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from dmarcmilter.cli import main
from dmarcmilter.cli.time_arguments import FORMS, Day, Days, When, parse

NOW = datetime(2026, 11, 28, 15, 30, tzinfo=UTC)
MIDNIGHT = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12h", NOW - timedelta(hours=12)),
        ("7d", NOW - timedelta(days=7)),
        ("2w", NOW - timedelta(days=14)),
        ("0d", NOW),
        ("2026-01-31", MIDNIGHT),
        ("2026-01-31T12:00", MIDNIGHT.replace(hour=12)),
        ("2026-01-31 12:00:01", MIDNIGHT.replace(hour=12, second=1)),
        ("2026-01-31T12:00:00.123Z", MIDNIGHT.replace(hour=12, microsecond=123000)),
        ("2026-01-31T12:00+09:00", MIDNIGHT.replace(hour=3)),
        ("0001-01-01T00:00+09:00", None),
        ("", None),
        ("yesterday", None),
        ("7", None),
        ("-1d", None),
        ("1.5d", None),
        ("7D", None),
        ("2026-02-30", None),
        ("2026-1-31", None),
        ("20260131", None),
        ("2026-W05", None),
        ("2026-01-31T25:00", None),
        ("\u0661d", None),
        ("31.01.2026", None),
    ],
)
def test_forms(text, expected):
    assert parse(text, NOW) == expected


@given(st.text(max_size=40) | st.from_regex(r"[0-9T: .Z+-]{0,30}", fullmatch=True))
def test_any_text(text):
    moment = parse(text, NOW)
    assert moment is None or moment.tzinfo is UTC


def options():
    """All options of all commands that take a date or a time: those whose help names one."""

    def below(command, path=()):
        for parameter in command.params:
            if isinstance(parameter.type, When | Day | Days | click.DateTime):
                yield (*path, parameter.opts[0]), parameter
        for name, child in getattr(command, "commands", {}).items():
            yield from below(child, (*path, name))

    return dict(below(main))


def test_every_option_takes_the_same_forms():
    assert {" ".join(path) for path in options()} == {
        "explain --since",
        "history purge --older-than",
        "quarantine delete --older-than",
        "quarantine release --older-than",
        "replay --since",
        "replay --until",
        "report run --day",
        "report show --day",
        "stats --since",
    }
    now = datetime.now(UTC)
    for path, parameter in options().items():
        assert FORMS in parameter.help or "same forms" in parameter.help, path
        for text in ("7d", f"{now - timedelta(days=7):%Y-%m-%d}", f"{now - timedelta(days=7):%Y-%m-%dT%H:%M}"):
            value = parameter.type.convert(text, parameter, None)
            day = now.date() - timedelta(days=7)
            expected = {When: day, Day: day, Days: 7}[type(parameter.type)]
            assert (value.date() if isinstance(value, datetime) else value) == expected, (path, text)


@pytest.mark.parametrize("path", options(), ids=" ".join)
def test_every_error_names_the_forms(path):
    *command, option = path
    if command == ["report", "show"]:
        command.append("example.com")
    refused = CliRunner().invoke(main, [*command, option, "yesterday"])
    assert refused.exit_code == 2
    assert "".join(FORMS.split()) in "".join(refused.output.split()).replace("│", "")


def test_a_number_of_days():
    assert Days().convert("90", None, None) == 90
    assert Days().convert("2w", None, None) == 14
    with pytest.raises(click.UsageError):
        Days().convert("2999-01-01", None, None)


def test_values_that_are_converted_already():
    assert When().convert(NOW, None, None) == NOW
    assert Day().convert(date(2026, 1, 31), None, None) == date(2026, 1, 31)
