"""`dmarcmilter stats`: what the database of outcomes says of a period."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from dmarcmilter.cli.common import config_option, json_option, load

UNITS = {"h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=3653)
"""Each day has its place in the timeline."""


class Since(click.ParamType[datetime]):
    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Now less 12h, 7d, 2w; or the beginning of a day, YYYY-MM-DD of UTC."""
        now = datetime.now(UTC)
        found = _since(str(value), now)
        if found is None or now - found > LONGEST:
            self.fail(f"{value!r} is none of 12h, 7d, 2w, 2026-01-31, or longer ago than ten years", param, ctx)
        return found


def _since(text: str, now: datetime) -> datetime | None:
    if found := re.fullmatch(r"([0-9]{1,5})([hdw])", text):
        return now - timedelta(**{UNITS[found[2]]: int(found[1])})
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


@click.command()
@config_option
@click.option(
    "--since", type=Since(), default="7d", metavar="WHEN", show_default=True, help="12h, 7d, 2w or YYYY-MM-DD."
)
@click.option(
    "--by",
    type=click.Choice(["day", "week", "month"]),
    help="The steps of adoption over time; default: by the length of the period.",
)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values: section, name, measure, value.")
@click.option("--html", "html", type=click.Path(dir_okay=False), metavar="FILE", help="Write one self-contained page.")
def stats(path: str, since: datetime, by: str | None, html: str | None, *, as_json: bool, as_csv: bool) -> None:
    """Show what was done with mail, whom it hit, what it cost, and what sending domains publish.

    Exit status: 0 shown, 2 the database cannot be used.
    """
    # SQL is loaded by those who use it, not by every command.
    from dmarcmilter.cli import statsdata, statsview  # noqa: PLC0415
    from dmarcmilter.history.stats import By  # noqa: PLC0415

    found = statsdata.gathered(load(path), since, datetime.now(UTC), By(by) if by else None)
    if html:
        statsdata.write_page(html, found)
    elif as_json:
        statsdata.print_json(found)
    elif as_csv:
        statsdata.print_csv(found)
    else:
        statsview.show(found)
