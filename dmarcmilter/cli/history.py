"""`dmarcmilter history`: the journal into the database, and what is too old out of it."""

import click

from dmarcmilter.cli.common import config_option, load


@click.group()
def history() -> None:
    """Fill and tidy the database of outcomes."""


@history.command("ingest")
@config_option
@click.option(
    "--follow", is_flag=True, help="Go on with what is written from now on; wait for a database that is down."
)
def ingest(path: str, *, follow: bool) -> None:
    """Take the journal's outcomes into the database, each exactly once.

    Exit status: 0 done, 2 the database cannot be used (--follow waits for it).
    """
    # SQL is loaded by those who use it, not by every command.
    from dmarcmilter.cli import historywork  # noqa: PLC0415

    historywork.ingest(load(path), follow=follow)


@history.command("purge")
@config_option
@click.option("--older-than", "days", type=click.IntRange(min=0), required=True, metavar="DAYS", help="UTC days.")
def purge(path: str, days: int) -> None:
    """Remove outcomes of before the last DAYS days from the database."""
    from dmarcmilter.cli import historywork  # noqa: PLC0415

    historywork.purge(load(path), days)
