"""What may be asked of the MTA at the end of a message. Values only; execution carries them out."""

from dataclasses import dataclass


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


MtaAction = DeleteHeader | ChangeHeader | InsertHeader | Quarantine | Redirect | Reply
