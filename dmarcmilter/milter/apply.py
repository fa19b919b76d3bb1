"""The plan carried out: one call of libmilter for each MTA action, and what the MTA took of it.

libmilter hands each change to the MTA as it is called; none takes effect before the final reply. So what is recorded
and replied is decided here, after the calls.
"""

import logging
from typing import Any

import milter

from dmarcmilter.outcome import ApplyError
from dmarcmilter.response.actions import (
    Applied,
    ChangeHeader,
    DeleteHeader,
    InsertHeader,
    MtaAction,
    Quarantine,
    Redirect,
    Reply,
)

log = logging.getLogger(__name__)


def apply(plan: tuple[MtaAction, ...], context: Any, *, leading_space: bool, queue_id: str = "") -> Applied:
    """Call libmilter for each action until one fails. Raises nothing but MemoryError.

    `leading_space`: the MTA takes header values as they are, else it puts a space in front itself. `queue_id`: for
    the log.
    """
    space = " " if leading_space else ""
    taken: list[MtaAction] = []
    error: ApplyError | None = None
    for action in plan:
        try:
            done = _apply(action, context, space, queue_id)
        except milter.error as failure:
            log.error("%s: the MTA did not take %s: %s", queue_id or "-", _name(action), failure)  # noqa: TRY400
            return Applied(tuple(taken), ERRORS[type(action)], is_complete=False)
        except MemoryError:
            raise
        except Exception:
            log.exception("%s: internal error in eom", queue_id or "-")
            return Applied(tuple(taken), ApplyError.INTERNAL, is_complete=False)
        if done is not action:
            error = ERRORS[type(action)]
        if done is not None:
            taken.append(done)
    return Applied(tuple(taken), error)


def _apply(action: MtaAction, context: Any, space: str, queue_id: str) -> MtaAction | None:
    """What the MTA took instead of the action, else the action; None: it gets along without it."""
    match action:
        case DeleteHeader(name, occurrence):
            context.chgheader(name, occurrence, None)
        case ChangeHeader(name, occurrence, value):
            context.chgheader(name, occurrence, space + value)
        case InsertHeader(name, value):
            context.addheader(name, space + value, 0)
        case Quarantine(reason):
            context.quarantine(reason)
        case Redirect():
            return _redirected(action, context)
        case Reply():
            return _replied(action, context, queue_id)
    return action


def _replied(reply: Reply, context: Any, queue_id: str) -> Reply | None:
    """Without its text the MTA refuses or defers the message in its own words."""
    try:
        context.setreply(reply.code, reply.enhanced, reply.text.replace("%", "%%"))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  whatever is wrong with the text, the message is refused or deferred
        log.warning("%s: the MTA did not take the text of the reply: %s", queue_id or "-", error)
        return None
    return reply


def _redirected(asked: Redirect, context: Any) -> Redirect | Quarantine:
    """First the mailbox, then the recipients away, so that at no step it has no recipient.

    An MTA that did not agree to it, or went away, makes libmilter fail: the message, which may have its recipients
    still, is then held.
    """
    try:
        if asked.mailbox:
            context.addrcpt(asked.mailbox)
        for path in asked.gone:
            context.delrcpt(path)
    except milter.error as error:
        log.warning("%s: cannot be redirected, held instead: %s", asked.queue_id or "-", error)
        context.quarantine(asked.otherwise.reason)
        return asked.otherwise
    return asked


def _name(action: MtaAction) -> str:
    return f"{type(action).__name__} {action.name}" if hasattr(action, "name") else type(action).__name__


ERRORS: dict[type[MtaAction], ApplyError] = {
    DeleteHeader: ApplyError.HEADER,
    ChangeHeader: ApplyError.HEADER,
    InsertHeader: ApplyError.HEADER,
    Quarantine: ApplyError.QUARANTINE,
    Redirect: ApplyError.REDIRECT,
    Reply: ApplyError.REPLY,
}
"""How an action that was not taken is recorded."""
