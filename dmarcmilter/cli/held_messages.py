"""Messages that the filter had Postfix put on hold: found in the hold queue, explained by their recorded outcomes."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import click

from dmarcmilter.cli.command_setup import fail
from dmarcmilter.config.schema import Config
from dmarcmilter.history import hold_reasons
from dmarcmilter.history.store import Store, StoreError
from dmarcmilter.mail import domain as domains
from dmarcmilter.outcome_record import OutcomeRecord
from dmarcmilter.postfix.hold_queue import Held, PostfixQueue, QueueError, printable
from dmarcmilter.value import Value

MAX_WHY = 200
"""Characters shown of the reason; the rest is cut off."""


class HeldMessage(Value):
    """A message on hold with the outcome that put it there."""

    held: Held
    record: OutcomeRecord

    @property
    def why(self) -> str:
        record = self.record
        if record.author_problem:
            return f"From field: {record.author_problem}"
        policy = f"{record.dmarc.tag or 'p'}={record.dmarc.published}"
        # A message that passes has no reason for its result.
        result = ", ".join(filter(None, (policy, record.dmarc.reason or record.dmarc.result)))
        return "; ".join([result, *(f"{override.type}: {override.comment}" for override in record.overrides)])

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
        columns = (
            f"{held.queue_id:<15}",
            f"{held.arrived:%Y-%m-%d %H:%M}",
            f"{record.author_domain or '-':<30}",
            f"{record.mail_from_domain or '<>':<30}",
            f"{held.recipients:>5}",
            f"{held.size:>9}",
            self.why[:MAX_WHY],
        )
        return printable("  ".join(columns))


HEADING = "  ".join(
    ("QUEUE ID       ", "ARRIVED (UTC)   ", f"{'AUTHOR DOMAIN':<30}", f"{'SENDER':<30}", " RCPT", "     SIZE", "WHY")
)


class Selection(Value):
    """Which held messages a command is for; all that is given must hold."""

    queue_ids: tuple[str, ...]
    domains: tuple[str, ...]
    before: datetime | None
    everything: bool

    @property
    def is_empty(self) -> bool:
        return not (self.queue_ids or self.domains or self.before or self.everything)

    def select(self, messages: Iterable[HeldMessage]) -> list[HeldMessage]:
        names = [domains.parse(name) or name for name in self.domains]
        return [
            message
            for message in messages
            if (not self.queue_ids or message.held.queue_id in self.queue_ids)
            and (not names or message.record.author_domain in names)
            and (self.before is None or message.held.arrived < self.before)
        ]


def read(config: Config, queue: PostfixQueue) -> tuple[list[HeldMessage], int]:
    """Read the hold queue; return the messages held by the filter, and the number of others on hold."""
    try:
        held = {message.queue_id: message for message in queue.held()}
    except QueueError as error:
        fail(str(error))
    arrived = {queue_id: message.arrived for queue_id, message in held.items()}
    try:
        records = hold_reasons.in_journal(Path(config.history.journal), arrived)
    except OSError as error:
        fail(f"the journal cannot be read: {error}")
    missing = {queue_id: when for queue_id, when in arrived.items() if queue_id not in records}
    records |= _in_database(config.history.database, missing)
    messages = [HeldMessage(message, records[queue_id]) for queue_id, message in held.items() if queue_id in records]
    return messages, len(held) - len(messages)


def _in_database(url: str, arrived: dict[str, datetime]) -> dict[str, OutcomeRecord]:
    """Read older outcomes from the database. One that cannot be used gives a warning: the journal still counts."""
    if not arrived:
        return {}
    try:
        store = Store(url)
        return {} if store.is_missing else hold_reasons.in_store(store, arrived)
    except StoreError as error:
        click.echo(f"dmarcmilter: the database is left out: {error}", err=True)
        return {}
