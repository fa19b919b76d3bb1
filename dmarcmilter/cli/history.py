"""`dmarcmilter history`: the journal into the database, and what is too old out of it."""

import click

from dmarcmilter.cli.common import act_as_filters_user, config_option, load, make_private
from dmarcmilter.cli.time_arguments import FORMS, Days


@click.group()
def history() -> None:
    """Fill and tidy the database of outcomes."""
    make_private()


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

    config = load(path)
    act_as_filters_user(config, path)
    historywork.ingest(config, follow=follow)


@history.command("purge")
@config_option
@click.option(
    "--older-than", "days", type=Days(), required=True, metavar="DAYS", help=f"UTC days before today; or {FORMS}."
)
def purge(path: str, days: int) -> None:
    """Remove outcomes of before the last DAYS days from the database."""
    from dmarcmilter.cli import historywork  # noqa: PLC0415

    config = load(path)
    act_as_filters_user(config, path)
    historywork.purge(config, days)


@history.command("import-opendmarc")
@click.argument("file", metavar="FILE")
@config_option
@click.option("-n", "--dry-run", "dry", is_flag=True, help="Count only; nothing is written.")
def import_opendmarc(file: str, path: str, *, dry: bool) -> None:
    """Take the outcomes of OpenDMARC's history FILE into the database, each exactly once.

    FILE may still be written to: imported again, it brings what is new. What is taken in counts in statistics;
    it is never reported to domains, as that was OpenDMARC's part.

    Exit status: 0 done, 1 FILE is no history file of OpenDMARC, 2 FILE or the database cannot be used.
    """
    from dmarcmilter.cli import importwork  # noqa: PLC0415

    importwork.import_opendmarc(load(path), file, dry=dry)
