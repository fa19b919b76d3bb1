"""The response to the MTA at the end of a message: changes or a reply, and which of them the MTA took. Values only."""

from dmarcmilter.outcome import ApplyError
from dmarcmilter.value import Value


class DeleteHeader(Value):
    name: str
    occurrence: int
    """Number of the field among those of this name, from 1 at the top, as received."""


class ChangeHeader(Value):
    name: str
    occurrence: int
    value: str


class InsertHeader(Value):
    """Inserted at the very top of the message (RFC 8601 4.1)."""

    name: str
    value: str


class Quarantine(Value):
    """The MTA's own hold: Postfix's hold queue, Sendmail's quarantine."""

    reason: str


class Redirect(Value):
    """The recipients are replaced by a mailbox. Paths have angle brackets, as in RCPT (RFC 5321 4.1.2)."""

    mailbox: str
    """Added as a recipient; empty: it is one already."""
    gone: tuple[str, ...]
    otherwise: Quarantine
    """The hold that replaces the redirection when the MTA does not take all of it."""
    queue_id: str
    """Queue id of the message, for the log."""


class SmtpReply(Value):
    """The message is refused (5yz) or deferred (4yz) with this answer."""

    code: str
    enhanced: str
    text: str


MessageChange = DeleteHeader | ChangeHeader | InsertHeader | Quarantine | Redirect
MtaAction = MessageChange | SmtpReply


class Response(Value):
    """Changes to a message that the MTA accepts or holds, or the reply to one that it rejects or defers."""

    changes: tuple[MessageChange, ...] = ()
    """In the order in which they are requested."""
    reply: SmtpReply | None = None
    """None: the message is accepted or held. Otherwise there are no changes."""

    @property
    def actions(self) -> tuple[MtaAction, ...]:
        """All that is requested, in order."""
        return self.changes if self.reply is None else (*self.changes, self.reply)


class Applied(Value):
    """The actions of a response that the MTA took."""

    taken: tuple[MtaAction, ...] = ()
    """In order; a Redirect that became a hold is its Quarantine here."""
    error: ApplyError | None = None
    """The first action that was not taken; None: all were."""
    is_complete: bool = True
    """False: an action failed that has no replacement, and those after it were not tried."""
