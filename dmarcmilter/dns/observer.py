"""What may be counted of the resolver's work. Who counts it is not the resolver's business."""

from enum import StrEnum
from typing import Protocol


class Origin(StrEnum):
    """Where the answer to a message's question came from."""

    QUERY = "query"
    """Sent for it."""
    CACHE = "cache"
    OTHER_MESSAGE = "other_message"
    """A query that another message had under way."""


class AnswerWord(StrEnum):
    """How a query ended."""

    FOUND = "found"
    NODATA = "nodata"
    NXDOMAIN = "nxdomain"
    TIMEOUT = "timeout"
    SERVFAIL = "servfail"
    RCODE = "rcode"
    """REFUSED, NOTIMP and all other answers that are none."""
    UNREACHABLE = "unreachable"
    TCP = "tcp"
    """The answer did not fit in a datagram, and did not come by TCP."""
    BOUND = "bound"
    """A limit of ours: too many records, CNAMEs that loop."""


class Watch(Protocol):
    """Its methods are called with the resolver's lock held: they must be quick and need no lock."""

    def asked(self, origin: Origin) -> None: ...

    def ended(self, how: AnswerWord, waited: float | None) -> None:
        """`waited`: seconds from the question to the answer; None: nobody waited, so nobody saw it come."""

    def strays(self, count: int) -> None: ...


class Unwatched:
    """For a resolver that nobody counts."""

    def asked(self, origin: Origin) -> None:
        pass

    def ended(self, how: AnswerWord, waited: float | None) -> None:
        pass

    def strays(self, count: int) -> None:
        pass
