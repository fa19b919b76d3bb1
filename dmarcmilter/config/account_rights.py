"""Accounts of this machine, and acting with the rights of one, such as the user that the filter or Postfix runs as."""

import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager

from dmarcmilter.value import Value


class Account(Value):
    """A user with its group ids."""

    name: str
    uid: int
    gid: int
    groups: frozenset[int]
    """Ids of all its groups, including `gid`."""

    @property
    def group_name(self) -> str:
        return _group_name(self.gid)

    @property
    def group_names(self) -> frozenset[str]:
        return frozenset(map(_group_name, self.groups))


def account(name: str, *, group: str = "", more_groups: tuple[str, ...] = ()) -> Account | None:
    """The account of that name; None: no such user.

    `group`, `more_groups`: replace and add groups, as systemd's Group= and SupplementaryGroups= do.
    """
    try:
        user = pwd.getpwnam(name)
        gid = grp.getgrnam(group).gr_gid if group else user.pw_gid
    except KeyError:
        return None
    groups = {gid, *os.getgrouplist(user.pw_name, user.pw_gid)}
    groups |= {entry.gr_gid for entry in grp.getgrall() if entry.gr_name in more_groups}
    return Account(user.pw_name, user.pw_uid, gid, frozenset(groups))


def by_uid(uid: int) -> Account | None:
    """The account with that user id; None: the id has no name."""
    try:
        return account(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return None


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def can_act_as(account: Account | None) -> bool:
    """Whether this process can act with the account's rights: it is root or that user."""
    return account is not None and (os.geteuid() in {0, account.uid})


@contextmanager
def acting_as(account: Account | None) -> Iterator[None]:
    """Run the block with the account's rights to files and sockets if this process is root, else with its own rights.

    Changes the effective ids of the whole process meanwhile, so not for a process whose other threads do work.
    """
    if account is None or os.geteuid() != 0 or account.uid == 0:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    try:
        # Only root may change groups, so the user changes last and is restored first.
        os.setgroups(sorted(account.groups))
        os.setegid(account.gid)
        os.seteuid(account.uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)
