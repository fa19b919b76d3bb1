"""The milter socket: bound once by the supervisor, shared by all workers, never unlinked while they serve.

With socket activation the service manager has bound it. It then outlives this process, and connections wait during a
restart instead of being refused.
"""

import errno
import fcntl
import grp
import logging
import os
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from dmarcmilter.config.endpoint import Socket, parse_socket
from dmarcmilter.config.schema import MilterSection

log = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that may wait to be accepted; beyond it the kernel refuses, or delays, further ones."""
FIRST_PASSED_FD = 3
"""Number of the first descriptor that a service manager passes (sd_listen_fds(3))."""
ORPHANS_SECONDS = 3.0
"""Seconds to wait for an address in use: workers of a killed supervisor listen for a moment longer."""
POLL_SECONDS = 0.05
"""Seconds between two looks while waiting for it."""


class ListenError(Exception):
    """The socket cannot be opened. The text is for the administrator."""


class Listener:
    """A bound, listening, non-blocking socket.

    It must not block: all workers wake for a connection, and those that do not get it must return from accept() at
    once, or their libmilter could not be stopped.
    """

    def __init__(self, settings: MilterSection) -> None:
        self._where = parse_socket(settings.socket)
        self._lock = -1
        self._inode: tuple[int, int] | None = None
        try:
            passed = _passed_by_manager()
            if passed is not None:
                self.socket = _checked(passed, self._where)
            elif self._where.family == "unix":
                self.socket = self._bind_path(settings)
            else:
                self.socket = _bind_address(self._where)
        except OSError as error:
            raise ListenError(_in_words(error, settings.socket, self._where)) from error
        self.socket.setblocking(False)

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        """Stop listening, and remove the socket file if it is still ours. Never raises: messages are in progress."""
        self.socket.close()
        if self._inode is None:
            return
        path = Path(self._where.path)
        try:
            if _inode(path) == self._inode:
                path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            # Its folder has another owner by now. The next start replaces the file.
            log.warning("%s: %s: the socket stays where it is", path, error.strerror or error)
        os.close(self._lock)
        self._lock, self._inode = -1, None

    def release_lock(self) -> None:
        """Called in a worker: the lock belongs to the supervisor, and must end with it."""
        if self._lock >= 0:
            os.close(self._lock)

    def disown(self) -> None:
        """Called in a process that handles no mail."""
        self.release_lock()
        self.socket.close()

    def _bind_path(self, settings: MilterSection) -> socket.socket:
        """Bind under a temporary name and rename it: there is no moment without a socket, or with a wrong mode."""
        path = Path(self._where.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(path.with_name(path.name + ".lock"))
        if not _within(ORPHANS_SECONDS, lambda: not _is_served(path)):
            raise ListenError(
                f"{path}: another program listens there (if it is systemd, by dmarcmilter.socket: start the filter by "
                "systemctl start dmarcmilter.service, or stop dmarcmilter.socket)"
            )
        group = _group(settings.socket_group) if settings.socket_group else -1
        draft = path.with_name(f".{os.getpid()}")
        draft.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            listening.bind(str(draft))
        finally:
            os.umask(before)
        try:
            os.chown(draft, -1, group)
            draft.chmod(int(settings.socket_mode, 8))
            listening.listen(BACKLOG)
            draft.rename(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        self._inode = _inode(path)
        return listening


def _in_words(error: OSError, address: str, where: Socket) -> str:
    """Why the socket cannot be opened, and what to do."""
    text = f"[milter] socket: {address}: {error.strerror or error}"
    if error.errno == errno.EADDRINUSE:
        return f"{text}: another program listens there; `ss -ltnp` shows which"
    if isinstance(error, PermissionError) and where.path:
        return f"{text}: the filter's user has to own {Path(where.path).parent}"
    return text


def _passed_by_manager() -> socket.socket | None:
    """The socket that the service manager passes (sd_listen_fds(3)); None: it passes none. To be called once."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or count in ("", "0"):
        return None
    if count != "1":
        raise ListenError(
            f"the service manager hands over {count} sockets, and the milter has one: leave one ListenStream= in "
            "dmarcmilter.socket (systemctl cat dmarcmilter.socket)"
        )
    os.set_inheritable(FIRST_PASSED_FD, False)
    return socket.socket(fileno=FIRST_PASSED_FD)


def _checked(passed: socket.socket, where: Socket) -> socket.socket:
    """The passed socket. ListenError: a milter cannot use it. Its address is the service manager's choice."""
    if passed.type != socket.SOCK_STREAM or not passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ListenError(
            "what the service manager hands over is no listening stream socket: ListenStream= and Accept=no are needed"
        )
    if passed.family != socket.AF_UNIX:
        _send_without_delay(passed)
    actual = _address(passed)
    if actual != (where.path or (where.host, where.port)):
        log.error(
            "the service manager's socket is %s; [milter] socket is not used: it says %s, where `health` and `config "
            "check` look: make them the same, in the conf or by systemctl edit dmarcmilter.socket",
            actual if isinstance(actual, str) else f"{actual[0]} port {actual[1]}",
            where.path or f"{where.host} port {where.port}",
        )
    return passed


def _address(listening: socket.socket) -> str | tuple[str, int]:
    """The path that a socket listens at, or its address and port."""
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return os.fsdecode(name)
    return str(ip_address(name[0].partition("%")[0])), int(name[1])


def _send_without_delay(listening: socket.socket) -> None:
    """Set TCP_NODELAY, which connections inherit: without it each message waits 40 ms for a delayed acknowledgment."""
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _locked(path: Path) -> int:
    """Lock the lock file for the life of the process, so that no second instance replaces the socket."""
    # O_NOFOLLOW: another user may have placed a symbolic link there.
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ListenError(f"{path}: another dmarcmilter uses this socket") from error
    return lock


def _is_served(path: Path) -> bool:
    """Whether a process accepts connections at that path. With a stale socket none does."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ListenError(f"[milter] socket_group: there is no group {name!r}") from None


def _inode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _bind_address(where: Socket) -> socket.socket:
    family = socket.AF_INET6 if where.family == "inet6" else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    _send_without_delay(listening)
    try:
        if not _within(ORPHANS_SECONDS, lambda: _try_bind(listening, (where.host, where.port))):
            listening.bind((where.host, where.port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _try_bind(listening: socket.socket, address: tuple[str, int]) -> bool:
    """Try to bind; False: the address is in use."""
    try:
        listening.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise
    return True


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Wait until the condition holds; False: it does not within that time."""
    end = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return holds
