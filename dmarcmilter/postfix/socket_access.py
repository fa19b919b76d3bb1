"""Access to the milter socket: tries to connect with Postfix's rights from its chroot, and says what to change."""

import contextlib
import errno
import os
import signal
import socket
import stat
import time
from pathlib import Path

from dmarcmilter.config.account_rights import Account, acting_as
from dmarcmilter.postfix.postconf import Postfix, Service, path_of

SECONDS = 5.0
"""Seconds to wait for one connection; then it counts as timed out."""
CANNOT_TRY = -1
"""In place of an errno: this process may not take Postfix's rights, so nothing was tried."""


def connect_as(account: Account | None, milter: str, service: Service, postfix: Postfix) -> int:
    """The errno of smtpd's connection to an address in smtpd_milters; 0: it succeeds; or CANNOT_TRY.

    A forked process does what smtpd(8) does: it changes to the queue directory, makes that its root if the service is
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
    """Connect as smtpd does, in the forked process; the errno, or 0."""
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
    except BaseException:  # noqa: BLE001  the forked process must end here, whatever happens
        return errno.EIO
    return 0


def _status(pid: int) -> int:
    """The exit status of the forked process, which is killed when it takes too long."""
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
    """The folder or socket that Postfix's user has no access to, and the command that grants it."""
    path = path_of(milter, postfix.queue_directory, chrooted=service.chrooted)
    if path is None:
        return ""
    closed = first_closed(path, account, top=postfix.queue_directory)
    if closed is not None:
        return f"it may not enter {closed}: {command_to_enter(closed, account, is_last=closed == path.parent)}"
    folder = path.parent
    return f"it may not write to the socket: {command_to_open(folder, account)}"


def first_closed(path: Path, account: Account | None, *, top: str = "") -> Path | None:
    """The first folder above the path that the account may not enter; None: it may enter all that exist.

    `top`: folders above this one do not count, because smtpd starts in it.
    """
    with acting_as(account):
        for folder in reversed(path.parents):
            if top and Path(top).is_relative_to(folder) and Path(top) != folder:
                continue
            if not os.access(folder, os.F_OK, effective_ids=True):
                return None
            if not os.access(folder, os.X_OK, effective_ids=True):
                return folder
    return None


def command_to_enter(folder: Path, account: Account, *, is_last: bool) -> str:
    """The command that lets the account enter a folder. `is_last`: the socket's own folder, whose group may change."""
    if not is_last:
        return f"chmod o+x {folder}"
    return command_to_open(folder, account)


def command_to_open(folder: Path, account: Account) -> str:
    """The command that lets the account enter the folder and use the socket that the filter makes there.

    Adds no account to a group: the folder gets the account's group, and through the set-group-ID bit (inode(7)) the
    socket does, too.
    """
    mode = 0o750
    with contextlib.suppress(OSError):
        mode = stat.S_IMODE(folder.stat().st_mode)
    new_mode = (mode | stat.S_ISGID | 0o050) & ~0o022
    return (
        f"chgrp {account.group_name} {folder} && chmod {new_mode:o} {folder} && systemctl restart dmarcmilter "
        '(with socket_mode = "0660" and no socket_group)'
    )
