"""Privileges of the process: a user of its own, and files that other users cannot read.

A service manager sets these by User= and UMask=; this is for running without one.
"""

import ctypes
import os
import pwd
from typing import Final

PRIVATE: Final = 0o027
"""File mode mask: other users may not read our files, as outcomes say who sent mail to this receiver."""
_PR_SET_NO_NEW_PRIVS: Final = 38


class PrivilegesError(Exception):
    """The privileges cannot be changed as requested. The text is for the administrator."""


def keep_private() -> int:
    """Create files without access for other users; a stricter mask stays. Returns the mask before."""
    before = os.umask(0o777)
    os.umask(before | PRIVATE)
    return before


def become(name: str) -> None:
    """Become that user for good. Called before any file is opened, so that all files are created by that user."""
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise PrivilegesError(f"--user: there is no user {name!r}") from None
    if os.geteuid() != 0 and user.pw_uid != os.geteuid():
        raise PrivilegesError(f"--user: only root can become {name}")
    if os.geteuid() != 0 or user.pw_uid == 0:
        return
    # Groups first: only root may change them.
    os.initgroups(user.pw_name, user.pw_gid)
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    _no_new_privileges()
    _check_readable(name)


def _check_readable(name: str) -> None:
    """PrivilegesError: the user cannot read Python, or this program, and so could not import anything later."""
    for needed in (os.__file__, __file__):
        if not os.access(needed, os.R_OK):
            raise PrivilegesError(f"--user: {name} may not read {needed}, and needs it")


def _no_new_privileges() -> None:
    """Forbid that any program started from here gains privileges. Linux only; does nothing elsewhere."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def is_root() -> bool:
    return os.geteuid() == 0
