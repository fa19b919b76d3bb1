"""What a conf file is judged against: this machine, its Postfix, and the user that the filter runs as."""

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
"""To connect to the milter socket and see whose it is."""


@dataclass(frozen=True, slots=True)
class Scene:
    today: date
    hostname: str
    user: str
    """The name of the filter's user, as --user or the unit gives it; empty: whoever runs the check."""
    account: Account | None
    """The same, if it exists here."""
    unit: Unit | None
    postfix: Postfix | None
    """The main instance."""
    instances: tuple[Postfix, ...] = ()
    """Further instances of it."""
    asked_for: bool = False
    """The user was named by who runs the check, or is that of the filter that runs."""
    conf: str = ""
    """The conf file that the filter reads; empty: not known, or none."""

    @property
    def who(self) -> str:
        """For sentences: whose rights were tried."""
        if self.account is not None and accounts.can_act_as(self.account):
            return f"the user {self.account.name}"
        return "the user that runs this check"


USUAL_USER = "dmarcmilter"
"""Where there is no unit to name one."""


def of_running_filter(address: str, conf: str, user: str = "", *, postfix_directory: str = "") -> Scene:
    """The same for a filter that runs: its user is who listens at that milter socket, if that can be seen.

    Not root's: systemd may have made the socket for the filter.
    """
    uid = _listener(parse_socket(address)) if not user and os.geteuid() == 0 else 0
    found = accounts.by_uid(uid) if uid else None
    scene = gather(user or (found.name if found else ""), postfix_directory=postfix_directory, usual=uid != 0)
    return replace(scene, conf=conf, unit=scene.unit or systemd_unit.find())


def _listener(where: Socket) -> int | None:
    """The user id of the process that listens there (unix(7), SO_PEERCRED); None: not known."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(LISTENER_SECONDS)
            probe.connect(where.path if where.family == "unix" else "")
            _, uid, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except (OSError, struct.error):
        return None
    return int(uid)


def gather(user: str = "", *, postfix_directory: str = "", usual: bool = True) -> Scene:
    """Without a user: that of systemd's unit, or (`usual`) the usual one, as far as we may act as another."""
    unit = None if user else systemd_unit.find()
    name = user or _user(unit, usual=usual)
    group, more = (unit.group, unit.groups) if unit is not None else ("", ())
    main = postfix.find(postfix_directory)
    return Scene(
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
