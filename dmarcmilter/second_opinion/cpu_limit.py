"""A limit on the CPU time of a call into a library. Works in the main thread only, where Python handles signals."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

AGAIN = 0.5
"""CPU seconds after which a call is interrupted again, should the library have caught the interruption."""


class CpuLimitError(BaseException):
    """The call took too long. No Exception, so that a library which catches those does not go on."""


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block with CpuLimitError after this much CPU time. Waiting, as for DNS, does not count.

    Regular expressions and the arithmetic of large numbers are interrupted too: they look for signals as they run.
    """
    is_running = True

    def interrupt(_number: int, _frame: object) -> None:
        if is_running:
            raise CpuLimitError

    handler_before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, AGAIN)
    try:
        yield
    finally:
        is_running = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, handler_before)
