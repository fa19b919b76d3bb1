"""Count what one worker does, in its row of the board: one call a message, and one for each name that it looks up.

Each word has one writer at a time: words of messages under the lock here, words of DNS under the resolver's.
"""

import threading
from bisect import bisect_left
from typing import Final

from dmarcmilter.dns.observer import AnswerWord, Origin
from dmarcmilter.metrics import metric_definitions as f
from dmarcmilter.metrics.board import Row, State, lone_row
from dmarcmilter.metrics.metric_definitions import SkipReason, Stage, place, places
from dmarcmilter.outcome import Outcome

_VERDICTS: Final = places(f.VERDICTS)
_DISPOSITIONS: Final = places(f.DISPOSITIONS)
_ACTIONS: Final = places(f.ACTIONS)
_WOULD: Final = places(f.WOULD)
_OVERRIDES: Final = places(f.OVERRIDES)
_AUTHOR: Final = places(f.AUTHOR)
_SPF: Final = places(f.SPF)
_DKIM: Final = places(f.DKIM)
_DUPLICATES: Final = place(f.DUPLICATES)
_ARC: Final = places(f.ARC)
_TEMPERRORS: Final = places(f.TEMPERRORS)
_LIMITED: Final = places(f.LIMITED)
_FAILURES: Final = places(f.FAILURES)
_STAGES: Final = places(f.STAGES)
_DNS_LOOKUPS: Final = places(f.DNS_LOOKUPS)
_DNS_ANSWERS: Final = places(f.DNS_ANSWERS)
_WAIT: Final = place(f.DNS_WAIT)
_BYTES: Final = place(f.MESSAGE_BYTES)
_QUERY: Final = place(f.DNS_QUERY)
_SPENT: Final = place(f.DNS_SPENT)
_STRAYS: Final = place(f.DNS_STRAYS)
_IN_PROGRESS: Final = place(f.IN_PROGRESS)
_MILLI: Final = f.MICROSECONDS // 1000


class WorkerTally:
    """The counts of one worker. No method raises, whatever a message or a DNS answer contains."""

    def __init__(self, row: Row | None = None) -> None:
        self.row = row or lone_row()
        self._lock = threading.Lock()
        self._opened = 0

    def evaluated(self, outcome: Outcome, *, journal_seconds: float, written: bool) -> None:
        """Count an evaluated message, after its outcome was journaled (`written`) or could not be."""
        effort, size = outcome.effort, outcome.message.size
        stages = (
            (_STAGES[Stage.HEADER], effort.header_milliseconds),
            (_STAGES[Stage.BODY], effort.body_milliseconds),
            (_STAGES[Stage.EVALUATION], effort.milliseconds),
            (_STAGES[Stage.JOURNAL], journal_seconds * 1000),
            (_WAIT, effort.dns_milliseconds),
        )
        counts = [*_authentication_words(outcome), *_decision_words(outcome)]
        if effort.dns_spent:
            counts.append(_SPENT)
        if not written:
            counts.append(place(f.JOURNAL_FAILURES))
        words = self.row.words
        with self._lock:
            for word in counts:
                words[word] += 1
            for start, milliseconds in stages:
                self._observe(start, f.LATENCIES, milliseconds / 1000, int(milliseconds * _MILLI))
            self._observe(_BYTES, f.SIZES, size, size)

    def skipped(self, reason: SkipReason) -> None:
        """Count a message that is not evaluated."""
        self._count(place(f.IGNORED, reason))

    def abandoned(self) -> None:
        """Count a message that the client or the MTA gave up before its end."""
        self._count(place(f.ABANDONED))

    def failed(self, step: str) -> None:
        """Count an internal error in the callback of this name."""
        self._count(_FAILURES.get(step, _FAILURES["other"]))

    def in_progress(self, messages: int) -> None:
        """Set the number of messages in progress. The caller holds the lock of its own counter."""
        self.row.set(_IN_PROGRESS, messages)

    # -- called by the resolver, which holds its lock ---------------------------------------------------------------

    def asked(self, origin: Origin) -> None:
        """Count a name that a message needed."""
        self.row.words[_DNS_LOOKUPS[origin]] += 1

    def ended(self, how: AnswerWord, waited: float | None) -> None:
        """Count a query that ended; `waited`: seconds that a message waited for it, None if none did."""
        self.row.add(_DNS_ANSWERS[how])
        if waited is not None:
            self._observe(_QUERY, f.LATENCIES, waited, int(waited * f.MICROSECONDS))

    def strays(self, count: int) -> None:
        """Count datagrams that answer no open query."""
        if count:
            self.row.add(_STRAYS, count)

    # -- the worker's main thread, every few seconds ----------------------------------------------------------------

    def beat(self, state: State, connections: tuple[int, int], cached: tuple[int, int]) -> None:
        """Write a heartbeat, and the values that are only read with it.

        `connections`: opened and closed so far. `cached`: entries and bytes of the DNS cache.
        """
        opened, closed = connections
        entries, size = cached
        self.row.add(place(f.CONNECTIONS_OPENED), opened - self._opened)
        self._opened = opened
        self.row.set(place(f.CONNECTIONS), opened - closed)
        self.row.set(place(f.CACHE_ENTRIES), entries)
        self.row.set(place(f.CACHE_BYTES), size)
        self.row.beat(state)

    def _count(self, word: int) -> None:
        with self._lock:
            self.row.add(word)

    def _observe(self, start: int, bounds: tuple[float, ...], value: float, amount: int) -> None:
        """Count a value in its bucket, and add the amount to the sum, which is stored after all buckets."""
        words = self.row.words
        words[start + bisect_left(bounds, value)] += 1
        if amount > 0:
            self.row.add(start + len(bounds) + 1, amount)


def _authentication_words(outcome: Outcome) -> list[int]:
    auth, problem = outcome.auth, outcome.evaluation.author.problem
    words = [_SPF[auth.spf.result], _ARC[auth.arc.result]]
    words += [_DKIM[signature.result] for signature in auth.dkim]
    if problem:
        words.append(_AUTHOR[problem])
    if outcome.evaluation.unsigned_duplicates:
        words.append(_DUPLICATES)
    if outcome.message.truncated in _LIMITED:
        words.append(_LIMITED[outcome.message.truncated])
    return words


def _decision_words(outcome: Outcome) -> list[int]:
    decision = outcome.decision
    words = [
        _VERDICTS[outcome.evaluation.result],
        _DISPOSITIONS[decision.disposition],
        _ACTIONS[decision.action],
        _WOULD[decision.would_action],
    ]
    words += [_TEMPERRORS[failure] for failure in outcome.evaluation.dns_failures]
    return words + [_OVERRIDES[override.type] for override in decision.overrides]
