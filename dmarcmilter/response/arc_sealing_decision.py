"""Decides which messages are sealed, and seals them (RFC 8617 5.1). If that fails, the message goes on unsealed."""

import logging
from collections.abc import Sequence
from typing import Final

from dmarcmilter.auth import arc
from dmarcmilter.auth.body_hash import BodyHash, BodyPlan
from dmarcmilter.auth.results import ArcWord
from dmarcmilter.mail import path
from dmarcmilter.mail.path import Mailbox
from dmarcmilter.outcome import Outcome
from dmarcmilter.policy.rules import Action
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.response import arc_set
from dmarcmilter.response.actions import Response
from dmarcmilter.response.arc_key import SealKey
from dmarcmilter.response.arc_set import UnfitError
from dmarcmilter.value import Value, replace

log = logging.getLogger(__name__)

BODY: Final[BodyPlan] = arc_set.BODY
"""How the body of a message that may be sealed is hashed while it arrives."""


class Sealer(Value):
    """The settings of `[arc.seal]`: the key, and whose mail is sealed."""

    key: SealKey
    recipients: frozenset[str] = frozenset()
    """Addresses and domains, in the form of path.Mailbox (key and domain); empty: all mail is sealed."""

    def wants(self, recipients: Sequence[bytes]) -> bool:
        """Whether a message to these recipients is to be sealed."""
        return not self.recipients or any(map(self._names, filter(None, path.read_all(recipients))))

    def _names(self, mailbox: Mailbox) -> bool:
        return not self.recipients.isdisjoint((f"{mailbox.key}@{mailbox.domain}", mailbox.domain))


def sealed(outcome: Outcome, response: Response, body: BodyHash | None, sealer: Sealer) -> tuple[Outcome, Response]:
    """The outcome with the result of sealing, and the response with the ARC Set, if one was made, at its end."""
    queue_id = outcome.message.envelope.queue_id or "-"
    try:
        newest_instance, has_ended = arc.newest(outcome.message.headers)
        if needless := _why_needless(outcome, sealer, has_ended=has_ended):
            return replace(outcome, seal_reason=needless), response
        _require_sealable(outcome, newest_instance)
        fields = arc_set.make(outcome, response.changes, body, sealer.key, newest_instance + 1)
    except UnfitError as error:
        reason = error.reason
    except Exception:  # dkimpy and authres raise many kinds; none of them may cost the message
        log.exception("%s: ARC sealing failed", queue_id)
        reason = Reason.of(Code.INTERNAL_ERROR)
    else:
        return replace(outcome, sealed=True), Response((*response.changes, *fields))
    log.warning("%s: not sealed: %s", queue_id, reason)
    return replace(outcome, sealed=False, seal_reason=reason), response


def _why_needless(outcome: Outcome, sealer: Sealer, *, has_ended: bool) -> Reason | None:
    """Why the message need not be sealed; None: it should be."""
    if outcome.decision.action in (Action.REJECT, Action.TEMPFAIL):
        return Reason.of(Code.SEAL_NOT_ACCEPTED)
    if not sealer.wants(outcome.message.envelope.recipients):
        return Reason.of(Code.SEAL_OTHER_RECIPIENTS)
    if outcome.auth.arc.result is ArcWord.FAIL and has_ended:
        return Reason.of(Code.SEAL_CHAIN_ENDED)  # RFC 8617 5.1 step 2
    return None


def _require_sealable(outcome: Outcome, newest_instance: int) -> None:
    """Raise UnfitError when the message cannot be sealed."""
    chain = outcome.auth.arc
    if outcome.message.truncated:
        raise UnfitError(Reason.of(Code.HEADER_EXCEEDS_LIMIT, limit=outcome.message.truncated))
    if newest_instance >= arc.MAX_SETS:
        raise UnfitError(Reason.of(Code.SEAL_NO_ROOM))
    if arc.is_unreachable(chain):
        # cv=fail would end the chain for good because of a passing DNS failure; unsealed, it may still verify later.
        raise UnfitError(Reason.of(Code.SEAL_CHAIN_UNKNOWN))
    if chain.result is ArcWord.FAIL and not newest_instance:
        raise UnfitError(Reason.of(Code.SEAL_NO_INSTANCE))
