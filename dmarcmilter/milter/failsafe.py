"""The one boundary for our own bugs: logged, and answered as the operator chose; mail is never lost by them."""

import functools
import logging
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import Milter

log = logging.getLogger(__name__)

LAST_RESORT = int(Milter.TEMPFAIL)
"""Whatever the operator chose: what could not even be logged is not let through. (Where no answer is awaited libmilter
sends none, so before the end of message there is none to choose.)"""


class Session(Protocol):
    """Whose callbacks are guarded."""

    def spoil(self) -> None:
        """From now on the message cannot be judged. Must not need memory."""

    def failed(self, step: str) -> int:
        """The answer to that step."""

    def queue_id(self) -> str: ...


S = TypeVar("S", bound=Session)
P = ParamSpec("P")


def failsafe(callback: Callable[Concatenate[S, P], int]) -> Callable[Concatenate[S, P], int]:
    """A callback that raises nothing, whatever it meets."""
    step = callback.__name__

    def guarded(session: S, /, *args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return callback(session, *args, **kwargs)
        except BaseException:  # noqa: BLE001  told in _answer
            return _answer(session, step)

    functools.update_wrapper(guarded, callback)
    return guarded


def _answer(session: Session, step: str) -> int:
    """For want of memory what is done about it may raise, too."""
    session.spoil()
    try:
        log.exception("%s: internal error in %s", session.queue_id() or "-", step)  # noqa: LOG004  called by a handler
        return session.failed(step)
    except BaseException:  # noqa: BLE001  there is nothing left to tell it with
        return LAST_RESORT if step == "eom" else int(Milter.CONTINUE)
