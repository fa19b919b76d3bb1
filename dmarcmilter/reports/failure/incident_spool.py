"""The folder of incidents, which workers write and the report run reads.

One file holds all incidents of one kind: the first as a line, each further one as one byte after it. So workers need no
lock, and a flood of one kind costs no more than its first message. Number and bytes are bounded: a flood first
displaces incidents of its own organization and its own client.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

import msgspec

from dmarcmilter.reports.delivery.organization_turns import turns
from dmarcmilter.reports.failure.incident import Incident, IncidentOutcome, client_of, kind
from dmarcmilter.value import Value

VERSION = 1
"""Version of the file format. Files of another version are deleted."""
MAX_FILES = 1000
"""Files in the folder. If it is full, the organization or client with most of them loses one to one with fewer."""
MAX_FILES_OF_ORGANIZATION = 100
"""Files of one organization, all its subdomains included. Beyond it, its client with most of them loses one, or the new
incident is refused.
"""
MAX_AGE = 86_400
"""Seconds after which an incident is no longer reported but dropped (RFC 9991 3 wants failure reports soon)."""
MAX_LINE = 65_536
"""Largest incident in bytes; a larger one is refused. The header fields shown have fewer."""
MAX_FURTHER = 1_000_000
"""Incidents counted after the first. Further ones are not counted."""
FILE_MODE = 0o640
SUFFIX = ".incident"
FURTHER_MARK = b"+"
"""The byte that counts one more incident of the same kind."""
OwnerOf = Callable[[str], str]
"""The organization, or the client, that a file name names."""
DRAFT_SECONDS = 3600
"""Seconds after which a draft is deleted: the worker that wrote it has ended."""
CENSUS_SECONDS = 1.0
"""Seconds for which a full folder is not read again: incidents are refused by what it held then."""
OLD_SECONDS = 60.0
"""Seconds between two searches for old incidents in a full folder."""
NAME_DIGITS = 16
"""Hexadecimal digits of the hash of an organization, and of a client, in the name of a file."""


class FullError(OSError):
    """The spool has no room for this incident now."""


class SpooledIncident(Value):
    """An incident and its file."""

    path: Path
    incident: Incident


class _Census:
    """The incidents of the folder at one moment, counted by organization and client."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._organizations = Counter(map(_organization, names))
        self._clients = Counter(map(_client, names))
        self._both = Counter(map(_both, names))
        self._largest = {owner: max(counts.values(), default=0) for owner, counts in self._counts()}
        self._largest_of: dict[str, int] = {}
        """By organization: the number of incidents of its client with most of them."""
        for both, count in self._both.items():
            organization = _organization(both)
            self._largest_of[organization] = max(count, self._largest_of.get(organization, 0))

    def _counts(self) -> tuple[tuple[OwnerOf, Counter[str]], ...]:
        return (_organization, self._organizations), (_client, self._clients)

    def largest_beside(self, new: str) -> list[str] | None:
        """The incidents of which one must be deleted for the new one. Empty if there is room, None if it is refused."""
        own = self._organizations[_organization(new)]
        if own >= MAX_FILES_OF_ORGANIZATION:
            largest = self._largest_of[_organization(new)]
            if self._both[_both(new)] + 1 >= largest:
                return None
            own_names = [name for name in self.names if _organization(name) == _organization(new)]
            return [name for name in own_names if self._both[_both(name)] == largest]
        if len(self.names) < MAX_FILES:
            return []
        for owner_of, counts in self._counts():
            if counts[owner_of(new)] + 1 < self._largest[owner_of]:
                most = next(key for key, count in counts.items() if count == self._largest[owner_of])
                return [name for name in self.names if owner_of(name) == most]
        return None


