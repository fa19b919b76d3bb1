"""What a conf file is judged against: this machine, its Postfix, and the user that the filter runs as."""

import os
import socket
from dataclasses import dataclass
from datetime import UTC, date, datetime

from dmarcmilter.advice import accounts, postfix, units
from dmarcmilter.advice.accounts import Account
from dmarcmilter.advice.postfix import Postfix
from dmarcmilter.advice.units import Unit


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

    @property
    def who(self) -> str:
        """For sentences: whose rights were tried."""
        if self.account is not None and accounts.can_act_as(self.account):
            return f"the user {self.account.name}"
        return "the user that runs this check"


USUAL_USER = "dmarcmilter"
"""Where there is no unit to name one."""


def gather(user: str = "", *, postfix_directory: str = "") -> Scene:
    """Without a user: that of systemd's unit, or the usual one, as far as we may act as another."""
    unit = None if user else units.find()
    name = user or _user(unit)
    group, more = (unit.group, unit.groups) if unit is not None else ("", ())
    return Scene(
        today=datetime.now(UTC).date(),
        hostname=socket.gethostname(),
        user=name,
        account=accounts.account(name, group=group, more_groups=more) if name else None,
        unit=unit,
        postfix=postfix.find(postfix_directory),
    )


def _user(unit: Unit | None) -> str:
    if os.geteuid() != 0:
        return ""
    if unit is not None:
        return unit.user
    return USUAL_USER if accounts.account(USUAL_USER) else ""
