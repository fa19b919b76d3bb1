"""The milter socket: bound once by the supervisor, shared by all workers, never unlinked under them.

Or the service manager has bound it and hands it over (socket activation): then it outlives us, and who connects while
we restart waits instead of being refused.
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
from dmarcmilter.config.schema import Milter

log = logging.getLogger(__name__)

BACKLOG = 1024
FIRST_HANDED_OVER = 3
"""The descriptor of sd_listen_fds(3)."""
ORPHANS_SECONDS = 3.0
"""The workers of a supervisor that was killed may listen for a moment longer; nobody has to be told of that."""
POLL_SECONDS = 0.05


class ListenError(Exception):
    """The socket cannot be had; the text is for the administrator."""


class Listener:
    """A bound, listening, non-blocking socket.

    Non-blocking matters: of the workers that wake for one connection, those that lose the race must come back from
    accept() at once, or libmilter can no longer be stopped.
    """

    def __init__(self, settings: Milter) -> None:
        self._where = parse_socket(settings.socket)
        self._lock = -1
        self._inode: tuple[int, int] | None = None
        try:
            handed_over = _handed_over()
            if handed_over is not None:
                self.socket = _checked(handed_over, self._where)
            elif self._where.family == "unix":
                self.socket = self._bind_path(settings)
            else:
                self.socket = _bind_address(self._where)
        except OSError as error:
            advice = f": the filter's user has to own {Path(self._where.path).parent}" if self._where.path else ""
            text = f"{settings.socket}: {error.strerror or error}"
            raise ListenError(text + (advice if isinstance(error, PermissionError) else "")) from error
        self.socket.setblocking(False)

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        """Stop listening, and remove the socket if it is still ours. Never raises: messages are still in progress."""
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
            # Its folder has another owner by now. The next start takes the place of what is left there.
            log.warning("%s: %s: the socket stays where it is", path, error.strerror or error)
        os.close(self._lock)
        self._lock, self._inode = -1, None

    def release_lock(self) -> None:
        """In a worker: the lock is the supervisor's, and is to end with it."""
        if self._lock >= 0:
            os.close(self._lock)

    def disown(self) -> None:
        """In a process that has nothing to do with mail."""
        self.release_lock()
        self.socket.close()

    def _bind_path(self, settings: Milter) -> socket.socket:
        """Bind beside the final name and rename over it: no moment without a socket, none with a wrong mode."""
        path = Path(self._where.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(path.with_name(path.name + ".lock"))
        if not _within(ORPHANS_SECONDS, lambda: not _answers(path)):
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


def _handed_over() -> socket.socket | None:
    """The socket that the service manager has for us, if it has one (sd_listen_fds(3)). Asked once."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or count in ("", "0"):
        return None
    if count != "1":
        raise ListenError(
            f"the service manager hands over {count} sockets, and the milter has one: leave one ListenStream= in "
            "dmarcmilter.socket (systemctl cat dmarcmilter.socket)"
        )
    os.set_inheritable(FIRST_HANDED_OVER, False)
    return socket.socket(fileno=FIRST_HANDED_OVER)


def _checked(found: socket.socket, where: Socket) -> socket.socket:
    """What was handed over must be what a milter can use; where it listens is the service manager's decision."""
    if found.type != socket.SOCK_STREAM or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ListenError(
            "what the service manager hands over is no listening stream socket: ListenStream= and Accept=no are needed"
        )
    if found.family != socket.AF_UNIX:
        _answer_at_once(found)
    actual = _address(found)
    if actual != (where.path or (where.host, where.port)):
        log.error(
            "the service manager's socket is %s; [milter] socket is not used: it says %s, where `health` and `config "
            "check` look: make them the same, in the conf or by systemctl edit dmarcmilter.socket",
            actual if isinstance(actual, str) else f"{actual[0]} port {actual[1]}",
            where.path or f"{where.host} port {where.port}",
        )
    return found


def _address(listening: socket.socket) -> str | tuple[str, int]:
    """Where it listens: a path, or an address and a port."""
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return os.fsdecode(name)
    return str(ip_address(name[0].partition("%")[0])), int(name[1])


def _answer_at_once(listening: socket.socket) -> None:
    """Inherited by what is accepted: without it each message waits 40 ms for a delayed acknowledgement."""
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _locked(path: Path) -> int:
    """Hold the lock file for as long as the process lives, so that no second instance takes the socket away."""
    # Never through a link that somebody else has put there.
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ListenError(f"{path}: another dmarcmilter uses this socket") from error
    return lock


def _answers(path: Path) -> bool:
    """Whether somebody accepts connections at that path; a stale socket does not."""
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
    found = path.stat()
    return found.st_dev, found.st_ino


def _bind_address(where: Socket) -> socket.socket:
    family = socket.AF_INET6 if where.family == "inet6" else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    _answer_at_once(listening)
    try:
        if not _within(ORPHANS_SECONDS, lambda: _bound(listening, (where.host, where.port))):
            listening.bind((where.host, where.port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _bound(listening: socket.socket, address: tuple[str, int]) -> bool:
    """False: somebody else has the address."""
    try:
        listening.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise
    return True


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return found
