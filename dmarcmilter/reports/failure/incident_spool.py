"""Incidents on their way from the filter to the process that reports them: a folder of small files.

One file stands for all incidents of one kind: the first is its line, each further one a single octet behind it. So
many workers need no lock, and a flood of one kind costs no more than its first message. Bounded in number and bytes:
a flood takes the place of its own organization's and its own client's incidents first.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

import msgspec

from dmarcmilter.reports.delivery.organization_turns import turns
from dmarcmilter.reports.failure.incident import Incident, IncidentOutcome, client_of, kind

VERSION = 1
"""Of an incident; a changed meaning is a new number."""
MAX_FILES = 1000
"""Incidents in the folder. In a full one the organization or client with most of them loses one to one with fewer."""
MAX_FILES_OF_ORGANIZATION = 100
"""Incidents of one organization, whatever names it makes up below its own."""
MAX_AGE = 86_400
"""Seconds after which an incident is dropped instead of reported (RFC 9991 3 means failure reports to be quick)."""
MAX_LINE = 65_536
"""Octets of an incident; the fields shown of a header come to less."""
MAX_FURTHER = 1_000_000
"""Incidents counted behind the first."""
FILE_MODE = 0o640
SUFFIX = ".incident"
ANOTHER = b"+"
Side = Callable[[str], str]
"""From the name of a file to that of an organization or a client."""
DRAFT_SECONDS = 3600
"""A draft older than this belongs to a worker that ended."""
CENSUS_SECONDS = 1.0
"""Seconds for which incidents are refused by what a full folder held, before it is read again."""
OLD_SECONDS = 60.0
"""Seconds between two looks for old incidents in a full spool."""
NAME_DIGITS = 16
"""Hexadecimal digits that stand for an organization, and for a client, in the name of a file."""


class FullError(OSError):
    """The spool has no room for this incident now."""


@dataclass(frozen=True, slots=True)
class Entry:
    path: Path
    incident: Incident


class _Census:
    """Whose incidents a folder held at one moment."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._organizations = Counter(map(_organization, names))
        self._clients = Counter(map(_client, names))
        self._both = Counter(map(_both, names))
        self._largest = {side: max(counts.values(), default=0) for side, counts in self._sides()}
        self._largest_of: dict[str, int] = {}
        """By organization: how many incidents its largest client has."""
        for both, count in self._both.items():
            organization = _organization(both)
            self._largest_of[organization] = max(count, self._largest_of.get(organization, 0))

    def _sides(self) -> tuple[tuple[Side, Counter[str]], ...]:
        return (_organization, self._organizations), (_client, self._clients)

    def largest_beside(self, new: str) -> list[str] | None:
        """The incidents one of which must go for the new one; empty: there is room; None: there is none."""
        own = self._organizations[_organization(new)]
        if own >= MAX_FILES_OF_ORGANIZATION:
            largest = self._largest_of[_organization(new)]
            if self._both[_both(new)] + 1 >= largest:
                return None
            mine = [name for name in self.names if _organization(name) == _organization(new)]
            return [name for name in mine if self._both[_both(name)] == largest]
        if len(self.names) < MAX_FILES:
            return []
        for side, counts in self._sides():
            if counts[side(new)] + 1 < self._largest[side]:
                most = next(key for key, count in counts.items() if count == self._largest[side])
                return [name for name in self.names if side(name) == most]
        return None


