"""Which messages are sealed, and what becomes of it (RFC 8617 5.1). Whatever goes wrong, the message goes on."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from dmarcmilter.arcseal import arcset
from dmarcmilter.arcseal.arcset import UnfitError
from dmarcmilter.arcseal.key import SealKey
from dmarcmilter.checks import arc
from dmarcmilter.checks.bodyhash import BodyHash, BodyPlan
from dmarcmilter.evidence import ArcWord
from dmarcmilter.mtaactions import MtaAction
from dmarcmilter.outcome import Outcome
from dmarcmilter.rules import Action

log = logging.getLogger(__name__)

BODY: Final[BodyPlan] = arcset.BODY


@dataclass(frozen=True, slots=True)
class Sealer:
    """What `[arc.seal]` says."""

    key: SealKey
    recipients: frozenset[str] = frozenset()
    """Addresses and domains, in lower case; empty: all mail."""

    def wants(self, recipients: Sequence[bytes]) -> bool:
        return not self.recipients or any(self._names(recipient) for recipient in recipients)

    def _names(self, recipient: bytes) -> bool:
        address = recipient.decode("utf-8", "replace").lower()
        return not self.recipients.isdisjoint((address, address.rpartition("@")[2]))


def sealed(
    outcome: Outcome, plan: tuple[MtaAction, ...], body: BodyHash | None, sealer: Sealer
) -> tuple[Outcome, tuple[MtaAction, ...]]:
    """The outcome with what became of sealing, and the plan with the ARC Set, if there is one, at its end."""
    newest, has_ended = arc.newest(outcome.message.headers)
    if reason := _needless(outcome, sealer, has_ended=has_ended):
        return replace(outcome, seal_reason=reason), plan
    queue_id = outcome.message.envelope.queue_id or "-"
    fields: tuple[MtaAction, ...] = ()
    reason = _hindrance(outcome, newest, body)
    if not reason:
        try:
            assert body is not None
            fields = arcset.make(outcome, plan, body, sealer.key, newest + 1)
        except UnfitError as error:
            reason = str(error)
        except Exception:  # dkimpy and authres raise many kinds, and none is worth a message
            log.exception("%s: ARC sealing failed", queue_id)
            reason = "internal error"
    if reason:
        log.warning("%s: not sealed: %s", queue_id, reason)
    return replace(outcome, sealed=not reason, seal_reason=reason), (*plan, *fields)


def _needless(outcome: Outcome, sealer: Sealer, *, has_ended: bool) -> str:
    """Why nobody wants the message sealed; empty: it should be."""
    if outcome.decision.action in (Action.REJECT, Action.TEMPFAIL):
        return "not accepted"
    if not sealer.wants(outcome.message.envelope.recipients):
        return "not for these recipients"
    if outcome.evidence.arc.result is ArcWord.FAIL and has_ended:
        return "the chain has ended"  # RFC 8617 5.1 step 2
    return ""


def _hindrance(outcome: Outcome, newest: int, body: BodyHash | None) -> str:
    """Why the message cannot be sealed; empty: it can."""
    if outcome.message.truncated:
        return f"header exceeds {outcome.message.truncated}"
    if body is None:
        return "body was not hashed"
    if newest >= arc.MAX_SETS:
        return "no room for another ARC Set"
    if arc.is_unreachable(outcome.evidence.arc):
        # To record a failure would end the chain for good because our DNS had a bad moment. Unsealed it may go on.
        return "a key of the chain could not be asked for"
    if outcome.evidence.arc.result is ArcWord.FAIL and not newest:
        return "the chain has no instance to follow"
    return ""
