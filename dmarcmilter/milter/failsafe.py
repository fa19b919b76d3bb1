"""The boundary for internal errors: they are logged and answered as configured, and never lose mail."""

import functools
import logging
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import Milter

log = logging.getLogger(__name__)

LAST_RESORT = int(Milter.TEMPFAIL)
"""Answer at the end of message when not even logging works, whatever is configured: nothing is accepted then.

Before the end of message the answer is to continue, as libmilter may expect none."""


class GuardedSession(Protocol):
    """An object with guarded callbacks."""

    def spoil(self) -> None:
        """Remember that the message cannot be evaluated any more. Must not need memory."""

    def failed(self, step: str) -> int:
        """Handle the error and return the answer to that step."""

    def queue_id(self) -> str:
        """The queue id, for the log; empty: unknown."""


S = TypeVar("S", bound=GuardedSession)
P = ParamSpec("P")


def failsafe(callback: Callable[Concatenate[S, P], int]) -> Callable[Concatenate[S, P], int]:
    """Wrap a callback of a GuardedSession so that no exception leaves it.

    A callback that runs for each header field calls `answer_to_error` itself, and saves the further call.
    """
    step = callback.__name__

    def guarded(session: S, /, *args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return callback(session, *args, **kwargs)
        except BaseException:  # noqa: BLE001  answer_to_error logs it
            return answer_to_error(session, step)

    functools.update_wrapper(guarded, callback)
    return guarded


def answer_to_error(session: GuardedSession, step: str) -> int:
    """Log the error that is being handled, and let the session answer. Without memory either may raise again."""
    session.spoil()
    try:
        log.exception("%s: internal error in %s", session.queue_id() or "-", step)  # noqa: LOG004  called by a handler
        return session.failed(step)
    except BaseException:  # noqa: BLE001  not even logging works
        return LAST_RESORT if step == "eom" else int(Milter.CONTINUE)