class IncidentSpool:
    """The folder, for workers that write incidents and the run that reads them."""

    def __init__(self, directory: str, organization: Callable[[str], str] = str) -> None:
        """`organization`: the Organizational Domain of a policy domain."""
        self._directory = Path(directory)
        self._organization = organization
        self._census = _Census([])
        self._counted_at = -CENSUS_SECONDS
        """Monotonic time of the census."""
        self._looked_for_old = 0.0

    def put(self, incident: Incident) -> None:
        """Add an incident. OSError (FullError) if it cannot be written."""
        name = self._name(incident)
        path = self._directory / name
        if _counted(path):
            return
        line = incident_to_json(incident)
        if len(line) > MAX_LINE:
            raise FullError(f"an incident of {len(line)} bytes")
        self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._make_room(name)
        self._publish(line, path, incident.id)

    def _name(self, incident: Incident) -> str:
        outcome = incident.outcome
        organization = _digits(self._organization(outcome.policy.domain))
        return f"{organization}-{_digits(client_of(outcome.client_ip))}-{kind(outcome)}{SUFFIX}"

    def _make_room(self, new: str) -> None:
        """Delete an incident if the folder is full. FullError if no other organization or client has more of them."""
        if time.monotonic() < self._counted_at + CENSUS_SECONDS and self._census.largest_beside(new) is None:
            # In a flood, the folder must not be read for each message.
            raise FullError(self._problem())
        names = [name for name in os.listdir(self._directory) if name.endswith(SUFFIX)]  # noqa: PTH208
        self._census, self._counted_at = _Census(names), time.monotonic()
        candidates = self._census.largest_beside(new)
        if candidates is None and not (len(names) >= MAX_FILES and self._remove_old(names)):
            raise FullError(self._problem())
        if candidates:
            newest = max(candidates, key=self._changed)
            (self._directory / newest).unlink(missing_ok=True)

    def _problem(self) -> str:
        return f"it holds {len(self._census.names)} incidents, and no other organization or client has more of them"

    def _remove_old(self, names: list[str]) -> bool:
        """Delete incidents that no run took within a day, at most once a minute. Returns whether there were any."""
        now = time.time()
        if abs(now - self._looked_for_old) < OLD_SECONDS:
            return False
        self._looked_for_old = now
        old = [name for name in names if 0 < self._changed(name) < now - MAX_AGE]
        for name in old:
            (self._directory / name).unlink(missing_ok=True)
        return bool(old)

    def _changed(self, name: str) -> float:
        """Time of the last change in seconds since 1970; 0 if the file is gone."""
        try:
            return os.stat(self._directory / name).st_mtime  # noqa: PTH116  called often
        except OSError:
            return 0.0

    def _publish(self, line: bytes, path: Path, identifier: str) -> None:
        """Write the file whole or not at all, even if the process is killed: a reader never sees half a line."""
        draft = self._directory / f".{identifier}"
        try:
            with open(draft, "xb", opener=_private) as file:
                file.write(line)
            try:
                path.hardlink_to(draft)
            except FileExistsError:  # another worker was first
                _counted(path)
        finally:
            draft.unlink(missing_ok=True)

    def entries(self, had: Mapping[str, int] | None = None) -> Iterator[SpooledIncident | Path]:
        """The incidents, organizations taking turns, least recently changed first.

        `had`: number of reports that each organization has had lately. For a file that is no incident, its path alone.
        """
        digits = {_digits(organization): count for organization, count in (had or {}).items()}
        for _, name in turns(self._in_order(), _organization, digits):
            path = self._directory / name
            try:
                line, _, further = path.read_bytes().partition(b"\n")
                yield SpooledIncident(path, incident_from_json(line, 1 + further.count(FURTHER_MARK)))
            except ValueError:
                yield path
            except OSError:  # deleted meanwhile, or not readable: the next run tries again
                continue

    def _in_order(self) -> list[str]:
        try:
            with os.scandir(self._directory) as scanned:
                files = [(entry.stat().st_mtime, entry.name) for entry in scanned if entry.name.endswith(SUFFIX)]
        except OSError:
            return []
        return [name for _, name in sorted(files)[: 2 * MAX_FILES]]

    def tidy(self, now: float) -> None:
        """Delete files that are no incidents, and drafts of workers that were killed."""
        for entry in self.entries():
            if isinstance(entry, Path):
                entry.unlink(missing_ok=True)
        for draft in self._directory.glob(".*"):
            if draft.is_file() and draft.stat().st_mtime < now - DRAFT_SECONDS:
                draft.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, FILE_MODE)


def _counted(path: Path) -> bool:
    """Count one more incident in an existing file. False if there is no file."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:
        return False
    try:
        if os.fstat(file).st_size < MAX_LINE + MAX_FURTHER:
            os.write(file, FURTHER_MARK)
    finally:
        os.close(file)
    return True


def _digits(text: str) -> str:
    return blake2b(text.encode(), digest_size=NAME_DIGITS // 2).hexdigest()


def _organization(name: str) -> str:
    """The part of a file name that identifies the organization."""
    return name[:NAME_DIGITS]


def _client(name: str) -> str:
    """The part of a file name that identifies the client; empty in files of older versions."""
    start, end = NAME_DIGITS + 1, 2 * NAME_DIGITS + 1
    return name[start:end] if name[end : end + 1] == "-" else ""


def _both(name: str) -> str:
    """The part of a file name that identifies organization and client."""
    return name[: 2 * NAME_DIGITS + 1]


class _Line(Value, kw_only=True):
    """The line of an incident in its file."""

    v: int
    id: str
    outcome: IncidentOutcome
    mail_from: str
    fields: tuple[tuple[str, str], ...]


def incident_to_json(incident: Incident) -> bytes:
    """The line of an incident."""
    line = _Line(
        v=VERSION,
        id=incident.id,
        outcome=incident.outcome,
        mail_from=incident.mail_from,
        fields=tuple(incident.fields),
    )
    return msgspec.json.encode(line) + b"\n"


def incident_from_json(line: bytes, count: int) -> Incident:
    """Read the line of an incident. ValueError if it is not valid: a run must not stop at a damaged file."""
    try:
        read = msgspec.json.decode(line, type=_Line)
        datetime.fromisoformat(read.outcome.time)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"not an incident: {error}") from error
    if read.v != VERSION or not read.id.isalnum():
        raise ValueError("an incident of another version")
    return Incident(read.id, read.outcome, read.mail_from, read.fields, count)
