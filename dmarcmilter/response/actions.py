"""What may be asked of the MTA at the end of a message, and what it took. Values only; execution carries them out."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class DeleteHeader:
    name: str
    occurrence: int
    """Counted from 1 at the top among the fields of that name, as received."""


@dataclass(frozen=True, slots=True)
class ChangeHeader:
    name: str
    occurrence: int
    value: str


@dataclass(frozen=True, slots=True)
class InsertHeader:
    """At the very top of the message (RFC 8601 4.1)."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The MTA's own hold: Postfix's hold queue, Sendmail's quarantine."""

    reason: str


@dataclass(frozen=True, slots=True)
class Redirect:
    """Another mailbox in the place of the recipients. Paths have their angle brackets, as in RCPT (RFC 5321 4.1.2)."""

    mailbox: str
    """Empty: it is a recipient already."""
    gone: tuple[str, ...]
    otherwise: Quarantine
    """What is done when the MTA does not take all of it."""
    queue_id: str
    """For the log."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The message is refused (5yz) or deferred (4yz) with this answer."""

    code: str
    enhanced: str
    text: str


class ApplyError(StrEnum):
    """What the MTA did not take, or did not get for a bug of ours."""

    HEADER = "header"
    """A header field added, changed or deleted."""
    QUARANTINE = "quarantine"
    """The hold."""
    REDIRECT = "redirect"
    """A change of recipients. The message is held instead; where that failed too, it is answered as the others."""
    REPLY = "reply"
    """The text of a refusal or deferral: the MTA uses its own."""
    INTERNAL = "internal"
    """A bug of ours struck between the changes."""


MtaAction = DeleteHeader | ChangeHeader | InsertHeader | Quarantine | Redirect | Reply


@dataclass(frozen=True, slots=True)
class Applied:
    """What the MTA took of a plan."""

    taken: tuple[MtaAction, ...] = ()
    """In order; a Redirect that became a hold stands here as its Quarantine."""
    error: ApplyError | None = None
    """The first thing that was not taken."""
    is_complete: bool = True
    """False: an action failed that nothing could stand in for, and those after it were not tried."""
