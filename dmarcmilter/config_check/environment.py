"""The environment that a conf file is checked against: this machine, its Postfix, the user that the filter runs as."""

import os
import socket
import struct
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from dmarcmilter.config.endpoint import Socket, parse_socket
from dmarcmilter.config_check import systemd_unit
from dmarcmilter.config_check.systemd_unit import Unit
from dmarcmilter.postfix import accounts
from dmarcmilter.postfix import postconf as postfix
from dmarcmilter.postfix.accounts import Account
from dmarcmilter.postfix.postconf import Postfix

LISTENER_SECONDS = 2.0
"""Seconds to wait for a connection to the milter socket, which tells the user of the filter."""


@dataclass(frozen=True, slots=True)
class Environment:
    today: date
    hostname: str
    user: str
    """Name of the filter's user, from --user or the unit; empty: the user who runs the check."""
    account: Account | None
    """Account of this user; None: it does not exist here."""
    unit: Unit | None
    postfix: Postfix | None
    """The main instance of Postfix."""
    instances: tuple[Postfix, ...] = ()
    """Further instances of Postfix."""
    asked_for: bool = False
    """The user was named with --user, or is that of the running filter."""
    conf: str = ""
    """Conf file that the filter reads; empty: unknown, or none."""

    @property
    def who(self) -> str:
        """The user whose rights were tried, for a sentence."""
        if self.account is not None and accounts.can_act_as(self.account):
            return f"the user {self.account.name}"
        return "the user that runs this check"


USUAL_USER = "dmarcmilter"
"""User of the filter where no systemd unit names one."""


def of_running_filter(address: str, conf: str, user: str = "", *, postfix_directory: str = "") -> Environment:
    """The environment of a running filter: its user is the one that listens at the milter socket, if root asks.

    A socket of root's does not count: systemd may have made it for the filter.
    """
    uid = _listener(parse_socket(address)) if not user and os.geteuid() == 0 else 0
    listener = accounts.by_uid(uid) if uid else None
    environment = gather(
        user or (listener.name if listener else ""), postfix_directory=postfix_directory, usual=uid != 0
    )
    return replace(environment, conf=conf, unit=environment.unit or systemd_unit.find())


def _listener(where: Socket) -> int | None:
    """User id of the process that listens at the socket (unix(7), SO_PEERCRED); None: unknown."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(LISTENER_SECONDS)
            probe.connect(where.path if where.family == "unix" else "")
            _, uid, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except (OSError, struct.error):
        return None
    return int(uid)


def gather(user: str = "", *, postfix_directory: str = "", usual: bool = True) -> Environment:
    """The environment of this machine, with this user, or that of systemd's unit, or (`usual`) the usual one."""
    unit = None if user else systemd_unit.find()
    name = user or _user(unit, usual=usual)
    group, more = (unit.group, unit.groups) if unit is not None else ("", ())
    main = postfix.find(postfix_directory)
    return Environment(
        today=datetime.now(UTC).date(),
        hostname=socket.gethostname(),
        user=name,
        account=accounts.account(name, group=group, more_groups=more) if name else None,
        unit=unit,
        postfix=main,
        instances=() if postfix_directory else postfix.other_instances(main),
        asked_for=bool(user),
    )


def _user(unit: Unit | None, *, usual: bool) -> str:
    if os.geteuid() != 0:
        return ""
    if unit is not None:
        return unit.user
    return USUAL_USER if usual and accounts.account(USUAL_USER) else ""
