"""ResolverObserver: the events of the resolver that metrics count."""

from enum import StrEnum
from typing import Protocol


class Origin(StrEnum):
    """Where the answer to a message's question came from."""

    QUERY = "query"
    """A query was sent for it."""
    CACHE = "cache"
    OTHER_MESSAGE = "other_message"
    """A query of another message was in flight."""


class AnswerWord(StrEnum):
    """How a query ended."""

    FOUND = "found"
    NODATA = "nodata"
    NXDOMAIN = "nxdomain"
    TIMEOUT = "timeout"
    SERVFAIL = "servfail"
    RCODE = "rcode"
    """REFUSED, NOTIMP and all other codes that are no answer."""
    UNREACHABLE = "unreachable"
    TCP = "tcp"
    """The answer did not fit into a datagram, and did not come by TCP."""
    BOUND = "bound"
    """A limit of this program was reached: too many records, a CNAME loop."""


class ResolverObserver(Protocol):
    """Called with the resolver's lock held: the methods must be quick and take no lock."""

    def asked(self, origin: Origin) -> None: ...

    def ended(self, how: AnswerWord, waited: float | None) -> None:
        """`waited`: seconds from the question to the result; None: no message waited for it."""

    def strays(self, count: int) -> None: ...


class NoObserver:
    """An observer that counts nothing."""

    def asked(self, origin: Origin) -> None:
        pass

    def ended(self, how: AnswerWord, waited: float | None) -> None:
        pass

    def strays(self, count: int) -> None:
        pass
