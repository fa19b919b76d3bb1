"""The plan carried out: one call of libmilter for each MTA action."""

import logging
from typing import Any

import milter

from dmarcmilter.mtaactions import ChangeHeader, DeleteHeader, InsertHeader, MtaAction, Quarantine, Redirect, Reply

log = logging.getLogger(__name__)


def carry_out(plan: tuple[MtaAction, ...], context: Any, *, leading_space: bool) -> None:
    """`leading_space`: the MTA takes header values as they are, else it puts a space in front itself."""
    space = " " if leading_space else ""
    for action in plan:
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
                _redirect(action, context)
            case Reply(code, enhanced, text):
                context.setreply(code, enhanced, text.replace("%", "%%"))


def _redirect(asked: Redirect, context: Any) -> None:
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
