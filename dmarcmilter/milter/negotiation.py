"""What is agreed with the MTA when it connects: actions, steps and macros, just those that are used."""

import functools
import operator

import Milter
import milter

from dmarcmilter.policy.types import QuarantineAction

ACTIONS = milter.ADDHDRS | milter.CHGHDRS | milter.QUARANTINE | milter.SETSYMLIST
REDIRECTING = milter.ADDRCPT | milter.DELRCPT
STEPS = Milter.P_NOUNKNOWN | Milter.P_NODATA | Milter.P_NORCPT | Milter.P_HDR_LEADSPC
"""Of what the MTA offers: the callbacks that we do not need left out, header values exactly as they came."""
STEPS_WITHOUT_ANSWER = {
    "connect": Milter.P_NR_CONN,
    "hello": Milter.P_NR_HELO,
    "envfrom": Milter.P_NR_MAIL,
    "envrcpt": Milter.P_NR_RCPT,
    "header": Milter.P_NR_HDR,
    "eoh": Milter.P_NR_EOH,
    "body": Milter.P_NR_BODY,
}
"""Steps that need no answer, if the MTA agrees: nothing is decided before the end of message, and each answer costs
both sides a system call and a switch of process."""
MACROS = (
    (Milter.M_CONNECT, "j"),
    # The last is always there: without any, libmilter would keep those of the message before, its login too.
    (Milter.M_ENVFROM, "i {auth_authen} {mail_mailer}"),
    # Not {rcpt_addr}, which Postfix sends unless told: a NUL in it would break the list (see connection._is_whole).
    (Milter.M_ENVRCPT, "i"),
    (Milter.M_DATA, "i"),
    (Milter.M_EOM, "i"),
)
ALL_STEPS_WITHOUT_ANSWER = functools.reduce(operator.or_, STEPS_WITHOUT_ANSWER.values())


def actions_for(method: QuarantineAction) -> int:
    """Only who redirects needs to change recipients."""
    return int(ACTIONS | REDIRECTING if method is QuarantineAction.REDIRECT else ACTIONS)


def agree(options: list[int], method: QuarantineAction, *, recipients: bool) -> int:
    """Ask for just what is used: `options` is changed in place (actions, steps, and two that are unused).

    Returns the steps that get no answer. `recipients`: they are to be told, which few need.
    """
    offered_actions, offered_steps = options[0], options[1]
    silent = int(offered_steps & ALL_STEPS_WITHOUT_ANSWER)
    left_out = STEPS & ~Milter.P_NORCPT if recipients else STEPS
    options[:] = [offered_actions & actions_for(method), offered_steps & left_out | silent, 0, 0]
    return silent
