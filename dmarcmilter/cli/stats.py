"""`dmarcmilter stats`: what the database of outcomes says of a period."""

import csv
import dataclasses
import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from dmarcmilter.cli.common import config_option, fail, json_option, load
from dmarcmilter.cli.statsview import show
from dmarcmilter.history import page, schema
from dmarcmilter.history.stats import Period, Statistics, gather
from dmarcmilter.history.store import Store, StoreError

UNITS = {"h": "hours", "d": "days", "w": "weeks"}


class Since(click.ParamType[datetime]):
    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Now less 12h, 7d, 2w; or the beginning of a day, YYYY-MM-DD of UTC."""
        now = datetime.now(UTC)
        if found := re.fullmatch(r"(\d{1,5})([hdw])", str(value)):
            return now - timedelta(**{UNITS[found[2]]: int(found[1])})
        try:
            return datetime.strptime(str(value), "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            self.fail(f"{value!r} is none of 12h, 7d, 2w, 2026-01-31", param, ctx)


@click.command()
@config_option
@click.option(
    "--since", type=Since(), default="7d", metavar="WHEN", show_default=True, help="12h, 7d, 2w or YYYY-MM-DD."
)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values: section, name, measure, value.")
@click.option("--html", "html", type=click.Path(dir_okay=False), metavar="FILE", help="Write one self-contained page.")
def stats(path: str, since: datetime, html: str | None, *, as_json: bool, as_csv: bool) -> None:
    """Show what was done with mail, whom it hit, what it cost, and what sending domains publish.

    Exit status: 0 shown, 2 the database cannot be used.
    """
    found = _gathered(load(path).history.database, Period(since, datetime.now(UTC)))
    if html:
        _written(html, page.render(found))
    elif as_json:
        click.echo(json.dumps(dataclasses.asdict(found), default=datetime.isoformat))
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("section", "name", "measure", "value"))
        writer.writerows(_cells(found))
    else:
        show(found)


def _gathered(url: str, period: Period) -> Statistics:
    try:
        store = Store(url)
        schema.migrate(store)
        with store.reading() as connection:
            return gather(connection, period)
    except StoreError as error:
        fail(str(error))


def _written(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{path}: {error.strerror or error}")


def _cells(found: Statistics) -> Iterator[tuple[str, str, str, Any]]:
    """Every number of the statistics, with the section it stands in and the name of its line."""
    yield from (("total", "", name, getattr(found, name)) for name in ("messages", "octets"))
    yield from _of_one("cost", "", found.cost)
    sections = {
        **{name: getattr(found, name) for name in ("results", "actions", "would", "timeline", "refused")},
        **{name: getattr(found, name) for name in ("authenticated", "sources", "overrides")},
        **{f"survey {name}": getattr(found.survey, name) for name in page.SURVEY_PARTS},
    }
    for section, lines in sections.items():
        for line in lines:
            yield from _of_one(section, _name(line), line)


def _name(line: Any) -> str:
    """Its texts and times: what tells it from the other lines."""
    values = (getattr(line, field.name) for field in dataclasses.fields(line))
    return " ".join(v if isinstance(v, str) else v.isoformat() for v in values if isinstance(v, str | datetime))


def _of_one(section: str, name: str, line: Any) -> Iterator[tuple[str, str, str, Any]]:
    for field in dataclasses.fields(line):
        value = getattr(line, field.name)
        if isinstance(value, int | float):
            yield section, _harmless(name), field.name, value


def _harmless(text: str) -> str:
    """A spreadsheet would run what begins like a formula; domains are chosen by strangers."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text
