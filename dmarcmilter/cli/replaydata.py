"""Where the outcomes to replay come from, and the counting of them with a progress bar."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from dmarcmilter import receiver
from dmarcmilter.cli.support import fail, load
from dmarcmilter.config.load import ConfigError
from dmarcmilter.config.schema import Config
from dmarcmilter.explain import replay_comparison
from dmarcmilter.explain.replay import Terms
from dmarcmilter.explain.replay_comparison import Span, Tally
from dmarcmilter.history import journal_search, migrations, outcome_reader
from dmarcmilter.history.store import Store, StoreError


@dataclass(frozen=True, slots=True)
class Replayed:
    tally: Tally
    span: Span
    source: str
    """The journal's directory, or "database"."""
    first: str
    """The day or time from which on there is something, when that is later than was asked for; else empty."""


def gathered(path: str, since: datetime, until: datetime) -> Replayed:
    config = load(path)
    span = Span(since, until)
    tally = Tally(_terms(config))
    try:
        return _of_journal(config, span, tally)
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


def _of_journal(config: Config, span: Span, tally: Tally) -> Replayed:
    """The journal holds the newest outcomes and is read faster; the database may reach back further."""
    directory = Path(config.history.journal)
    last = f"{span.until:%Y%m%d}"
    days = [paths for paths in journal_search.days(directory, span.since) if paths[0].name[:8] <= last]
    oldest = days[-1][0].name[:8] if days else ""
    if oldest and oldest <= f"{span.since:%Y%m%d}":
        return _read_journal(directory, days, span, tally, first="")
    store = Store(config.history.database)
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


def _read_journal(directory: Path, days: list[list[Path]], span: Span, tally: Tally, *, first: str) -> Replayed:
    paths = [path for day in reversed(days) for path in reversed(day)]
    with _progress(sum(path.stat().st_size for path in paths)) as read:
        replay_comparison.of_journal(paths, span, tally, read)
    return Replayed(tally, span, str(directory), first)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """On a terminal only; standard output is left to the result."""
    console = Console(file=sys.stderr)
    columns = (TextColumn("replaying"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=max(total, 1))
        yield lambda step: progress.advance(task, step)
