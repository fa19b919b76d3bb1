"""Whether Postfix can connect to the milter socket: tried with its rights, from its chroot, by its spelling."""

import contextlib
import errno
import os
import signal
import socket
import stat
import time
from pathlib import Path

from dmarcmilter.postfix.accounts import Account, acting_as
from dmarcmilter.postfix.postconf import Postfix, Service, path_of

SECONDS = 5.0
"""For one connection."""
CANNOT_TRY = -1
"""Instead of an errno: this user may not take Postfix's rights."""


def connect_as(account: Account | None, milter: str, service: Service, postfix: Postfix) -> int:
    """0, or the errno that smtpd gets when it connects to that entry of smtpd_milters; CANNOT_TRY.

    A process of its own does as smtpd(8): it goes to the queue directory, makes that its root if the service is
    chrooted, takes the rights of Postfix's user, and connects.
    """
    kind, _, path = milter.partition(":")
    if account is None or kind != "unix" or os.geteuid() != 0:
        return CANNOT_TRY
    pid = os.fork()
    if pid == 0:
        os._exit(_connect(account, path, service, postfix))
    return _status(pid)


def _connect(account: Account, path: str, service: Service, postfix: Postfix) -> int:
    """In the new process: the errno."""
    try:
        os.chdir(postfix.queue_directory)
        if service.chrooted:
            os.chroot(".")
        os.setgroups(sorted(account.groups))
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SECONDS)
            connection.connect(path)
    except OSError as error:
        return (error.errno or errno.EIO) & 0xFF
    except BaseException:  # noqa: BLE001  nothing may return into the program that was forked
        return errno.EIO
    return 0


def _status(pid: int) -> int:
    end = time.monotonic() + SECONDS + 1
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return errno.ETIMEDOUT
        time.sleep(0.005)


def why_refused(account: Account, milter: str, service: Service, postfix: Postfix) -> str:
    """Which folder or socket keeps Postfix's user out, and the command that lets it in."""
    path = path_of(milter, postfix.queue_directory, chrooted=service.chrooted)
    if path is None:
        return ""
    closed = first_closed(path, account, top=postfix.queue_directory)
    if closed is not None:
        return f"it may not enter {closed}: {entering(closed, account, is_last=closed == path.parent)}"
    folder = path.parent
    return f"it may not write to the socket: {opening(folder, account)}"


def first_closed(path: Path, account: Account | None, *, top: str = "") -> Path | None:
    """The first folder above the path that the account may not enter. smtpd starts in `top`: what is above is past."""
    with acting_as(account):
        for folder in reversed(path.parents):
            if top and Path(top).is_relative_to(folder) and Path(top) != folder:
                continue
            if not os.access(folder, os.F_OK, effective_ids=True):
                return None
            if not os.access(folder, os.X_OK, effective_ids=True):
                return folder
    return None


def entering(folder: Path, account: Account, *, is_last: bool) -> str:
    """The command that lets the account enter; the group only where nothing else is in the folder."""
    if not is_last:
        return f"chmod o+x {folder}"
    return opening(folder, account)


def opening(folder: Path, account: Account) -> str:
    """The command after which the account may enter the folder and use the socket that the filter makes there.

    No account joins a group for it: the folder gets the account's group, and with the set-group-ID bit (inode(7)) so
    does the socket.
    """
    mode = 0o750
    with contextlib.suppress(OSError):
        mode = stat.S_IMODE(folder.stat().st_mode)
    wanted = (mode | stat.S_ISGID | 0o050) & ~0o022
    return (
        f"chgrp {account.group_name} {folder} && chmod {wanted:o} {folder} && systemctl restart dmarcmilter "
        '(with socket_mode = "0660" and no socket_group)'
    )
