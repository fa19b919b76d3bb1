"""`dmarcmilter stats`: statistics of a period from the database, on the terminal, as JSON, CSV or an HTML page."""

import csv
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from dmarcmilter.cli import stats_tables
from dmarcmilter.cli.command_setup import config_option, fail, json_option, load
from dmarcmilter.cli.time_arguments import FORMS, When
from dmarcmilter.config.schema import Config
from dmarcmilter.dmarc.public_suffix import Suffixes, SuffixListError
from dmarcmilter.history import html_report, migrations
from dmarcmilter.history.adoption_survey import SHARE_PARTS, Step
from dmarcmilter.history.statistics import Period, Statistics, StepLength, gather
from dmarcmilter.history.store import Store, StoreError

CSV_HEADING = ("section", "name", "measure", "value")


@click.command()
@config_option
@click.option(
    "--since", type=When(), default="7d", metavar="WHEN", show_default=True, help=f"Start of the period: {FORMS}."
)
@click.option(
    "--by",
    type=click.Choice(["day", "week", "month"]),
    help="Length of a step in adoption over time; default: depends on the period.",
)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values: section, name, measure, value.")
@click.option("--html", "html", type=click.Path(dir_okay=False), metavar="FILE", help="Write one self-contained page.")
def stats(path: str, since: datetime, by: str | None, html: str | None, *, as_json: bool, as_csv: bool) -> None:
    """Show what was done with mail, to which domains, its cost, and what sending domains publish.

    Exit status: 0 shown, 2 the database cannot be used.
    """
    statistics = _statistics(load(path), Period(since, datetime.now(UTC)), StepLength(by) if by else None)
    if html:
        _write_page(html, statistics)
    elif as_json:
        print(json.dumps(msgspec.to_builtins(statistics, builtin_types=(datetime,)), default=datetime.isoformat))
    elif as_csv:
        _print_csv(statistics)
    else:
        stats_tables.show(statistics)


def _statistics(config: Config, period: Period, by: StepLength | None) -> Statistics:
    try:
        suffixes = Suffixes.load(config.dmarc.psl_file)
    except SuffixListError as error:
        fail(str(error))
    try:
        store = Store(config.history.database)
        if store.is_missing:
            # A database made here could be one that the user of the ingest may not write.
            fail("there is no database yet: `dmarcmilter history ingest` makes it")
        migrations.migrate(store)
        with store.reading() as connection:
            return gather(connection, period, suffixes, by=by)
    except StoreError as error:
        fail(str(error))


def _write_page(path: str, statistics: Statistics) -> None:
    try:
        Path(path).write_text(html_report.render(statistics), encoding="utf-8")
    except OSError as error:
        fail(f"{path}: {error.strerror or error}")


def _print_csv(statistics: Statistics) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(CSV_HEADING)
    writer.writerows(_csv_rows(statistics))


CsvRow = tuple[str, str, str, Any]


def _csv_rows(statistics: Statistics) -> Iterator[CsvRow]:
    """Every number of the statistics, with its section and the name of its line."""
    for name in ("messages", "octets"):
        yield "total", "", name, getattr(statistics, name)
    yield from _numbers_of("cost", "", statistics.cost)
    for name in (
        "results",
        "actions",
        "would",
        "modes",
        "timeline",
        "refused",
        "authenticated",
        "sources",
        "overrides",
    ):
        for line in getattr(statistics, name):
            yield from _numbers_of(name, _line_name(line), line)
    for name in (*SHARE_PARTS, "differing"):
        for line in getattr(statistics.survey, name):
            yield from _numbers_of(f"survey {name}", _line_name(line), line)
    for step in statistics.survey.steps:
        yield from _adoption_step(step)


def _adoption_step(step: Step) -> Iterator[CsvRow]:
    """The name of a line is the start of the step, and the type or policy."""
    start = step.start.isoformat()
    yield from _numbers_of("adoption", start, step)
    for section, shares in (("adoption types", step.types), ("adoption policies", step.policies)):
        for share in shares:
            yield from _numbers_of(section, f"{start} {share.name}", share)


def _line_name(line: Any) -> str:
    """The texts and times of a line, which distinguish it from the others of its section."""
    values = msgspec.structs.astuple(line)
    return " ".join(v if isinstance(v, str) else v.isoformat() for v in values if isinstance(v, str | datetime))


def _numbers_of(section: str, name: str, line: Any) -> Iterator[CsvRow]:
    for measure, value in msgspec.structs.asdict(line).items():
        if isinstance(value, int | float):
            yield section, _no_formula(name), measure, value


def _no_formula(text: str) -> str:
    """Quote what a spreadsheet would run as a formula: senders choose the domains."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text
