"""Statistics for the command: out of the database, and into each form that is not for a terminal."""

import csv
import dataclasses
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from dmarcmilter.cli.common import fail
from dmarcmilter.config.schema import Config
from dmarcmilter.dmarc.public_suffix import Suffixes, SuffixListError
from dmarcmilter.history import html_report, migrations
from dmarcmilter.history.adoption import SHARE_PARTS, Step
from dmarcmilter.history.statistics import By, Period, Statistics, gather
from dmarcmilter.history.store import Store, StoreError


def gathered(config: Config, since: datetime, until: datetime, by: By | None) -> Statistics:
    try:
        suffixes = Suffixes.load(config.dmarc.psl_file)
    except SuffixListError as error:
        fail(str(error))
    url = config.history.database
    try:
        store = Store(url)
        if store.is_missing:
            # Made by whoever asks first, it might not be writable for those who fill it.
            fail("there is no database yet: `dmarcmilter history ingest` makes it")
        migrations.migrate(store)
        with store.reading() as connection:
            return gather(connection, Period(since, until), suffixes, by=by)
    except StoreError as error:
        fail(str(error))


def write_page(path: str, found: Statistics) -> None:
    try:
        Path(path).write_text(html_report.render(found), encoding="utf-8")
    except OSError as error:
        fail(f"{path}: {error.strerror or error}")


def print_json(found: Statistics) -> None:
    print(json.dumps(dataclasses.asdict(found), default=datetime.isoformat))


def print_csv(found: Statistics) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("section", "name", "measure", "value"))
    writer.writerows(_cells(found))


def _cells(found: Statistics) -> Iterator[tuple[str, str, str, Any]]:
    """Every number of the statistics, with the section it stands in and the name of its line."""
    yield from (("total", "", name, getattr(found, name)) for name in ("messages", "octets"))
    yield from _of_one("cost", "", found.cost)
    sections = {
        **{name: getattr(found, name) for name in ("results", "actions", "would", "modes", "timeline", "refused")},
        **{name: getattr(found, name) for name in ("authenticated", "sources", "overrides")},
        **{f"survey {name}": getattr(found.survey, name) for name in (*SHARE_PARTS, "differing")},
    }
    for section, lines in sections.items():
        for line in lines:
            yield from _of_one(section, _name(line), line)
    for step in found.survey.steps:
        yield from _of_step(step)


def _of_step(step: Step) -> Iterator[tuple[str, str, str, Any]]:
    """A line's name is the start of the step, and the type or policy."""
    start = step.start.isoformat()
    yield from _of_one("adoption", start, step)
    for section, shares in (("adoption types", step.types), ("adoption policies", step.policies)):
        for share in shares:
            yield from _of_one(section, f"{start} {share.name}", share)


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
