"""Ask destinations whether they want reports: several at once, beside the sending, and only for so long.

A name server that does not answer holds one thread for seconds. What was not asked when the time is over is left as it
was, and asked in the next run.
"""

import logging
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

from dmarcmilter.reports.delivery.destinations import Destination, Verification
from dmarcmilter.reports.delivery.report_tables import Delivery

log = logging.getLogger(__name__)

VERIFY_SECONDS = 600.0
"""Seconds of one run for the destinations of one kind of report. The rest is asked in the next run."""
VERIFY_AT_ONCE = 16
"""Destinations asked at once."""

Turn = tuple[int, int, int]
"""As in sending."""
Asked = tuple[Turn, Delivery, Destination]
"""The turn of the delivery, the delivery, and what was said."""


class Verifier:
    """Threads ask; everything else stays with the caller's thread."""

    def __init__(
        self,
        ask: Callable[[Delivery], Destination],
        *,
        seconds: float = VERIFY_SECONDS,
        at_once: int = VERIFY_AT_ONCE,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._at_once = at_once
        self._timer = timer
        self._end = timer() + seconds
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="verify")
        self._answers: SimpleQueue[Asked] = SimpleQueue()
        self._asked: dict[int, tuple[Turn, Delivery]] = {}
        """By the id of the delivery, those that were not yet answered."""

    @property
    def is_over(self) -> bool:
        """The time is over."""
        return self._timer() >= self._end

    @property
    def waiting(self) -> int:
        """How many are asked and not yet answered."""
        return len(self._asked)

    @property
    def has_room(self) -> bool:
        return len(self._asked) < self._at_once and not self.is_over

    @property
    def turns(self) -> Collection[Turn]:
        """The turns of those that are asked and not yet answered."""
        return [turn for turn, _ in self._asked.values()]

    def start(self, turn: Turn, delivery: Delivery) -> None:
        self._asked[delivery.id] = turn, delivery
        self._threads.submit(self._work, turn, delivery)

    def answered(self, seconds: float) -> Asked | None:
        """The next answer, or None after so long without one. When the time is over, that is the answer."""
        try:
            answer = self._answers.get(timeout=max(0.0, min(seconds, self._end - self._timer())))
        except Empty:
            if not self.is_over or not self._asked:
                return None
            turn, delivery = next(iter(self._asked.values()))
            reason = "DNS did not answer in the time of the run"
            answer = turn, delivery, Destination(delivery.uri, Verification.UNKNOWN, reason=reason)
        # An answer that comes after all is of no use: the delivery was put off.
        return answer if self._asked.pop(answer[1].id, None) else None

    def close(self) -> None:
        """Does not wait: threads that are still asking end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _work(self, turn: Turn, delivery: Delivery) -> None:
        try:
            destination = self._ask(delivery)
        except Exception as error:
            # A bug for one address must not keep all others from their reports.
            log.exception("reports: %s: internal error", delivery.uri)
            destination = Destination(
                delivery.uri, Verification.UNKNOWN, reason=f"internal error: {type(error).__name__}"
            )
        self._answers.put((turn, delivery, destination))
