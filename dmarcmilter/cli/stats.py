"""`dmarcmilter stats`: what the database of outcomes says of a period."""

from datetime import UTC, datetime

import click

from dmarcmilter.cli import time_arguments
from dmarcmilter.cli.common import config_option, json_option, load
from dmarcmilter.cli.time_arguments import When


@click.command()
@config_option
@click.option(
    "--since",
    type=When(),
    default="7d",
    metavar="WHEN",
    show_default=True,
    help=f"From then on: {time_arguments.FORMS}.",
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
    from dmarcmilter.history.statistics import By  # noqa: PLC0415

    found = statsdata.gathered(load(path), since, datetime.now(UTC), By(by) if by else None)
    if html:
        statsdata.write_page(html, found)
    elif as_json:
        statsdata.print_json(found)
    elif as_csv:
        statsdata.print_csv(found)
    else:
        statsview.show(found)
