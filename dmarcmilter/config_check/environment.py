"""The environment that a conf file is checked against: this machine, its Postfix, the user that the filter runs as."""

import os
import socket
import struct
from datetime import UTC, date, datetime

from dmarcmilter.config import account_rights
from dmarcmilter.config.account_rights import Account
from dmarcmilter.config.endpoint import Socket, parse_socket
from dmarcmilter.config_check import systemd_unit_reader
from dmarcmilter.config_check.systemd_unit_reader import Unit
from dmarcmilter.postfix import postconf as postfix
from dmarcmilter.postfix.postconf import Postfix
from dmarcmilter.value import Value, replace

LISTENER_SECONDS = 2.0
"""Seconds to wait for the connection to the milter socket that shows which user the filter runs as."""


class Environment(Value):
    """The machine, user and Postfix that a conf file is checked against."""

    today: date
    hostname: str
    user: str
    """Name of the filter's user, from --user or the unit; empty: the user that runs the check."""
    account: Account | None
    """Account of `user`; None: no such user on this machine."""
    unit: Unit | None
    """systemd's unit of the filter; None: not installed, or --user was given."""
    postfix: Postfix | None
    """The main instance of Postfix; None: no Postfix on this machine."""
    instances: tuple[Postfix, ...] = ()
    """Further instances of Postfix."""
    is_user_known: bool = False
    """The user was named with --user, or is that of the running filter."""
    conf: str = ""
    """Path of the conf file that the filter reads; empty: unknown, or none."""

    @property
    def tried_user(self) -> str:
        """The user whose rights were tried, worded for a message."""
        if self.account is not None and account_rights.can_act_as(self.account):
            return f"the user {self.account.name}"
        return "the user that runs this check"


USUAL_USER = "dmarcmilter"
"""The filter's user where no systemd unit names one."""


def of_running_filter(address: str, conf: str, user: str = "", *, postfix_directory: str = "") -> Environment:
    """The environment of a running filter: when run as root, its user is the one that listens at the milter socket.

    A socket that root listens at says nothing about the user, because systemd may have made it for the filter.
    """
    uid = _listener(parse_socket(address)) if not user and os.geteuid() == 0 else 0
    listener = account_rights.by_uid(uid) if uid else None
    environment = gather(
        user or (listener.name if listener else ""), postfix_directory=postfix_directory, usual=uid != 0
    )
    return replace(environment, conf=conf, unit=environment.unit or systemd_unit_reader.find())


def _listener(where: Socket) -> int | None:
    """User id of the process that listens at the socket (SO_PEERCRED in unix(7)); None: unknown."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(LISTENER_SECONDS)
            probe.connect(where.path if where.family == "unix" else "")
            _, uid, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except (OSError, struct.error):
        return None
    return int(uid)


def gather(user: str = "", *, postfix_directory: str = "", usual: bool = True) -> Environment:
    """The environment of this machine for `user`, else for the user of the unit, else (`usual`) for USUAL_USER."""
    unit = None if user else systemd_unit_reader.find()
    name = user or _user(unit, usual=usual)
    group, more_groups = (unit.group, unit.groups) if unit is not None else ("", ())
    main = postfix.find(postfix_directory)
    return Environment(
        today=datetime.now(UTC).date(),
        hostname=socket.gethostname(),
        user=name,
        account=account_rights.account(name, group=group, more_groups=more_groups) if name else None,
        unit=unit,
        postfix=main,
        instances=() if postfix_directory else postfix.other_instances(main),
        is_user_known=bool(user),
    )


def _user(unit: Unit | None, *, usual: bool) -> str:
    if os.geteuid() != 0:
        return ""
    if unit is not None:
        return unit.user
    return USUAL_USER if usual and account_rights.account(USUAL_USER) else ""
