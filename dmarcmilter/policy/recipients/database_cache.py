"""A cache of the database's answers, with a limit on the wait for new ones.

The threads of libmilter never talk to the database: a few threads of ours do, and a message that has waited long
enough goes on without them. A database that does not answer is not waited for again by each message.
"""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from dmarcmilter.policy.recipients.choice import StoredChoice

log = logging.getLogger(__name__)

THREADS = 4
"""Threads, each with a connection, in each worker: the recipients of a message are looked up in parallel."""
MAX_REMEMBERED = 20_000
"""Answers that a worker keeps, about 4 MB; beyond, the oldest are dropped."""
HOLD_SECONDS = 10.0
"""Seconds without queries after the database did not answer."""

MAX_WAITING = 2000
"""Places in the queue for the database; beyond, messages do not wait. A message takes up to THREADS of them."""

Forms = Sequence[str]
"""Forms of one recipient's address, the most specific first."""


class DatabaseError(Exception):
    """The database did not answer. The text names no recipient."""


class MeaninglessError(DatabaseError):
    """The answer for one recipient is not a choice."""


class Answers:
    """The cache. Several threads may use it; its own start with the first question, so it may be made before a fork."""

    def __init__(self, ask: Callable[[str], StoredChoice], *, timeout: float, keep_seconds: float) -> None:
        self._ask = ask
        self._timeout = timeout
        self._keep_seconds = keep_seconds
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[StoredChoice, float]] = OrderedDict()
        """Answers with the time until which they are fresh; an older one is used when the database does not answer."""
        self._batches: SimpleQueue[_Batch] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._hold_until = 0.0
        self._answered_at = 0.0
        self._trouble = ""
        self._complained = False

    def find(self, wanted: Sequence[Forms]) -> list[StoredChoice]:
        """The choice of each recipient, from its most specific form that has one; UNKNOWN: no answer in time."""
        choices = [self._known(forms, fresh=True) for forms in wanted]
        missing = [place for place, known in enumerate(choices) if known is StoredChoice.UNKNOWN]
        answered: dict[int, StoredChoice] = {}
        if missing and time.monotonic() >= self._hold_until:
            answered = self._look_up({place: wanted[place] for place in missing})
        for place in missing:
            choices[place] = answered.get(place) or self._known(wanted[place], fresh=False)
        return choices

    def _look_up(self, wanted: dict[int, Forms]) -> dict[int, StoredChoice]:
        """Ask the database; return the answers that arrive in time."""
        began = time.monotonic()
        batch = _Batch(wanted)
        if self._batches.qsize() > MAX_WAITING:  # of messages that have given up, for a database that never answers
            self._hold(f"no answer within {self._timeout:g} s")
            return {}
        self._start_threads()
        for _ in range(batch.tokens):
            self._batches.put(batch)
        if not batch.done.wait(self._timeout):
            batch.give_up()
            if self._answered_at < began:
                self._hold(f"no answer within {self._timeout:g} s")
        return batch.answers.copy()  # one step, whatever threads still add

    def _start_threads(self) -> None:
        with self._lock:
            while len(self._threads) < THREADS:
                thread = threading.Thread(target=self._work, name="recipients", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _work(self) -> None:
        """One recipient of each message in turn: one with thousands does not keep the others waiting."""
        while True:
            batch = self._batches.get()
            item = batch.next()
            if item is None:
                batch.leave()
                continue
            self._try(*item, batch)
            self._batches.put(batch)

    def _try(self, place: int, forms: Forms, batch: "_Batch") -> None:
        try:
            batch.answers[place] = self._answer(forms)
        except MeaninglessError as error:
            # Only this recipient is unknown: senders who know of such a row must not stop the queries for all others.
            batch.answers[place] = StoredChoice.UNKNOWN
            self._complain(str(error))
        except DatabaseError as error:
            batch.give_up()
            self._hold(str(error))
        except Exception:
            # A bug of ours, or of a driver: a thread that ended by it would never be missed.
            batch.give_up()
            log.exception("[recipients] database: internal error")
            self._hold("internal error")
        else:
            self._answered_at = time.monotonic()
            self._works()

    def _answer(self, forms: Forms) -> StoredChoice:
        """Ask for one form after the other, until there is a choice."""
        for form in forms:
            choice = self._recall(form, fresh=True)
            if choice is None:
                choice = self._ask(form)
                self._remember(form, choice)
            if choice is not StoredChoice.NOTHING:
                return choice
        return StoredChoice.NOTHING

    def _known(self, forms: Forms, *, fresh: bool) -> StoredChoice:
        for form in forms:
            choice = self._recall(form, fresh=fresh)
            if choice is None:
                return StoredChoice.UNKNOWN
            if choice is not StoredChoice.NOTHING:
                return choice
        return StoredChoice.NOTHING

    def _recall(self, form: str, *, fresh: bool) -> StoredChoice | None:
        with self._lock:
            remembered = self._kept.get(form)
        if remembered is None or (fresh and time.monotonic() >= remembered[1]):
            return None
        return remembered[0]

    def _remember(self, form: str, choice: StoredChoice) -> None:
        with self._lock:
            self._kept[form] = (choice, time.monotonic() + self._keep_seconds)
            self._kept.move_to_end(form)
            if len(self._kept) > MAX_REMEMBERED:
                self._kept.popitem(last=False)

    def _hold(self, trouble: str) -> None:
        """Stop queries for a while. Each kind of failure is logged once, because it may last for days."""
        self._hold_until = time.monotonic() + HOLD_SECONDS
        if trouble != self._trouble:
            log.error("[recipients] database: %s; recipients of whom nothing is known count as exempt", trouble)
        self._trouble = trouble

    def _complain(self, trouble: str) -> None:
        """Log it once, because it lasts until the row is fixed."""
        self._answered_at = time.monotonic()
        if not self._complained:
            log.error("[recipients] database: %s; such a recipient counts as exempt", trouble)
        self._complained = True

    def _works(self) -> None:
        if self._trouble:
            log.info("[recipients] database: answers again")
        self._trouble = ""


class _Batch:
    """The recipients of one message that are looked up, each of its tokens by one thread at a time."""

    def __init__(self, wanted: dict[int, Forms]) -> None:
        self.tokens = min(THREADS, len(wanted))
        self.answers: dict[int, StoredChoice] = {}
        self.done = threading.Event()
        self._left = deque(wanted.items())
        self._lock = threading.Lock()

    def next(self) -> tuple[int, Forms] | None:
        try:
            return self._left.popleft()
        except IndexError:
            return None

    def give_up(self) -> None:
        self._left.clear()

    def leave(self) -> None:
        """Take back one token of the message."""
        with self._lock:
            self.tokens -= 1
            if self.tokens == 0:
                self.done.set()
