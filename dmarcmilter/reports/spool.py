"""Incidents on their way from the filter to the process that reports them: a folder of small files.

One file stands for all incidents of one kind: the first is its line, each further one a single octet behind it. So
many workers need no lock, and a flood of one kind costs no more than its first message. Bounded in all directions.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

from dmarcmilter.reports.failure import Incident, kept, kind

VERSION = 1
"""Of an incident; a changed meaning is a new number."""
MAX_FILES = 1000
MAX_FILES_OF_DOMAIN = 100
"""Of one policy domain, so that a flood in its name leaves room for others."""
MAX_LINE = 65_536
"""Octets of an incident; the fields shown of a header come to less."""
MAX_FURTHER = 1_000_000
"""Incidents counted behind the first."""
FILE_MODE = 0o640
SUFFIX = ".incident"
ANOTHER = b"+"
DRAFT_SECONDS = 3600
"""A draft older than this belongs to a worker that ended."""
DOMAIN_DIGITS = 16


class FullError(OSError):
    """The spool takes no further kind for now."""


@dataclass(frozen=True, slots=True)
class Entry:
    path: Path
    incident: Incident


class Spool:
    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def put(self, incident: Incident) -> None:
        """OSError when it cannot be kept."""
        domain = _domain_name(incident)
        path = self._directory / f"{domain}-{kind(incident.outcome)}{SUFFIX}"
        if _counted(path):
            return
        self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._refuse_if_full(domain)
        line = to_json(incident)
        if len(line) > MAX_LINE:
            raise FullError(f"an incident of {len(line)} octets")
        self._publish(line, path, incident.id)

    def _refuse_if_full(self, domain: str) -> None:
        names = [name for name in os.listdir(self._directory) if name.endswith(SUFFIX)]  # noqa: PTH208  names are enough
        if len(names) >= MAX_FILES:
            raise FullError(f"it holds {MAX_FILES} incidents")
        if Counter(name.partition("-")[0] for name in names)[domain] >= MAX_FILES_OF_DOMAIN:
            raise FullError(f"it holds {MAX_FILES_OF_DOMAIN} incidents of this policy domain")

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

    def entries(self) -> Iterator[Entry | Path]:
        """Those first that nothing was added to for longest; the path alone of a file that is none of ours."""
        for path in self._paths():
            try:
                line, _, further = path.read_bytes().partition(b"\n")
                yield Entry(path, of_json(line, 1 + further.count(ANOTHER)))
            except ValueError:
                yield path
            except OSError:  # gone meanwhile, or not readable: the next run looks again
                continue

    def _paths(self) -> list[Path]:
        try:
            with os.scandir(self._directory) as found:
                files = [(entry.stat().st_mtime, entry.name) for entry in found if entry.name.endswith(SUFFIX)]
        except OSError:
            return []
        return [self._directory / name for _, name in sorted(files)[:MAX_FILES]]

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


def _domain_name(incident: Incident) -> str:
    return blake2b(str(incident.outcome["policy"]["domain"]).encode(), digest_size=DOMAIN_DIGITS // 2).hexdigest()


def to_json(incident: Incident) -> bytes:
    """One line."""
    told = {
        "v": VERSION,
        "id": incident.id,
        "outcome": incident.outcome,
        "mail_from": incident.mail_from,
        "fields": list(incident.fields),
    }
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def of_json(line: bytes, count: int) -> Incident:
    """ValueError for what we have not written."""
    try:
        told = json.loads(line)
        fields = [(str(name), str(text)) for name, text in told["fields"]]
        found = Incident(told["id"], kept(told["outcome"]), told["mail_from"], fields, count)
        datetime.fromisoformat(found.outcome["time"])
        sound = told["v"] == VERSION and found.id.isalnum() and _has_its_texts(found)
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"no incident: {type(error).__name__}") from error
    if not sound:
        raise ValueError("an incident of another version")
    return found


def _has_its_texts(found: Incident) -> bool:
    """A run takes all incidents or none, so one that was damaged on disk must not reach it."""
    outcome, policy = found.outcome, found.outcome["policy"]
    needed = (found.mail_from, outcome["author_domain"], outcome["action"], policy["domain"], policy["record"])
    domains = [signature["domain"] for signature in outcome["dkim"]]
    optional = (policy["organizational_domain"], outcome["spf"]["domain"], outcome["spf"]["result"], *domains)
    return (
        bool(kind(outcome))
        and isinstance(policy["ruf"], list)
        and all(isinstance(text, str) for text in (*needed, *policy["ruf"]))
        and all(text is None or isinstance(text, str) for text in optional)
    )
