"""`dmarcmilter replay`: what another conf file would have done with the mail that came."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from dmarcmilter import receiver
from dmarcmilter.cli import replay_tables
from dmarcmilter.cli.command_setup import fail, json_option, load
from dmarcmilter.cli.replay_tables import Replayed
from dmarcmilter.cli.time_arguments import FORMS, When
from dmarcmilter.config.load import ConfigError
from dmarcmilter.config.schema import Config
from dmarcmilter.explain import replay_comparison
from dmarcmilter.explain.replay import Terms
from dmarcmilter.explain.replay_comparison import ReplayTally, Span
from dmarcmilter.history import journal_search, migrations, outcome_reader
from dmarcmilter.history.store import Store, StoreError


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
    until = until or datetime.now(UTC)
    if since >= until:
        fail("--since is not before --until")
    replayed = _replayed(path, Span(since, until))
    if as_json:
        replay_tables.print_json(replayed, limit_domains)
    else:
        replay_tables.show(replayed, limit_domains)
    raise SystemExit(1 if replayed.tally.changed or replayed.tally.changed_would else 0)


def _replayed(path: str, span: Span) -> Replayed:
    config = load(path)
    tally = ReplayTally(_terms(config))
    try:
        return _from_history(config, span, tally)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    except StoreError as error:
        fail(str(error))


def _terms(config: Config) -> Terms:
    try:
        settings = receiver.build(config, keep_key=False).pipeline
    except ConfigError as error:
        fail(str(error))
    return Terms(
        rules=settings.rules,
        method=settings.discovery.method,
        honor_pct=settings.discovery.honor_pct,
        suffixes=settings.discovery.suffixes,
        asks_recipients=settings.facts.recipients.configured,
    )


def _from_history(config: Config, span: Span, tally: ReplayTally) -> Replayed:
    """Read the journal if it reaches back far enough, else the database: the journal is newer and faster to read."""
    directory = Path(config.history.journal)
    last = f"{span.until:%Y%m%d}"
    days = [paths for paths in journal_search.days(directory, span.since) if paths[0].name[:8] <= last]
    oldest = days[-1][0].name[:8] if days else ""
    if oldest and oldest <= f"{span.since:%Y%m%d}":
        return _read_journal(directory, days, span, tally, first="")
    store = Store(config.history.database)
    if store.is_missing and not directory.is_dir():
        fail(f"no journal at {directory} and no database: is [history] the same as in the running conf?")
    first, outcomes = _span_of(store, span)
    if outcomes and first is not None and (not oldest or f"{first:%Y%m%d}" < oldest):
        with store.reading() as connection, _progress(outcomes) as read:
            replay_comparison.of_store(connection, span, tally, read)
        return Replayed(tally, span, "database", f"{first:%Y-%m-%d %H:%M} UTC" if first > span.since else "")
    since = f"{oldest[:4]}-{oldest[4:6]}-{oldest[6:]}" if oldest else ""
    return _read_journal(directory, days, span, tally, first=since)


def _span_of(store: Store, span: Span) -> tuple[datetime | None, int]:
    if store.is_missing:
        return None, 0
    migrations.migrate(store)
    with store.reading() as connection:
        return outcome_reader.first_between(connection, span.since, span.until)


def _read_journal(directory: Path, days: list[list[Path]], span: Span, tally: ReplayTally, *, first: str) -> Replayed:
    paths = [path for day in reversed(days) for path in reversed(day)]
    with _progress(sum(path.stat().st_size for path in paths)) as read:
        replay_comparison.of_journal(paths, span, tally, read)
    return Replayed(tally, span, str(directory), first)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error when that is a terminal; yield the function that advances it."""
    console = Console(file=sys.stderr)
    columns = (TextColumn("replaying"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=max(total, 1))
        yield lambda step: progress.advance(task, step)
