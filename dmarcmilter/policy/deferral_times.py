"""Records of deferred messages: an empty file for each, whose time is that of the first deferral.

A sender whose DNS stays broken must not lose mail, so a message is deferred for [defer] cap seconds and then
quarantined, or accepted where no policy is known. All workers share the directory, and it outlives them. File names
are keyed hashes of the client's network, its subnet, and what makes the message this message.

What an attacker can do with it, and what prevents it:
    - age a message and send it later from elsewhere: the client's network is in the name, so each network waits anew;
    - fill the directory: subnets, networks and buckets have bounds of their own. A message that finds no place is
      treated as one that has waited: without a record its deferral would never end. With a policy of quarantine or
      reject known it is quarantined, so filling the directory gets no forgery through;
    - guess names: they are keyed.
"""

import errno
import hashlib
import hmac
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

from dmarcmilter.mail.message import Message
from dmarcmilter.policy import message_digest
from dmarcmilter.value import Value

log = logging.getLogger(__name__)

BUCKETS = 256
"""Folders; each network has one of them, which it shares with others."""
MAX_IN_BUCKET = 1600
"""Files in one bucket: at most about 400,000 in all, each empty."""
MAX_OF_NETWORK = 800
"""Files of one network: half a bucket, so that one network alone takes no place from the others in its bucket."""
MAX_OF_SUBNET = 400
"""Files of one subnet: half a network, so that one customer of a provider leaves places to the provider's others."""
KEEP_SECONDS = 7 * 86_400.0
"""Seconds after which a deferral is forgotten. Senders try for 4 or 5 days (RFC 5321 4.5.4.1)."""
SWEEP_SECONDS = 1.0
"""Seconds between two sweeps of a bucket that is not in use just now."""
FULL_SECONDS = 10.0
"""Seconds between two sweeps of a full bucket."""
NETWORK_BITS = {4: 16, 6: 32}
"""Prefix length of a network. Large senders try again from another address, as a rule of the same allocation."""
SUBNET_BITS = {4: 24, 6: 48}
"""Prefix length of a subnet: what one customer of a provider has."""
NAME_OCTETS = 20
"""Bytes of a message's hash: no two messages meet by accident."""
TAG_OCTETS = 4
"""Bytes of a network's and of a subnet's hash: two that meet share their bound."""

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""Errors of this process, not of the directory. They pass, so they let no message through."""
BROKEN = math.inf
"""Returned instead of an age: the deferral cannot be recorded, so it would never end."""


class _Place(Value):
    """Where the record of a message belongs."""

    bucket: Path
    network: str
    subnet: str
    message: str


class Deferrals:
    """May be used from several threads and processes. Never raises for a directory that does not work."""

    def __init__(self, directory: str, key: bytes, *, keep: bool = True, now: Callable[[], float] = time.time) -> None:
        """`keep`: False to only read records, as `dmarcmilter check` does."""
        self._directory = Path(directory)
        self._key = key
        self._keep = keep
        self._now = now
        self._turn = 0
        self._last_sweep = 0.0
        self._full: dict[str, float] = {}
        """Full buckets, and when each was last swept."""
        self._trouble = ""

    def since(self, message: Message) -> float | None:
        """Seconds since this message was first deferred; None: it never was; BROKEN: that cannot be recorded."""
        place = self._place(message)
        try:
            names = self._names(place.bucket)
            times = [self._time(place.bucket / name) for name in names if name.endswith(place.message)]
        except OSError as error:
            return self._broken(error) if self._keep else None
        known = [time_of_file for time_of_file in times if time_of_file is not None]
        return max(0.0, self._now() - min(known)) if known else self._never(place, names)

    def record(self, message: Message) -> None:
        """Record that the message is deferred. Only the first time counts."""
        place = self._place(message)
        try:
            place.bucket.mkdir(mode=0o750, parents=True, exist_ok=True)
            known = [name for name in self._names(place.bucket) if name.endswith(place.message)]
            if not any(self._time(place.bucket / name) is not None for name in known):
                _create(place.bucket / f"{place.network}{place.subnet}{place.message}")
            self._sweep_next()
        except FileExistsError:  # another worker was quicker
            pass
        except OSError as error:
            self._broken(error)

    def _place(self, message: Message) -> "_Place":
        client = message.envelope.client_ip
        network, subnet = _prefix(client, NETWORK_BITS), _prefix(client, SUBNET_BITS)
        bucket = self._hash("bucket", network)[0] % BUCKETS
        return _Place(
            bucket=self._directory / f"{bucket:02x}",
            network=self._hash("network", network)[:TAG_OCTETS].hex(),
            subnet=self._hash("subnet", subnet)[:TAG_OCTETS].hex(),
            message=message_digest.digest(message, f"deferral:{network}", self._key)[:NAME_OCTETS].hex(),
        )

    def _hash(self, purpose: str, text: str) -> bytes:
        return hmac.digest(self._key, f"{purpose}:{text}".encode(), hashlib.sha256)

    def _never(self, place: "_Place", names: list[str]) -> float | None:
        """None if there is a place for a record; that is tried, not supposed."""
        if not self._keep:
            return None
        try:
            place.bucket.mkdir(mode=0o750, parents=True, exist_ok=True)
            # A name of this thread alone. A crash may leave it behind; it is swept like the others.
            probe = place.bucket / f"probe.{os.getpid()}.{threading.get_ident()}"
            _create(probe)
            probe.unlink()
            full = _why_full(place, names)
            if full and self._may_sweep(place.bucket):
                full = _why_full(place, self._swept(place.bucket))
        except OSError as error:
            return self._broken(error)
        if full:
            return self._say(full)
        self._trouble = ""
        return None

    def _names(self, bucket: Path) -> list[str]:
        try:
            return os.listdir(bucket)  # noqa: PTH208  names alone, in a third of the time
        except FileNotFoundError:
            return []

    def _time(self, path: Path) -> float | None:
        """When that record was made; None: it is gone. Removes what is older than KEEP_SECONDS."""
        try:
            made = path.stat(follow_symlinks=False).st_mtime
            if self._now() - made < KEEP_SECONDS:
                return made
            path.unlink()
        except FileNotFoundError:  # another worker was quicker
            pass
        return None

    def _may_sweep(self, bucket: Path) -> bool:
        """Whether a full bucket was not swept just now: a flood must not have it read for each message."""
        last = self._full.get(bucket.name)
        if last is not None and abs(self._now() - last) < FULL_SECONDS:
            return False
        self._full[bucket.name] = self._now()
        return True

    def _swept(self, bucket: Path) -> list[str]:
        """Names of the records in a bucket after what is too old was removed."""
        return [name for name in self._names(bucket) if self._time(bucket / name) is not None]

    def _sweep_next(self) -> None:
        """Sweep one more bucket now and then, so that those which are no longer used are emptied, too."""
        if abs(self._now() - self._last_sweep) < SWEEP_SECONDS:
            return
        self._last_sweep = self._now()
        self._turn = (self._turn + 1) % BUCKETS
        self._swept(self._directory / f"{self._turn:02x}")

    def _broken(self, error: OSError) -> float | None:
        if error.errno in OURS:
            log.warning("[defer] directory: %s; the message is deferred", error.strerror)
            return None
        return self._say(f"{self._directory}: {error.strerror or error}")

    def _say(self, trouble: str) -> float:
        """Log each kind of failure once."""
        if trouble != self._trouble:
            log.error("[defer] directory: %s; what would be deferred anew is quarantined or accepted at once", trouble)
        self._trouble = trouble
        return BROKEN


def _why_full(place: _Place, names: list[str]) -> str:
    """Which bound leaves no place for one more record; empty: none."""
    if len(names) >= MAX_IN_BUCKET:
        return f"more than {MAX_IN_BUCKET} messages of networks that share a bucket"
    if sum(name.startswith(place.network + place.subnet) for name in names) >= MAX_OF_SUBNET:
        return f"more than {MAX_OF_SUBNET} messages of one subnet"
    if sum(name.startswith(place.network) for name in names) >= MAX_OF_NETWORK:
        return f"more than {MAX_OF_NETWORK} messages of one network"
    return ""


def _create(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))


def _prefix(client: IPv4Address | IPv6Address | None, bits: dict[int, int]) -> str:
    if client is None:
        return "-"
    return str(ip_network((client, bits[client.version]), strict=False))
