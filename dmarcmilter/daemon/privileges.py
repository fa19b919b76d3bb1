"""Rights of the process: those of a user of its own, and files that nobody else can read.

The service manager does this with User= and UMask=; here it is done where there is none.
"""

import ctypes
import os
import pwd
from typing import Final

PRIVATE: Final = 0o027
"""What we make is our user's, and our group's to read: outcomes tell who wrote to this site."""
_PR_SET_NO_NEW_PRIVS: Final = 38


class PrivilegesError(Exception):
    """The rights wanted cannot be had; the text is for the administrator."""


def keep_private() -> int:
    """From now on nothing is made for every user of the machine; a stricter mask stays. The mask as it was."""
    before = os.umask(0o777)
    os.umask(before | PRIVATE)
    return before


def become(name: str) -> None:
    """Take that user's rights for good. To be called before anything is opened, so that all is made as that user."""
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise PrivilegesError(f"--user: there is no user {name!r}") from None
    if os.geteuid() != 0 and user.pw_uid != os.geteuid():
        raise PrivilegesError(f"--user: only root can become {name}")
    if os.geteuid() != 0 or user.pw_uid == 0:
        return
    # Groups first: the right to change them goes with the user.
    os.initgroups(user.pw_name, user.pw_gid)
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    _no_new_privileges()
    _check_readable(name)


def _check_readable(name: str) -> None:
    """What is loaded later must be to be had: Python itself, and this program, may be in a folder of root's."""
    for needed in (os.__file__, __file__):
        if not os.access(needed, os.R_OK):
            raise PrivilegesError(f"--user: {name} may not read {needed}, and needs it")


def _no_new_privileges() -> None:
    """No program that we could be made to start gets more rights than ours (Linux; elsewhere nothing happens)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def is_root() -> bool:
    return os.geteuid() == 0
