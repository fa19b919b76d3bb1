"""From an Outcome to what the MTA is asked to do, in order. Values only; the session carries them out."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from dmarcmilter import authres
from dmarcmilter.dmarc.evaluation import DmarcWord
from dmarcmilter.evidence import DkimResult, DkimWord, SpfScope
from dmarcmilter.message import Header
from dmarcmilter.outcome import Outcome
from dmarcmilter.rules import Action

AUTHENTICATION_RESULTS = "Authentication-Results"
MAX_REPLY = 480
"""Octets of a reply's text: RFC 5321 4.5.3.1.5 allows 512 for the whole line."""
MIN_HEADER_B = 8
"""RFC 6008 4: at least so many characters of b=."""


@dataclass(frozen=True, slots=True)
class DeleteHeader:
    name: str
    occurrence: int
    """Counted from 1 at the top among the fields of that name, as received."""


@dataclass(frozen=True, slots=True)
class InsertHeader:
    """At the very top of the message (RFC 8601 4.1)."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    reason: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The message is refused (5yz) or deferred (4yz) with this answer."""

    code: str
    enhanced: str
    text: str


MtaAction = DeleteHeader | InsertHeader | Quarantine | Reply


@dataclass(frozen=True, slots=True)
class Texts:
    """Templates of the replies; the configuration has checked them."""

    reject: str
    author: str
    defer: str
    info_url: str


def plan(outcome: Outcome, *, authserv_id: str, own_ids: Collection[str], texts: Texts) -> tuple[MtaAction, ...]:
    """What the MTA does: a refusal alone, or forged fields deleted bottom-up, ours inserted, then the hold."""
    action = outcome.decision.action
    if action in (Action.REJECT, Action.TEMPFAIL):
        return (_reply(outcome, texts),)
    field = InsertHeader(AUTHENTICATION_RESULTS, authres.render(authserv_id, results(outcome)))
    hold = (Quarantine(_hold_reason(outcome)),) if action is Action.QUARANTINE else ()
    return (*forged_fields(outcome.message.headers, own_ids), field, *hold)


def forged_fields(headers: Collection[Header], own_ids: Collection[str]) -> tuple[DeleteHeader, ...]:
    """Deletions of incoming Authentication-Results that claim to be ours (RFC 8601 5).

    Bottom-up: Postfix renumbers what is below a deleted field, Sendmail does not; in this order both are right.
    """
    values = [header.value for header in headers if header.key.strip() == b"authentication-results"]
    return tuple(DeleteHeader(AUTHENTICATION_RESULTS, number) for number in authres.forged(values, own_ids))


def results(outcome: Outcome) -> list[authres.Result]:
    """The results of our one Authentication-Results field, registered properties only (RFC 8601 2.7, RFC 9989 9.1)."""
    return [_spf(outcome), *_dkim(outcome.evidence.dkim), _arc(outcome), _dmarc(outcome)]


def _spf(outcome: Outcome) -> authres.Result:
    spf = outcome.evidence.spf
    name = "smtp.helo" if spf.scope is SpfScope.HELO else "smtp.mailfrom"
    # Without the local-part: it is not authenticated (RFC 8601 2.7.2).
    return authres.Result("spf", spf.result, properties=((name, spf.domain),) if spf.domain else ())


def _dkim(found: tuple[DkimResult, ...]) -> list[authres.Result]:
    if not found:
        return [authres.Result("dkim", DkimWord.NONE, comment="no signature")]
    length = _header_b_length([result.signature for result in found])
    return [_dkim_result(result, length) for result in found]


def _dkim_result(found: DkimResult, length: int) -> authres.Result:
    pairs = (
        ("header.d", found.domain),
        ("header.i", found.identity),
        ("header.s", found.selector),
        ("header.a", found.algorithm),
        ("header.b", found.signature[:length]),
    )
    comment = "testing key" if found.testing and found.result is DkimWord.PASS else ""
    return authres.Result(
        "dkim",
        found.result,
        reason=found.reason,
        comment=comment,
        properties=tuple((name, value) for name, value in pairs if value),
    )


def _header_b_length(signatures: list[str]) -> int:
    """RFC 6008 4: long enough to tell the signatures apart, compared case-sensitively."""
    distinct = set(signatures)
    for length in range(MIN_HEADER_B, 64):
        if len({signature[:length] for signature in distinct}) == len(distinct):
            return length
    return 64


def _arc(outcome: Outcome) -> authres.Result:
    arc = outcome.evidence.arc
    properties = []
    if arc.oldest_pass is not None:
        properties.append(("header.oldest-pass", str(arc.oldest_pass)))
    if outcome.message.envelope.client_ip is not None:
        properties.append(("smtp.remote-ip", str(outcome.message.envelope.client_ip)))
    return authres.Result("arc", arc.result, reason=arc.reason, properties=tuple(properties))


def _dmarc(outcome: Outcome) -> authres.Result:
    properties = []
    if outcome.evidence.author.domain:
        properties.append(("header.from", str(outcome.evidence.author.domain)))
    judged = outcome.evaluation.result in (DmarcWord.PASS, DmarcWord.FAIL)
    comment = ""
    if judged and outcome.assessment is not None:
        properties.append(("policy.dmarc", str(outcome.assessment.requested)))
        comment = f"{outcome.assessment.tag}={outcome.assessment.policy} dis={outcome.decision.disposition}"
    reason = "" if outcome.evaluation.result is DmarcWord.PASS else outcome.evaluation.reason
    return authres.Result(
        "dmarc", outcome.evaluation.result, reason=reason, comment=comment, properties=tuple(properties)
    )


def _hold_reason(outcome: Outcome) -> str:
    return _safe(f"DMARC: {outcome.evidence.author.domain or outcome.evidence.author.problem}")


def _reply(outcome: Outcome, texts: Texts) -> Reply:
    if outcome.decision.action is Action.TEMPFAIL:
        return Reply("451", "4.7.1", _filled(texts.defer, outcome, texts))
    if outcome.evidence.author.problem is not None:
        return Reply("550", "5.7.1", _filled(texts.author, outcome, texts))
    return Reply("550", "5.7.1", _filled(texts.reject, outcome, texts))


def _filled(template: str, outcome: Outcome, texts: Texts) -> str:
    discovery = outcome.evidence.discovery
    values = {
        "domain": outcome.evidence.author.domain or "",
        "policy_domain": (discovery.policy_domain if discovery else None) or "",
        "queue_id": outcome.message.envelope.queue_id,
        "reason": outcome.evaluation.reason,
        "info_url": texts.info_url,
    }
    text = re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)
    if texts.info_url and "{info_url}" not in template:
        text = f"{text}; see {texts.info_url}"
    return _safe(text)


def _safe(text: str) -> str:
    """One line of printable ASCII, as an SMTP reply must be."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:MAX_REPLY]
