"""The work of `dmarcmilter quarantine`. Whatever is printed came from hostile mail."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from dmarcmilter.cli.support import fail
from dmarcmilter.config.schema import Config
from dmarcmilter.explain import as_text, explain
from dmarcmilter.history import hold_reasons
from dmarcmilter.history.store import Store, StoreError
from dmarcmilter.mail import domain as domains
from dmarcmilter.outcome import OutcomeRecord
from dmarcmilter.postfix.hold_queue import Held, PostfixQueue, QueueError, printable

EXIT_INCOMPLETE = 1
MAX_WHY = 200
"""Characters shown of the reason."""


@dataclass(frozen=True, slots=True)
class Ours:
    """A message on hold, and the outcome because of which it is."""

    held: Held
    record: OutcomeRecord

    @property
    def why(self) -> str:
        record = self.record
        if record.author_problem:
            return f"From field: {record.author_problem}"
        overrides = [f"{override.type}: {override.comment}" for override in record.overrides]
        policy = f"{record.dmarc.tag or 'p'}={record.dmarc.published}"
        # A message that passes has no reason for that.
        verdict = ", ".join(filter(None, (policy, record.dmarc.reason or record.dmarc.result)))
        return "; ".join([verdict, *overrides])

    def values(self) -> dict[str, str | int | None]:
        return {
            "queue_id": self.held.queue_id,
            "arrived": self.held.arrived.isoformat(timespec="seconds"),
            "author_domain": self.record.author_domain,
            "mail_from_domain": self.record.mail_from_domain,
            "client_ip": self.record.client_ip,
            "recipients": self.held.recipients,
            "size": self.held.size,
            "why": self.why,
        }

    def line(self) -> str:
        held, record = self.held, self.record
        values = (
            f"{held.queue_id:<15}",
            f"{held.arrived:%Y-%m-%d %H:%M}",
            f"{record.author_domain or '-':<30}",
            f"{record.mail_from_domain or '<>':<30}",
            f"{held.recipients:>5}",
            f"{held.size:>9}",
            self.why[:MAX_WHY],
        )
        return printable("  ".join(values))


HEADING = "  ".join(
    ("QUEUE ID       ", "ARRIVED (UTC)   ", f"{'AUTHOR DOMAIN':<30}", f"{'SENDER':<30}", " RCPT", "     SIZE", "WHY")
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of the messages that we held."""

    queue_ids: tuple[str, ...]
    domains: tuple[str, ...]
    before: datetime | None
    everything: bool

    @property
    def is_empty(self) -> bool:
        return not (self.queue_ids or self.domains or self.before or self.everything)

    def of(self, ours: Iterable[Ours]) -> list[Ours]:
        """All that is said must hold."""
        names = [domains.parse(name) or name for name in self.domains]
        return [
            one
            for one in ours
            if (not self.queue_ids or one.held.queue_id in self.queue_ids)
            and (not names or one.record.author_domain in names)
            and (self.before is None or one.held.arrived < self.before)
        ]


def show_list(config: Config, config_dir: str, *, as_json: bool) -> None:
    ours, others = found(config, PostfixQueue(config_dir))
    if as_json:
        click.echo(json.dumps({"held": [one.values() for one in ours], "others": others}))
        return
    _print(ours)
    if others:
        click.echo(f"{others} more on hold, not by us or no longer in the history")


def show(config: Config, config_dir: str, queue_id: str) -> None:
    queue = PostfixQueue(config_dir)
    ours, _ = found(config, queue)
    one = next((one for one in ours if one.held.queue_id == queue_id), None)
    if one is None:
        click.echo(f"no message {printable(queue_id)} is on hold because of us", err=True)
        raise SystemExit(EXIT_INCOMPLETE)
    _print([one])
    click.echo()
    for line in as_text(explain(one.record)).splitlines():
        click.echo(printable(line))
    click.echo()
    for line in _or_fail(queue.header, queue_id).decode("utf-8", "replace").splitlines():
        click.echo(printable(line.expandtabs()))


def release(config: Config, config_dir: str, wanted: Wanted, *, yes: bool) -> None:
    queue = PostfixQueue(config_dir)
    chosen = _chosen(config, queue, wanted)
    _ask("Release", chosen, yes=yes)
    _told("released", chosen, _or_fail(queue.release, [one.held.queue_id for one in chosen]), wanted)


def delete(config: Config, config_dir: str, wanted: Wanted, *, yes: bool) -> None:
    queue = PostfixQueue(config_dir)
    chosen = _chosen(config, queue, wanted)
    _ask("Delete", chosen, yes=yes)
    _told("deleted", chosen, _or_fail(queue.delete, [one.held.queue_id for one in chosen]), wanted)


def found(config: Config, queue: PostfixQueue) -> tuple[list[Ours], int]:
    """What is on hold because of us, and how many others are."""
    held = {one.queue_id: one for one in _or_fail(queue.held)}
    arrived = {queue_id: one.arrived for queue_id, one in held.items()}
    try:
        records = hold_reasons.in_journal(Path(config.history.journal), arrived)
    except OSError as error:
        fail(f"the journal cannot be read: {error}")
    missing = {queue_id: when for queue_id, when in arrived.items() if queue_id not in records}
    records |= _of_database(config.history.database, missing)
    ours = [Ours(one, records[queue_id]) for queue_id, one in held.items() if queue_id in records]
    return ours, len(held) - len(ours)


def _of_database(url: str, arrived: dict[str, datetime]) -> dict[str, OutcomeRecord]:
    """The journal is the truth; a database that is not there, or down, only knows less."""
    if not arrived:
        return {}
    try:
        store = Store(url)
        return {} if store.is_missing else hold_reasons.in_store(store, arrived)
    except StoreError as error:
        click.echo(f"dmarcmilter: the database is left out: {error}", err=True)
        return {}


def _chosen(config: Config, queue: PostfixQueue, wanted: Wanted) -> list[Ours]:
    if wanted.is_empty:
        fail("say which: QUEUE_ID, --domain, --older-than or --all")
    ours, _ = found(config, queue)
    chosen = wanted.of(ours)
    for queue_id in set(wanted.queue_ids) - {one.held.queue_id for one in chosen}:
        click.echo(f"no message {printable(queue_id)} is on hold because of us", err=True)
    if not chosen:
        click.echo("nothing to do")
        # An id that was named and is not on hold is worth an exit status; a selection that is empty is not.
        raise SystemExit(EXIT_INCOMPLETE if wanted.queue_ids else 0)
    return chosen


def _ask(verb: str, chosen: list[Ours], *, yes: bool) -> None:
    if yes:
        return
    _print(chosen)
    plural = "s" if len(chosen) > 1 else ""
    if not click.confirm(f"{verb} {len(chosen)} message{plural}?"):
        raise SystemExit(EXIT_INCOMPLETE)


def _told(verb: str, chosen: list[Ours], done: set[str], wanted: Wanted) -> None:
    left = [one.held.queue_id for one in chosen if one.held.queue_id not in done]
    click.echo(f"{len(done)} {verb}")
    for queue_id in left:
        click.echo(f"{queue_id} is still on hold", err=True)
    if left or set(wanted.queue_ids) - done:
        raise SystemExit(EXIT_INCOMPLETE)


def _print(ours: list[Ours]) -> None:
    if not ours:
        click.echo("nothing is on hold because of us")
        return
    click.echo(HEADING)
    for one in ours:
        click.echo(one.line())


def _or_fail(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except QueueError as error:
        fail(str(error))
