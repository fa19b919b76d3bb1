"""The file of choices: one address or domain a line. It is read again when it changes; a broken one changes nothing."""

import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from dmarcmilter.mail import domain as domains
from dmarcmilter.policy.recipients import choice
from dmarcmilter.policy.recipients.choice import Choice, RecipientAddress, StoredChoice
from dmarcmilter.value import Value

log = logging.getLogger(__name__)

MAX_FILE = 16_777_216
"""Bytes of the file, about half a million lines; a larger one is not used. It takes a few seconds to read."""
MAX_LINE = 1000
"""Bytes of a line; a longer one is left out."""
MAX_TOLD = 10
"""Lines of one file that are named in the log when they cannot be read."""
CHECK_SECONDS = 1.0
"""Seconds between two checks whether the file has changed."""
SETTLE_SECONDS = 1.0
"""Seconds after a change before the file is read: it may still be being written, and half a list drops choices."""

_Mark = tuple[int, int, int]
_WORDS = {Choice.ENFORCE.value: StoredChoice.ENFORCE, Choice.EXEMPT.value: StoredChoice.EXEMPT}


class UnusableFileError(Exception):
    """A file that cannot be taken for a list; the text is for the administrator."""


class Listing(Value):
    entries: Mapping[str, StoredChoice]
    """By the forms of choice.Address; a domain's begins with `@`."""
    unreadable: tuple[tuple[int, str], ...] = ()
    """Line numbers with the reason. Never the line itself: it may name a person."""

    def find(self, address: RecipientAddress) -> StoredChoice:
        """The choice of the most specific entry; a domain's entry holds for the domains below it, too."""
        for form in address.forms:
            if form in self.entries:
                return self.entries[form]
        labels = domains.labels(address.domain)
        for start in range(1, len(labels)):
            choice_of_domain = self.entries.get("@" + ".".join(labels[start:]))
            if choice_of_domain is not None:
                return choice_of_domain
        return StoredChoice.NOTHING


def parse(content: bytes, default: Choice) -> Listing:
    """`ADDRESS`, `@DOMAIN` or `DOMAIN` a line, then perhaps `exempt` or `enforce`; else it is against the default."""
    against = StoredChoice.EXEMPT if default is Choice.ENFORCE else StoredChoice.ENFORCE
    entries: dict[str, StoredChoice] = {}
    unreadable: list[tuple[int, str]] = []
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        read = _read_line(raw, against)
        if isinstance(read, str):
            unreadable.append((number, read))
        elif read is not None:
            entries[read[0]] = read[1]
    return Listing(MappingProxyType(entries), tuple(unreadable))


def _read_line(raw: bytes, against: StoredChoice) -> tuple[str, StoredChoice] | str | None:
    """An entry, or why there is none, or None for a line without one."""
    if len(raw) > MAX_LINE:
        return f"longer than {MAX_LINE} bytes"
    try:
        words = raw.decode("utf-8").split()
    except UnicodeDecodeError:
        return "not UTF-8"
    # A `#` within a word may belong to a local-part.
    comment = next((place for place, word in enumerate(words) if word.startswith("#")), len(words))
    name, *rest = words[:comment] or [""]
    if not name:
        return None
    form = _form(name)
    if form is None:
        return "neither an address nor a domain"
    if len(rest) > 1 or any(word.lower() not in _WORDS for word in rest):
        return "after the name there may be one word, exempt or enforce"
    return form, _WORDS[rest[0].lower()] if rest else against


def _form(name: str) -> str | None:
    if "@" in name[1:]:
        address = choice.read(name.encode())
        form = address.forms[0] if address else ""
        return form if form and not form.startswith("@") else None
    domain = domains.parse(name.removeprefix("@"))
    return f"@{domain}" if domain else None


class ListingFile:
    """May be used from several threads; one of them reads, the others go on with what there is."""

    def __init__(self, path: str, default: Choice) -> None:
        """OSError or UnusableFileError when there is no list to begin with."""
        self._path = Path(path)
        self._default = default
        self._lock = threading.Lock()
        self._check_at = time.monotonic() + CHECK_SECONDS
        self._trouble = ""
        self._tried: _Mark | None = _mark(self._path.stat())
        """The file as it was when it was last read, whatever came of that."""
        self._listing = self._load()

    def find(self, address: RecipientAddress) -> StoredChoice:
        if time.monotonic() >= self._check_at and self._lock.acquire(blocking=False):
            try:
                self._check_at = time.monotonic() + CHECK_SECONDS
                self._refresh()
            finally:
                self._lock.release()
        return self._listing.find(address)

    def _refresh(self) -> None:
        try:
            state = self._path.stat()
            in_the_writing = 0 <= time.time() - state.st_mtime < SETTLE_SECONDS
            if _mark(state) == self._tried or in_the_writing:
                return
            self._tried = _mark(state)
            self._listing = self._load()
        except OSError as error:
            self._tried = None  # as soon as it can be read, it is
            self._tell(error.strerror or str(error))
        except UnusableFileError as error:
            self._tell(str(error))
        else:
            self._trouble = ""
            log.info("[recipients] file: read again, %d entries", len(self._listing.entries))

    def _tell(self, trouble: str) -> None:
        """Log each kind of failure once, because it may last for days."""
        if trouble != self._trouble:
            log.error("[recipients] file: %s: %s; what was read before stays in force", self._path, trouble)
        self._trouble = trouble

    def _load(self) -> Listing:
        with self._path.open("rb") as file:
            before = _mark(os.fstat(file.fileno()))
            content = file.read(MAX_FILE + 1)
            if _mark(os.fstat(file.fileno())) != before:
                raise BlockingIOError("changed while it was read")
        if len(content) > MAX_FILE:
            raise UnusableFileError(f"larger than {MAX_FILE} bytes: use [recipients] database")
        listing = parse(content, self._default)
        if listing.unreadable and not listing.entries:
            raise UnusableFileError(f"no line can be read; line {listing.unreadable[0][0]}: {listing.unreadable[0][1]}")
        for number, reason in listing.unreadable[:MAX_TOLD]:
            log.warning("[recipients] file: line %d is left out: %s", number, reason)
        if len(listing.unreadable) > MAX_TOLD:
            log.warning("[recipients] file: %d more lines are left out", len(listing.unreadable) - MAX_TOLD)
        return listing


def _mark(state: os.stat_result) -> _Mark:
    """Values that change with the content of the file."""
    return state.st_mtime_ns, state.st_size, state.st_ino
