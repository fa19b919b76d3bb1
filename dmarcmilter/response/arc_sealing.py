"""Which messages get an ARC Set (RFC 8617 5.1). A message that cannot be sealed goes on unsealed."""

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
from dmarcmilter.reasons import Code, Reason
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
    reason: Reason | None = None
    try:
        newest, has_ended = arc.newest(outcome.message.headers)
        if needless := _needless(outcome, sealer, has_ended=has_ended):
            return replace(outcome, seal_reason=needless), response
        _refuse_hindered(outcome, newest)
        fields = arc_set.make(outcome, response.changes, body, sealer.key, newest + 1)
    except UnfitError as error:
        reason = error.reason
    except Exception:  # dkimpy and authres raise many kinds, and none is worth a message
        log.exception("%s: ARC sealing failed", outcome.message.envelope.queue_id or "-")
        reason = Reason(Code.INTERNAL_ERROR)
    if reason:
        log.warning("%s: not sealed: %s", outcome.message.envelope.queue_id or "-", reason)
    return replace(outcome, sealed=reason is None, seal_reason=reason), Response((*response.changes, *fields))


def _needless(outcome: Outcome, sealer: Sealer, *, has_ended: bool) -> Reason | None:
    """Why the message needs no ARC Set; None: it should be sealed."""
    if outcome.decision.action in (Action.REJECT, Action.TEMPFAIL):
        return Reason(Code.SEAL_NOT_ACCEPTED)
    if not sealer.wants(outcome.message.envelope.recipients):
        return Reason(Code.SEAL_OTHER_RECIPIENTS)
    if outcome.auth.arc.result is ArcWord.FAIL and has_ended:
        return Reason(Code.SEAL_CHAIN_ENDED)  # RFC 8617 5.1 step 2
    return None


def _refuse_hindered(outcome: Outcome, newest: int) -> None:
    """UnfitError when the message cannot be sealed."""
    chain = outcome.auth.arc
    if outcome.message.truncated:
        raise UnfitError(Reason(Code.HEADER_EXCEEDS_LIMIT, limit=outcome.message.truncated))
    if newest >= arc.MAX_SETS:
        raise UnfitError(Reason(Code.SEAL_NO_ROOM))
    if arc.is_unreachable(chain):
        # Sealing cv=fail would end the chain for good because of a DNS failure. Unsealed, the next hop may validate it.
        raise UnfitError(Reason(Code.SEAL_CHAIN_UNKNOWN))
    if chain.result is ArcWord.FAIL and not newest:
        raise UnfitError(Reason(Code.SEAL_NO_INSTANCE))
