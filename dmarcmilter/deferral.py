"""How long a message has been deferred already: one empty file each, its time that of the first deferral.

A sender whose DNS stays broken must not lose his mail, so a message is deferred for so long and then accepted (see
[defer] cap). All workers share the directory, and it outlives them. It tells nothing of anybody: a file's name is a
keyed hash of what makes the message this message and of the network that it came from.

What an attacker can do with it, and what holds him:
    - age a message and send it later from elsewhere: the client's network is in the name, so each network waits anew;
    - fill the directory: a network has one bucket, and a bucket so many places, so he fills his own; who finds no
      place is accepted, for without a record he would be deferred for ever;
    - guess names: they are keyed.
"""

import errno
import hashlib
import hmac
import logging
import os
import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

from dmarcmilter import sampling
from dmarcmilter.message import Message

log = logging.getLogger(__name__)

BUCKETS = 256
MAX_IN_BUCKET = 400
"""Files in one bucket: at most about 100,000 in all, each empty."""
KEEP_SECONDS = 7 * 86_400.0
"""After which a deferral is forgotten. Senders try for 4 or 5 days (RFC 5321 4.5.4.1)."""
NETWORK_BITS = {4: 16, 6: 32}
"""Large senders try again from another address, as a rule of the same allocation."""
NAME_OCTETS = 20
"""Of the hash: no two messages meet by accident."""

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""Errors that tell of this process and not of the directory: they pass, so they let no message through."""
BROKEN = KEEP_SECONDS
"""Instead of an age, when none can be kept: longer than any cap can be set, so that the message is accepted."""


class Deferrals:
    """May be used from several threads and processes. Never raises for a directory that does not work."""

    def __init__(self, directory: str, key: bytes, *, keep: bool = True, now: Callable[[], float] = time.time) -> None:
        """`keep`: False for those who only look, as `dmarcmilter check` does."""
        self._directory = Path(directory)
        self._key = key
        self._keep = keep
        self._now = now
        self._turn = 0
        self._trouble = ""

    def since(self, message: Message) -> float | None:
        """Seconds since this message was first deferred; None: it never was; BROKEN: that cannot be kept."""
        path = self._path(message)
        try:
            age = self._now() - path.stat().st_mtime
        except FileNotFoundError:
            return self._never(path.parent)
        except OSError as error:
            return self._broken(error) if self._keep else None
        return max(0.0, age) if age < KEEP_SECONDS else self._never(path.parent)

    def record(self, message: Message) -> None:
        """It is being deferred. Only the first time counts."""
        path = self._path(message)
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._create_or_renew(path)
            self._sweep_next()
        except OSError as error:
            self._broken(error)

    def _path(self, message: Message) -> Path:
        network = _network(message.envelope.client_ip)
        bucket = hmac.digest(self._key, b"bucket:" + network.encode(), hashlib.sha256)[0] % BUCKETS
        name = sampling.digest(message, f"deferral:{network}", self._key)[:NAME_OCTETS].hex()
        return self._directory / f"{bucket:02x}" / name

    def _never(self, bucket: Path) -> float | None:
        """None, when there is a place for a record; that is tried, not supposed."""
        if not self._keep:
            return None
        try:
            bucket.mkdir(mode=0o750, parents=True, exist_ok=True)
            taken = self._sweep(bucket)
            # Of this thread alone, and hidden from nobody: what a crash leaves of it is swept like the others.
            probe = bucket / f"probe.{os.getpid()}.{threading.get_ident()}"
            _create(probe)
            probe.unlink()
        except OSError as error:
            return self._broken(error)
        if taken >= MAX_IN_BUCKET:
            return self._say(f"more than {MAX_IN_BUCKET} messages of one network")
        self._trouble = ""
        return None

    def _create_or_renew(self, path: Path) -> None:
        """A record that is older than anything that counts begins anew."""
        try:
            _create(path)
        except FileExistsError:
            if self._now() - path.stat().st_mtime >= KEEP_SECONDS:
                os.utime(path)

    def _sweep_next(self) -> None:
        """One more bucket each time, so that those which nobody uses any more are emptied, too."""
        self._turn = (self._turn + 1) % BUCKETS
        bucket = self._directory / f"{self._turn:02x}"
        if bucket.is_dir():
            self._sweep(bucket)

    def _sweep(self, bucket: Path) -> int:
        """Remove what is forgotten; how many are left. At most a few more than MAX_IN_BUCKET can be there."""
        left = 0
        with os.scandir(bucket) as entries:
            for entry in entries:
                left += not self._swept(entry)
        return left

    def _swept(self, entry: "os.DirEntry[str]") -> bool:
        try:
            if self._now() - entry.stat(follow_symlinks=False).st_mtime < KEEP_SECONDS:
                return False
            Path(entry.path).unlink()
        except FileNotFoundError:  # another worker was quicker
            pass
        return True

    def _broken(self, error: OSError) -> float | None:
        if error.errno in OURS:
            log.warning("[defer] directory: %s; the message is deferred", error.strerror)
            return None
        return self._say(f"{self._directory}: {error.strerror or error}")

    def _say(self, trouble: str) -> float:
        """Once for each kind of trouble."""
        if trouble != self._trouble:
            log.error("[defer] directory: %s; what would be deferred anew is accepted", trouble)
        self._trouble = trouble
        return BROKEN


def _create(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))


def _network(client: IPv4Address | IPv6Address | None) -> str:
    if client is None:
        return "-"
    return str(ip_network((client, NETWORK_BITS[client.version]), strict=False))
