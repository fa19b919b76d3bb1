"""Option negotiation with the MTA: the actions, protocol steps and macros that we use, and no others."""

import functools
import operator
from collections.abc import Mapping

import Milter
import milter

from dmarcmilter.policy.rules import QuarantineAction

ACTIONS = milter.ADDHDRS | milter.CHGHDRS | milter.QUARANTINE | milter.SETSYMLIST
REDIRECTING = milter.ADDRCPT | milter.DELRCPT
STEPS = Milter.P_NOUNKNOWN | Milter.P_NODATA | Milter.P_NORCPT | Milter.P_HDR_LEADSPC
"""Protocol options to ask for: no callbacks that are not needed, and header values exactly as received."""
STEPS_WITHOUT_ANSWER = {
    "connect": Milter.P_NR_CONN,
    "hello": Milter.P_NR_HELO,
    "envfrom": Milter.P_NR_MAIL,
    "envrcpt": Milter.P_NR_RCPT,
    "header": Milter.P_NR_HDR,
    "eoh": Milter.P_NR_EOH,
    "body": Milter.P_NR_BODY,
}
"""The option, for each callback, that the MTA expects no answer to it.

Nothing is decided before the end of message, and each answer costs both sides a system call and a switch of process."""
MACROS = (
    # v: which MTA it is (see MtaConnection.mta_rewrites).
    (Milter.M_CONNECT, "j v"),
    # Postfix always sends {mail_mailer}. If it sent no macro at all, libmilter would keep those of the message before,
    # its login included.
    (Milter.M_ENVFROM, "i {auth_authen} {mail_mailer}"),
    # Replaces Postfix's default of {rcpt_addr}, in which a NUL would break the list (see connection._is_whole).
    (Milter.M_ENVRCPT, "i"),
    (Milter.M_DATA, "i"),
    (Milter.M_EOM, "i"),
)
ALL_STEPS_WITHOUT_ANSWER = functools.reduce(operator.or_, STEPS_WITHOUT_ANSWER.values())


@functools.cache
def answers_for(unanswered: int) -> Mapping[str, int]:
    """The answer to each callback before the end of message: to continue, or none where that was negotiated.

    `unanswered`: the options of the callbacks that get no answer.
    """
    return {
        step: int(Milter.NOREPLY if unanswered & option else Milter.CONTINUE)
        for step, option in STEPS_WITHOUT_ANSWER.items()
    }


def actions_for(method: QuarantineAction) -> int:
    """The actions to ask for. Changes of recipients are needed only to redirect."""
    return int(ACTIONS | REDIRECTING if method is QuarantineAction.REDIRECT else ACTIONS)


def agree(options: list[int], method: QuarantineAction, *, recipients: bool) -> int:
    """Choose from the MTA's offer; changes `options` in place (actions, steps, and two that are unused).

    Returns the options of the callbacks that get no answer. `recipients`: whether RCPT is needed, as by few settings.
    """
    offered_actions, offered_steps = options[0], options[1]
    unanswered = int(offered_steps & ALL_STEPS_WITHOUT_ANSWER)
    left_out = STEPS & ~Milter.P_NORCPT if recipients else STEPS
    options[:] = [offered_actions & actions_for(method), offered_steps & left_out | unanswered, 0, 0]
    return unanswered
