"""What is agreed with the MTA when it connects: actions, steps and macros, just those that are used."""

import functools
import operator

import Milter
import milter

ACTIONS = milter.ADDHDRS | milter.CHGHDRS | milter.QUARANTINE | milter.SETSYMLIST
STEPS = Milter.P_NOUNKNOWN | Milter.P_NODATA | Milter.P_NORCPT | Milter.P_HDR_LEADSPC
"""Of what the MTA offers: the callbacks that we do not need left out, header values exactly as they came."""
SILENT = {
    "connect": Milter.P_NR_CONN,
    "hello": Milter.P_NR_HELO,
    "envfrom": Milter.P_NR_MAIL,
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
    (Milter.M_DATA, "i"),
    (Milter.M_EOM, "i"),
)
SILENT_STEPS = functools.reduce(operator.or_, SILENT.values())
