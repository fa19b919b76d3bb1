"""Apply a response: one call of libmilter for each action, and a report of those that the MTA took.

libmilter passes each change to the MTA at once, but none takes effect before the final reply. So the outcome that is
recorded, and the reply, are known only after these calls.
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
    Response,
    SmtpReply,
)

log = logging.getLogger(__name__)


def apply(response: Response, context: Any, *, leading_space: bool, queue_id: str = "") -> Applied:
    """Call libmilter for each action until one fails. Raises only MemoryError.

    `leading_space`: the MTA takes header values as they are; otherwise it adds the space behind the colon itself.
    `queue_id`: for the log.
    """
    space = " " if leading_space else ""
    taken: list[MtaAction] = []
    error: ApplyError | None = None
    for action in response.actions:
        try:
            taken_action = _apply(action, context, space, queue_id)
        except milter.error as failure:
            log.error("%s: the MTA did not take %s: %s", queue_id or "-", _name(action), failure)  # noqa: TRY400
            return Applied(tuple(taken), ERRORS[type(action)], is_complete=False)
        except MemoryError:
            raise
        except Exception:
            log.exception("%s: internal error in eom", queue_id or "-")
            return Applied(tuple(taken), ApplyError.INTERNAL, is_complete=False)
        if taken_action is not action:
            error = ERRORS[type(action)]
        if taken_action is not None:
            taken.append(taken_action)
    return Applied(tuple(taken), error)


def _apply(action: MtaAction, context: Any, space: str, queue_id: str) -> MtaAction | None:
    """The action, or the one that the MTA took in its place; None: it does without."""
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
            return _redirect(action, context)
        case SmtpReply():
            return _set_reply(action, context, queue_id)
    return action


def _set_reply(reply: SmtpReply, context: Any, queue_id: str) -> SmtpReply | None:
    """The reply; None: the MTA refuses or defers the message with a text of its own."""
    try:
        context.setreply(reply.code, reply.enhanced, reply.text.replace("%", "%%"))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  whatever the text, the message is refused or deferred
        log.warning("%s: the MTA did not take the text of the reply: %s", queue_id or "-", error)
        return None
    return reply


def _redirect(redirect: Redirect, context: Any) -> Redirect | Quarantine:
    """Add the mailbox, then delete the recipients, so that the message has a recipient at every step.

    libmilter fails if the MTA did not agree to such changes or has gone. The message, which may still have its
    recipients, is then held.
    """
    try:
        if redirect.mailbox:
            context.addrcpt(redirect.mailbox)
        for path in redirect.gone:
            context.delrcpt(path)
    except milter.error as error:
        log.warning("%s: cannot be redirected, held instead: %s", redirect.queue_id or "-", error)
        context.quarantine(redirect.otherwise.reason)
        return redirect.otherwise
    return redirect


def _name(action: MtaAction) -> str:
    return f"{type(action).__name__} {action.name}" if hasattr(action, "name") else type(action).__name__


ERRORS: dict[type[MtaAction], ApplyError] = {
    DeleteHeader: ApplyError.HEADER,
    ChangeHeader: ApplyError.HEADER,
    InsertHeader: ApplyError.HEADER,
    Quarantine: ApplyError.QUARANTINE,
    Redirect: ApplyError.REDIRECT,
    SmtpReply: ApplyError.REPLY,
}
"""The error that is recorded when the MTA does not take an action."""
