"""All the DNS that the core knows: a function from name and type to an Answer.

"DNS says no" and "DNS did not say" are different values, and nothing may fold one into the other.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Status(Enum):
    FOUND = "found"
    NODATA = "nodata"
    """The name exists without records of this type (or only has names below it)."""
    NXDOMAIN = "nxdomain"
    FAILED = "failed"
    """No usable answer: SERVFAIL, REFUSED, timeout, malformed reply, CNAME loop, budget spent."""


class LocalPartName(str):
    """A name that may hold the local-part of MAIL FROM (SPF macros, RFC 7208 7): it is asked for, and never shown."""

    __slots__ = ()


Record = bytes | str | tuple[int, str]
"""TXT: its character-strings joined (bytes); A, AAAA: address; MX: (preference, host); PTR: host."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: Status
    records: tuple[Record, ...] = ()
    """The data under the asked name, CNAMEs followed. Empty unless FOUND."""
    reason: str = ""
    """Why it FAILED, for people."""
    is_alias: bool = False
    """The asked name is an alias (CNAME, or below a DNAME), so it exists whatever the status says: NODATA, NXDOMAIN and
    FAILED then speak of the name that it leads to (RFC 6604 3, RFC 8020 2).
    """

    @property
    def proves_existence(self) -> bool:
        """The asked name exists."""
        return self.is_alias or self.status in (Status.FOUND, Status.NODATA)

    @property
    def texts(self) -> tuple[bytes, ...]:
        return tuple(record for record in self.records if isinstance(record, bytes))

    @property
    def missing(self) -> bool:
        """DNS said no."""
        return self.status in (Status.NODATA, Status.NXDOMAIN)


class Lookup(Protocol):
    """Names come without a final dot and may hold anything (SPF macros): one that DNS cannot carry is NXDOMAIN."""

    def __call__(self, name: str, rdtype: str) -> Answer: ...


class Hint(Protocol):
    """Says that a name and type will probably be looked up; may do nothing."""

    def __call__(self, name: str, rdtype: str) -> None: ...


def no_hint(name: str, rdtype: str) -> None:
    """For a Lookup that cannot look ahead."""
