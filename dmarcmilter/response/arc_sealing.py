"""Which messages are sealed, and what becomes of it (RFC 8617 5.1). Whatever goes wrong, the message goes on."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from dmarcmilter.auth import arc
from dmarcmilter.auth.body_hash import BodyHash, BodyPlan
from dmarcmilter.auth.results import ArcWord
from dmarcmilter.mail import path
from dmarcmilter.mail.path import Mailbox
from dmarcmilter.outcome import Outcome
from dmarcmilter.policy.types import Action
from dmarcmilter.response import arc_set
from dmarcmilter.response.actions import Change, Response
from dmarcmilter.response.arc_key import SealKey
from dmarcmilter.response.arc_set import UnfitError

log = logging.getLogger(__name__)

BODY: Final[BodyPlan] = arc_set.BODY


@dataclass(frozen=True, slots=True)
class Sealer:
    """What `[arc.seal]` says."""

    key: SealKey
    recipients: frozenset[str] = frozenset()
    """Addresses and domains, in the form of smtppath.Mailbox (key and domain); empty: all mail."""

    def wants(self, recipients: Sequence[bytes]) -> bool:
        return not self.recipients or any(map(self._names, filter(None, path.read_all(recipients))))

    def _names(self, mailbox: Mailbox) -> bool:
        return not self.recipients.isdisjoint((f"{mailbox.key}@{mailbox.domain}", mailbox.domain))


def sealed(outcome: Outcome, response: Response, body: BodyHash | None, sealer: Sealer) -> tuple[Outcome, Response]:
    """The outcome with the result of sealing, and the response with the ARC Set, if one was made, at its end."""
    fields: tuple[Change, ...] = ()
    reason = ""
    try:
        newest, has_ended = arc.newest(outcome.message.headers)
        if needless := _needless(outcome, sealer, has_ended=has_ended):
            return replace(outcome, seal_reason=needless), response
        _refuse_hindered(outcome, newest)
        fields = arc_set.make(outcome, response.changes, body, sealer.key, newest + 1)
    except UnfitError as error:
        reason = str(error)
    except Exception:  # dkimpy and authres raise many kinds, and none is worth a message
        log.exception("%s: ARC sealing failed", outcome.message.envelope.queue_id or "-")
        reason = "internal error"
    if reason:
        log.warning("%s: not sealed: %s", outcome.message.envelope.queue_id or "-", reason)
    return replace(outcome, sealed=not reason, seal_reason=reason), Response((*response.changes, *fields))


def _needless(outcome: Outcome, sealer: Sealer, *, has_ended: bool) -> str:
    """Why nobody wants the message sealed; empty: it should be."""
    if outcome.decision.action in (Action.REJECT, Action.TEMPFAIL):
        return "not accepted"
    if not sealer.wants(outcome.message.envelope.recipients):
        return "not for these recipients"
    if outcome.auth.arc.result is ArcWord.FAIL and has_ended:
        return "the chain has ended"  # RFC 8617 5.1 step 2
    return ""


def _refuse_hindered(outcome: Outcome, newest: int) -> None:
    """UnfitError when the message cannot be sealed."""
    found = outcome.auth.arc
    if outcome.message.truncated:
        raise UnfitError(f"header exceeds {outcome.message.truncated}")
    if newest >= arc.MAX_SETS:
        raise UnfitError("no room for another ARC Set")
    if arc.is_unreachable(found):
        # To record a failure would end the chain for good because our DNS had a bad moment. Unsealed it may go on.
        raise UnfitError("a key of the chain could not be asked for")
    if found.result is ArcWord.FAIL and not newest:
        raise UnfitError("the chain has no instance to follow")
