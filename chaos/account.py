"""What must hold whatever happens: each message has one end, the right one, and each judgement was recorded once.

Nothing here touches a running thing: what was seen goes in, what is wrong comes out as sentences.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum


class Fate(Enum):
    DELIVERED = "delivered"
    HELD = "held"
    REFUSED = "refused"


ACTIONS = {Fate.DELIVERED: "accept", Fate.HELD: "quarantine", Fate.REFUSED: "reject"}
"""The outcome's word."""
DEFERRED = "tempfail"
"""The outcome's word for what the filter itself puts off."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of the client to hand the message over."""

    code: int
    """Of the last reply; 0: the connection broke before one came."""
    text: str
    whole: bool
    """The message was sent to its end."""
    seconds: float
    """From the end of the message, or of the command, to its reply."""

    @property
    def is_final(self) -> bool:
        return self.code == 250 or self.code >= 500


@dataclass(slots=True)
class Sent:
    """One message, with what its judge must make of it."""

    message_id: str
    kind: str
    fate: Fate
    dmarc: str
    """The word of Authentication-Results."""
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def end(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts and self.attempts[-1].is_final else None


@dataclass(frozen=True, slots=True)
class Seen:
    """All that was seen of a run."""

    sent: Sequence[Sent]
    queue_ids: Mapping[str, Sequence[str]]
    """By Message-ID: from Postfix's log, one for each attempt whose content it took."""
    outcomes: Mapping[str, Sequence[str]]
    """By queue id: the action of each outcome, in the journal or, if that could not be written, in the log."""
    delivered: Mapping[str, Sequence[str]]
    """By Message-ID: the first Authentication-Results of each copy that the next hop got; empty: there was none."""
    held: frozenset[str]
    """Queue ids in Postfix's hold queue."""
    stored: Mapping[str, int]
    """By queue id: outcomes in the history."""
    journalled: Mapping[str, int]
    """By queue id: outcomes in the journal."""


def violations(seen: Seen) -> list[str]:
    """Each breach of a promise, as a sentence."""
    found = [problem for sent in seen.sent for problem in _of_message(sent, seen)]
    return [*found, *_of_strangers(seen), *_of_history(seen)]


def deferrals(sent: Sent) -> int:
    return sum(400 <= attempt.code < 500 or attempt.code == 0 for attempt in sent.attempts)


def _of_message(sent: Sent, seen: Seen) -> Iterator[str]:
    name = f"{sent.message_id} ({sent.kind})"
    for attempt in sent.attempts:
        if attempt.code >= 500 and sent.fate is not Fate.REFUSED:
            yield f"{name}: refused, and must not be: {attempt.code} {attempt.text}"
        if attempt.code == 0 and attempt.whole:
            yield f"{name}: was sent whole and got no reply"
    if sent.end is None:
        last = f"{sent.attempts[-1].code} {sent.attempts[-1].text}" if sent.attempts else "never tried"
        yield f"{name}: has no end; last: {last}"
    elif sent.end.code == 250:
        yield from _accepted(name, sent, sent.end, seen)
    else:
        yield from _refused(name, sent, sent.end, seen)
    yield from _attempts(name, sent, seen)


def _accepted(name: str, sent: Sent, end: Attempt, seen: Seen) -> Iterator[str]:
    copies = seen.delivered.get(sent.message_id, ())
    held = [queue_id for queue_id in seen.queue_ids.get(sent.message_id, ()) if queue_id in seen.held]
    if sent.fate is Fate.REFUSED:
        yield f"{name}: a forgery was accepted: {end.text}"
    wanted = (0, 1) if sent.fate is Fate.HELD else (1, 0)
    if (len(copies), len(held)) != wanted:
        yield f"{name}: {len(copies)} copies delivered, {len(held)} held, expected {wanted[0]} and {wanted[1]}"
    for results in copies:
        if f"dmarc={sent.dmarc}" not in results:
            yield f"{name}: delivered without our result dmarc={sent.dmarc}: {results or 'none at all'}"


def _refused(name: str, sent: Sent, end: Attempt, seen: Seen) -> Iterator[str]:
    if seen.delivered.get(sent.message_id):
        yield f"{name}: refused with {end.code}, and delivered all the same"
    if any(queue_id in seen.held for queue_id in seen.queue_ids.get(sent.message_id, ())):
        yield f"{name}: refused with {end.code}, and held all the same"


def _attempts(name: str, sent: Sent, seen: Seen) -> Iterator[str]:
    """Each queue id against the reply that named it; one that none named belongs to a try that Postfix put off."""
    queue_ids = seen.queue_ids.get(sent.message_id, ())
    for attempt in sent.attempts:
        named = [queue_id for queue_id in queue_ids if queue_id in attempt.text]
        if attempt.is_final and not named:
            yield f"{name}: answered {attempt.code} under no queue id: {attempt.text}"
        for queue_id in named:
            yield from _exactly_one(name, sent, attempt, queue_id, seen.outcomes.get(queue_id, ()))
    for queue_id in queue_ids:
        count = len(seen.outcomes.get(queue_id, ()))
        if count > 1:
            yield f"{name}: {count} outcomes of {queue_id}"


def _exactly_one(name: str, sent: Sent, attempt: Attempt, queue_id: str, actions: Sequence[str]) -> Iterator[str]:
    """A reply that names the queue id is the filter's answer to the whole message."""
    expected = ACTIONS[sent.fate] if attempt.is_final else DEFERRED
    if list(actions) != [expected]:
        found = ", ".join(actions) or "none"
        yield f"{name}: answered {attempt.code} as {queue_id}, outcomes: {found}; expected {expected}"


def _of_strangers(seen: Seen) -> Iterator[str]:
    known = {queue_id for queue_ids in seen.queue_ids.values() for queue_id in queue_ids}
    for queue_id in seen.outcomes.keys() - known:
        yield f"outcome of {queue_id or 'no queue id'}, which Postfix does not know"
    ours = {sent.message_id for sent in seen.sent}
    for message_id in seen.delivered.keys() - ours:
        yield f"{message_id} was delivered, and nobody sent it"


def _of_history(seen: Seen) -> Iterator[str]:
    """What the journal has is in the history, and nothing twice."""
    if Counter(seen.stored) != Counter(seen.journalled):
        for queue_id in sorted(seen.stored.keys() | seen.journalled.keys()):
            stored, journalled = seen.stored.get(queue_id, 0), seen.journalled.get(queue_id, 0)
            if stored != journalled:
                yield f"{queue_id}: {journalled} outcomes in the journal, {stored} in the history"
