"""Stage 5: make the response to the MTA from an Outcome. Values only; milter/apply carries them out."""

from collections.abc import Collection

from dmarcmilter.auth import forged_authentication_results
from dmarcmilter.auth.authentication_results_writer import MethodResult, render
from dmarcmilter.auth.results import DkimResult, DkimWord, SpfScope
from dmarcmilter.dmarc.evaluation import DmarcWord
from dmarcmilter.dmarc.record import Disposition
from dmarcmilter.mail.message import Header
from dmarcmilter.outcome import ApplyError, Outcome
from dmarcmilter.policy.quarantine_method import QuarantineSettings
from dmarcmilter.policy.rules import Action, QuarantineAction
from dmarcmilter.reasons import Code, Reason, text_of
from dmarcmilter.response import quarantine_marks, reply_templates
from dmarcmilter.response.actions import Applied, DeleteHeader, InsertHeader, MessageChange, Response
from dmarcmilter.response.reply_templates import ReplyTexts
from dmarcmilter.value import Value, replace

AUTHENTICATION_RESULTS = "Authentication-Results"
MIN_HEADER_B = 8
"""Least number of characters of b= in header.b (RFC 6008 4)."""


class ResponseSettings(Value):
    """The conf's settings for the response to the MTA."""

    texts: ReplyTexts
    further_ids: tuple[str, ...] = ()
    """Names beside the authserv-id whose Authentication-Results are removed as forged."""

    def own_ids(self, authserv_id: str) -> tuple[str, ...]:
        """All names that only this filter may write results under."""
        return (authserv_id, *self.further_ids)


def respond(
    outcome: Outcome, *, authserv_id: str, settings: ResponseSettings, quarantine: QuarantineSettings
) -> Response:
    """Reply to a message that is rejected or deferred; else delete forged fields, insert ours, then hold or redirect.

    Authentication-Results is inserted last, so that it stands above all other fields (RFC 8601 4.1).
    """
    action = outcome.decision.action
    if action in (Action.REJECT, Action.TEMPFAIL):
        return Response(reply=reply_templates.reply(outcome, settings.texts))
    headers = outcome.message.headers
    changes: list[MessageChange] = [
        *forged_fields(headers, settings.own_ids(authserv_id)),
        *quarantine_marks.deletions(headers, quarantine),
        *quarantine_marks.marks(outcome, quarantine),
        InsertHeader(AUTHENTICATION_RESULTS, render(authserv_id, results(outcome))),
    ]
    if action is Action.QUARANTINE:
        changes.append(quarantine_marks.hold_or_redirect(outcome, quarantine))
    return Response(tuple(changes))


def as_taken(outcome: Outcome, applied: Applied, *, quarantine: QuarantineSettings, otherwise: Action) -> Outcome:
    """The outcome with what the MTA took. This is what is recorded and replied.

    `otherwise`: the action for a message whose changes were not all taken, `[milter] on_internal_error`.
    """
    if applied.error is None:
        return outcome
    if applied.is_complete:
        decision = outcome.decision
        if applied.error is ApplyError.REDIRECT:
            decision = replace(decision, quarantine_method=QuarantineAction.HOLD)
        return replace(outcome, apply_error=applied.error, decision=decision)
    mark = InsertHeader(quarantine.header_name, quarantine.header_value)
    is_marked = otherwise is Action.ACCEPT and mark in applied.taken
    disposition = Disposition.QUARANTINE if is_marked else Disposition.NONE
    method = QuarantineAction.SUBJECT if quarantine.method is QuarantineAction.SUBJECT else QuarantineAction.HEADER
    return replace(
        outcome,
        apply_error=applied.error,
        decision=replace(
            outcome.decision,
            action=otherwise,
            disposition=disposition,
            quarantine_method=method if is_marked else None,
            why_held=None,
        ),
        sealed=False if outcome.sealed else outcome.sealed,
        seal_reason=Reason.of(Code.SEAL_CHANGES_NOT_TAKEN) if outcome.sealed else outcome.seal_reason,
    )


def forged_fields(headers: Collection[Header], own_ids: Collection[str]) -> tuple[DeleteHeader, ...]:
    """Deletions of incoming Authentication-Results that claim to be ours (RFC 8601 5).

    Bottom-up: Postfix renumbers what is below a deleted field, Sendmail does not; in this order both are right.
    """
    values = [header.value for header in headers if header.key.strip() == b"authentication-results"]
    return tuple(
        DeleteHeader(AUTHENTICATION_RESULTS, number) for number in forged_authentication_results.forged(values, own_ids)
    )


def results(outcome: Outcome) -> list[MethodResult]:
    """The results of our one Authentication-Results field, registered properties only (RFC 8601 2.7, RFC 9989 9.1)."""
    return [_spf(outcome), *_dkim(outcome.auth.dkim), _arc(outcome), _dmarc(outcome)]


def _spf(outcome: Outcome) -> MethodResult:
    spf = outcome.auth.spf
    name = "smtp.helo" if spf.scope is SpfScope.HELO else "smtp.mailfrom"
    # Without the local-part: it is not authenticated (RFC 8601 2.7.2).
    return MethodResult("spf", spf.result, properties=((name, spf.domain),) if spf.domain else ())


def _dkim(signatures: tuple[DkimResult, ...]) -> list[MethodResult]:
    if not signatures:
        return [MethodResult("dkim", DkimWord.NONE, comment="no signature")]
    length = _header_b_length([result.signature for result in signatures])
    return [_dkim_result(result, length) for result in signatures]


def _dkim_result(signature: DkimResult, length: int) -> MethodResult:
    pairs = (
        ("header.d", signature.domain),
        ("header.i", signature.identity),
        ("header.s", signature.selector),
        ("header.a", signature.algorithm),
        ("header.b", signature.signature[:length]),
    )
    comment = "testing key" if signature.testing and signature.result is DkimWord.PASS else ""
    return MethodResult(
        "dkim",
        signature.result,
        reason=text_of(signature.reason),
        comment=comment,
        properties=tuple((name, value) for name, value in pairs if value),
    )


def _header_b_length(signatures: list[str]) -> int:
    """Characters of b= that tell the signatures apart, compared case-sensitively (RFC 6008 4)."""
    distinct = set(signatures)
    for length in range(MIN_HEADER_B, 64):
        if len({signature[:length] for signature in distinct}) == len(distinct):
            return length
    return 64


def _arc(outcome: Outcome) -> MethodResult:
    arc = outcome.auth.arc
    properties = []
    if arc.oldest_pass is not None:
        properties.append(("header.oldest-pass", str(arc.oldest_pass)))
    if outcome.message.envelope.client_ip is not None:
        properties.append(("smtp.remote-ip", str(outcome.message.envelope.client_ip)))
    return MethodResult("arc", arc.result, reason=text_of(arc.reason), properties=tuple(properties))


def _dmarc(outcome: Outcome) -> MethodResult:
    properties = []
    if outcome.evaluation.author.domain:
        properties.append(("header.from", str(outcome.evaluation.author.domain)))
    assessment = outcome.evaluation.assessment
    comment = ""
    if assessment is not None and outcome.evaluation.result in (DmarcWord.PASS, DmarcWord.FAIL):
        properties.append(("policy.dmarc", str(assessment.requested)))
        comment = f"{assessment.tag}={assessment.policy} dis={outcome.decision.disposition}"
    reason = "" if outcome.evaluation.result is DmarcWord.PASS else text_of(outcome.evaluation.reason)
    return MethodResult(
        "dmarc", outcome.evaluation.result, reason=reason, comment=comment, properties=tuple(properties)
    )
