"""Lookup, the interface through which the program asks DNS: from a name and a type to an Answer.

"There is no such record" and "there was no answer" are different values, and are never mixed up.
"""

from enum import Enum
from typing import Protocol

from dmarcmilter.reasons import Reason
from dmarcmilter.value import Value


class Status(Enum):
    FOUND = "found"
    NODATA = "nodata"
    """The name exists without records of this type (or only has names below it)."""
    NXDOMAIN = "nxdomain"
    FAILED = "failed"
    """No usable answer: SERVFAIL, REFUSED, timeout, malformed reply, CNAME loop, budget spent."""


class LocalPartName(str):
    """A name that may hold the local-part of MAIL FROM (SPF macros, RFC 7208 7): queried, but never shown or logged."""

    __slots__ = ()


Record = bytes | str | tuple[int, str]
"""TXT: its character-strings joined (bytes); A, AAAA: address; MX: (preference, host); PTR: host."""


class Answer(Value):
    status: Status
    records: tuple[Record, ...] = ()
    """Data of the queried name, CNAMEs followed. Empty unless FOUND."""
    reason: Reason | None = None
    """Why it FAILED; None otherwise."""
    is_alias: bool = False
    """The queried name is an alias (CNAME, or below a DNAME), so it exists whatever the status is: NODATA, NXDOMAIN and
    FAILED are then about the name to which it leads (RFC 6604 3, RFC 8020 2).
    """

    @property
    def proves_existence(self) -> bool:
        """Whether the queried name exists for sure."""
        return self.is_alias or self.status in (Status.FOUND, Status.NODATA)

    @property
    def texts(self) -> tuple[bytes, ...]:
        return tuple([record for record in self.records if isinstance(record, bytes)])

    @property
    def missing(self) -> bool:
        """Whether DNS says that there is no such record."""
        return self.status in (Status.NODATA, Status.NXDOMAIN)


class Lookup(Protocol):
    """Look up a name without a final dot. It may hold anything (SPF macros); one that DNS cannot carry is NXDOMAIN."""

    def __call__(self, name: str, rdtype: str) -> Answer: ...


class MessageDns(Lookup, Protocol):
    """The DNS of one message, and what it has cost so far. `MessageLookup` is the one that asks name servers."""

    queries: int
    cache_hits: int
    spent: bool
    """Whether the limit of queries or of time was reached."""

    @property
    def milliseconds(self) -> float:
        """Spent waiting."""

    def within(self, seconds: float, name: str, rdtype: str) -> Answer:
        """Look up, waiting no longer than this."""

    def start(self, name: str, rdtype: str) -> None:
        """Ask ahead, without waiting."""

    def close(self) -> None:
        """Release what is in flight. Safe to call again."""


class Hint(Protocol):
    """Announce a name and type that will probably be looked up; the implementation may ignore it."""

    def __call__(self, name: str, rdtype: str) -> None: ...


def no_hint(name: str, rdtype: str) -> None:
    """A Hint that does nothing, for a Lookup without prefetch."""
