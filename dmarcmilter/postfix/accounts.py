"""Whose rights count: the user that the filter runs as, and doing something with them."""

import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    uid: int
    gid: int
    groups: frozenset[int]
    """All of them, `gid` too."""

    @property
    def group_name(self) -> str:
        return _group_name(self.gid)

    @property
    def group_names(self) -> frozenset[str]:
        return frozenset(map(_group_name, self.groups))


def account(name: str, *, group: str = "", more_groups: tuple[str, ...] = ()) -> Account | None:
    """None: there is no such user here. Groups as systemd's Group= and SupplementaryGroups= would give them."""
    try:
        found = pwd.getpwnam(name)
        gid = grp.getgrnam(group).gr_gid if group else found.pw_gid
    except KeyError:
        return None
    groups = {gid, *os.getgrouplist(found.pw_name, found.pw_gid)}
    groups |= {entry.gr_gid for entry in grp.getgrall() if entry.gr_name in more_groups}
    return Account(found.pw_name, found.pw_uid, gid, frozenset(groups))


def by_uid(uid: int) -> Account | None:
    """None: a number without a name."""
    try:
        return account(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return None


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def can_act_as(who: Account | None) -> bool:
    """Only root can take the rights of others."""
    return who is not None and (os.geteuid() in {0, who.uid})


@contextmanager
def acting_as(who: Account | None) -> Iterator[None]:
    """With that account's rights to files and sockets, if we may; else with our own.

    The effective ids of this whole process change for the moment: not for a program with other threads at work.
    """
    if who is None or os.geteuid() != 0 or who.uid == 0:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    try:
        # Rights to change groups go with the user, so the user changes last and comes back first.
        os.setgroups(sorted(who.groups))
        os.setegid(who.gid)
        os.seteuid(who.uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)
