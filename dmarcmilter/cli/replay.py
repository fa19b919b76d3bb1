"""`dmarcmilter replay`: what another conf file would have done with the mail that came."""

from datetime import UTC, datetime

import click

from dmarcmilter.cli.support import fail, json_option
from dmarcmilter.cli.time_arguments import FORMS, When


@click.command()
@click.option("--config", "path", required=True, metavar="NEW", help="The conf file to try; its [history] is read.")
@click.option(
    "--since", type=When(), default="7d", metavar="WHEN", show_default=True, help=f"Start of the period: {FORMS}."
)
@click.option("--until", type=When(), metavar="WHEN", help="End of the period, in the same forms; default: now.")
@click.option(
    "--limit-domains",
    type=click.IntRange(min=0),
    default=20,
    metavar="N",
    show_default=True,
    help="Number of domains to show, those with the most changes first.",
)
@json_option
def replay(path: str, since: datetime, until: datetime | None, limit_domains: int, *, as_json: bool) -> None:
    """Decide recorded messages again under another conf file and show what would change.

    Nothing is sent, queried or written. Read from the journal if it reaches back far enough, else from the
    database. Exit status: 0 nothing would change, 1 something would, 2 for an error.
    """
    # SQL is loaded by those who use it, not by every command.
    from dmarcmilter.cli import replaydata, replayview  # noqa: PLC0415

    until = until or datetime.now(UTC)
    if since >= until:
        fail("--since is not before --until")
    found = replaydata.gathered(path, since, until)
    if as_json:
        replayview.print_json(found, limit_domains)
    else:
        replayview.show(found, limit_domains)
    raise SystemExit(1 if found.tally.changed or found.tally.changed_would else 0)
