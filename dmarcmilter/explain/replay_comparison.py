"""Replay of many recorded outcomes under other terms: counts of what would change, with examples."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from dmarcmilter.explain import replay
from dmarcmilter.explain.replay import Effect, Gap, Terms
from dmarcmilter.history import journal_line_reader, outcome_reader
from dmarcmilter.history.store import DatabaseConnection
from dmarcmilter.outcome_record import OutcomeRecord, UndecodableError, decoded
from dmarcmilter.value import Value

MAX_DOMAINS = 100_000
"""Author Domains with changes that are told apart; further ones are counted together."""
MAX_EXAMPLES = 3
"""Queue ids kept for each change of each domain."""
OTHERS = "(other domains)"

EffectChange = tuple[Effect, Effect]
"""From what was to what would be."""
DELIVERED: EffectChange = (Effect.DELIVERED, Effect.DELIVERED)


@dataclass
class DomainChanges:
    messages: Counter[EffectChange] = field(default_factory=Counter)
    examples: dict[EffectChange, list[str]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.messages.values())


@dataclass
class ReplayTally:
    """Memory grows with the domains for which something changes, up to MAX_DOMAINS."""

    terms: Terms
    messages: int = 0
    unreadable: int = 0
    done: Counter[EffectChange] = field(default_factory=Counter)
    """What was done with each message, and what would be."""
    would: Counter[EffectChange] = field(default_factory=Counter)
    """The same without monitor, rollout and recipients who have opted out."""
    domains: dict[str, DomainChanges] = field(default_factory=dict)
    """Changes of what is done."""
    gaps: Counter[Gap] = field(default_factory=Counter)

    @property
    def changed(self) -> int:
        return sum(count for (old, new), count in self.done.items() if old is not new)

    @property
    def changed_would(self) -> int:
        return sum(count for (old, new), count in self.would.items() if old is not new)

    def add(self, record: OutcomeRecord) -> None:
        """Count one outcome; one with words that this version does not know is counted as unreadable."""
        try:
            self._add(record)
        except ValueError:
            self.unreadable += 1

    def _add(self, record: OutcomeRecord) -> None:
        if replay.is_settled(record):
            self._add_settled(record)
            return
        replayed = replay.decide_again(record, self.terms)
        decision = replayed.decision
        if decision is not None:
            old = replay.effect(record.action, record.disposition)
            new = replay.effect(decision.action, decision.disposition)
            if record.apply_error:
                old = new  # what the MTA did not take says nothing about the rules
            would = (
                replay.effect(record.would_action, record.would_disposition or ""),
                replay.effect(decision.would_action, decision.would_disposition),
            )
            self.done[old, new] += 1
            self.would[would] += 1
            if old is not new:
                self._tell(record, (old, new))
        self.messages += 1
        self.gaps.update(replayed.gaps)

    def _add_settled(self, record: OutcomeRecord) -> None:
        policy = record.policy
        if policy is not None and policy.discovery != self.terms.method:
            self.gaps[Gap.DISCOVERY] += 1
        self.done[DELIVERED] += 1
        self.would[DELIVERED] += 1
        self.messages += 1

    def _tell(self, record: OutcomeRecord, change: EffectChange) -> None:
        name = str(record.author_domain or record.author_problem)
        if name not in self.domains and len(self.domains) >= MAX_DOMAINS:
            name = OTHERS
        of_domain = self.domains.setdefault(name, DomainChanges())
        of_domain.messages[change] += 1
        examples = of_domain.examples.setdefault(change, [])
        if len(examples) < MAX_EXAMPLES and record.queue_id:
            examples.append(str(record.queue_id))


class Span(Value):
    since: datetime
    until: datetime

    def holds(self, record: OutcomeRecord) -> bool:
        """Times of records are in one form, so their order is that of the texts."""
        return _text(self.since) <= str(record.time) < _text(self.until)


@lru_cache(maxsize=16)
def _text(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def of_journal(paths: Iterable[Path], span: Span, tally: ReplayTally, read: Callable[[int], None]) -> None:
    """All outcomes of these files in the span; `read` is called with the number of bytes read."""
    for line in (line for path in paths for line in _lines(path, read)):
        try:
            record = decoded(line)
        except UndecodableError:
            tally.unreadable += 1
            continue
        if span.holds(record):
            tally.add(record)


def _lines(path: Path, read: Callable[[int], None]) -> Iterator[bytes]:
    """The complete lines of a file; what is appended meanwhile too, up to the last one that is there."""
    position = 0
    while True:
        piece = journal_line_reader.read(path, position)
        if piece.end == position:
            return
        yield from piece.lines
        read(piece.end - position)
        position = piece.end


def of_store(connection: DatabaseConnection, span: Span, tally: ReplayTally, read: Callable[[int], None]) -> None:
    for record in outcome_reader.between(connection, span.since, span.until):
        if record is None:
            tally.unreadable += 1
        else:
            tally.add(record)
        read(1)