class IncidentSpool:
    def __init__(self, directory: str, organization: Callable[[str], str] = str) -> None:
        """`organization`: the Organizational Domain of a policy domain."""
        self._directory = Path(directory)
        self._organization = organization
        self._census = _Census([])
        self._counted_at = -CENSUS_SECONDS
        """Monotonic time."""
        self._looked_for_old = 0.0

    def put(self, incident: Incident) -> None:
        """OSError when it cannot be kept."""
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
        """FullError when there is no room, and no organization or client that has more than the new one's."""
        if time.monotonic() < self._counted_at + CENSUS_SECONDS and self._census.largest_beside(new) is None:
            # A flood must not have the folder read for each message.
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
        return f"it holds {len(self._census.names)} incidents, and no one else has more of them"

    def _remove_old(self, names: list[str]) -> bool:
        """Remove what no run took within a day, looked for once a minute: whether there was any."""
        now = time.time()
        if abs(now - self._looked_for_old) < OLD_SECONDS:
            return False
        self._looked_for_old = now
        old = [name for name in names if 0 < self._changed(name) < now - MAX_AGE]
        for name in old:
            (self._directory / name).unlink(missing_ok=True)
        return bool(old)

    def _changed(self, name: str) -> float:
        """Seconds since 1970; 0: it is gone."""
        try:
            return os.stat(self._directory / name).st_mtime  # noqa: PTH116  called often
        except OSError:
            return 0.0

    def _publish(self, line: bytes, path: Path, identifier: str) -> None:
        """Whole or not at all: a reader never sees half a line, whenever we end."""
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

    def entries(self, had: Mapping[str, int] | None = None) -> Iterator[Entry | Path]:
        """In the turns of organizations, those first that nothing was added to for longest.

        `had`: how many reports an organization has had lately. The path alone of a file that is none of ours.
        """
        digits = {_digits(organization): count for organization, count in (had or {}).items()}
        for _, name in turns(self._in_order(), _organization, digits):
            path = self._directory / name
            try:
                line, _, further = path.read_bytes().partition(b"\n")
                yield Entry(path, incident_from_json(line, 1 + further.count(ANOTHER)))
            except ValueError:
                yield path
            except OSError:  # gone meanwhile, or not readable: the next run looks again
                continue

    def _in_order(self) -> list[str]:
        try:
            with os.scandir(self._directory) as found:
                files = [(entry.stat().st_mtime, entry.name) for entry in found if entry.name.endswith(SUFFIX)]
        except OSError:
            return []
        return [name for _, name in sorted(files)[: 2 * MAX_FILES]]

    def tidy(self, now: float) -> None:
        """Remove what nobody will ever read: files of another kind, and drafts of workers that ended in the middle."""
        for entry in self.entries():
            if isinstance(entry, Path):
                entry.unlink(missing_ok=True)
        for draft in self._directory.glob(".*"):
            if draft.is_file() and draft.stat().st_mtime < now - DRAFT_SECONDS:
                draft.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, FILE_MODE)


def _counted(path: Path) -> bool:
    """One more of a kind that is there; False: it is not."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:
        return False
    try:
        if os.fstat(file).st_size < MAX_LINE + MAX_FURTHER:
            os.write(file, ANOTHER)
    finally:
        os.close(file)
    return True


def _digits(text: str) -> str:
    return blake2b(text.encode(), digest_size=NAME_DIGITS // 2).hexdigest()


def _organization(name: str) -> str:
    """Of the name of a file, as is the client."""
    return name[:NAME_DIGITS]


def _client(name: str) -> str:
    """Empty in files of an older program."""
    start, end = NAME_DIGITS + 1, 2 * NAME_DIGITS + 1
    return name[start:end] if name[end : end + 1] == "-" else ""


def _both(name: str) -> str:
    return name[: 2 * NAME_DIGITS + 1]


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """An incident in its file."""

    v: int
    id: str
    outcome: IncidentOutcome
    mail_from: str
    fields: tuple[tuple[str, str], ...]


def incident_to_json(incident: Incident) -> bytes:
    """One line."""
    line = _Line(
        v=VERSION,
        id=incident.id,
        outcome=incident.outcome,
        mail_from=incident.mail_from,
        fields=tuple(incident.fields),
    )
    return msgspec.json.encode(line) + b"\n"


def incident_from_json(line: bytes, count: int) -> Incident:
    """ValueError for what this program has not written: a run takes all incidents or none, so none may be damaged."""
    try:
        read = msgspec.json.decode(line, type=_Line)
        datetime.fromisoformat(read.outcome.time)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"not an incident: {error}") from error
    if read.v != VERSION or not read.id.isalnum():
        raise ValueError("an incident of another version")
    return Incident(read.id, read.outcome, read.mail_from, read.fields, count)
