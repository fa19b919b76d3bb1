"""Replies to the SMTP client: the operator's templates filled in, always one line of printable ASCII.

The values come from the peer and from DNS and may be long. They are cut, but the address of the page that explains is
not: half an address is worse than none.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote

from dmarcmilter.outcome import Outcome
from dmarcmilter.policy.rules import Action
from dmarcmilter.reasons import text_of
from dmarcmilter.response.actions import SmtpReply
from dmarcmilter.value import Value

MAX_REPLY = 480
"""Bytes of a reply's text; a longer one is cut. RFC 5321 4.5.3.1.5 allows 512 for the whole line."""
MAX_QUEUE_ID = 60
"""Characters of the queue id that are shown; Postfix and Sendmail use up to 20."""
SHORTENED = ("reason", "domain", "policy_domain")
"""Placeholders whose values are cut when a reply would be too long. If that is not enough, the page is left out."""
SEE = "; see {info_url}"
"""Appended to a template without the placeholder {info_url}."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class ReplyTexts(Value):
    """Templates of the replies; the configuration has checked them."""

    reject: str
    author: str
    defer: str
    info_url: str


def reply(outcome: Outcome, texts: ReplyTexts) -> SmtpReply:
    """5.7.1 as RFC 9989 7.2 shows it; RFC 7372's 5.7.26 is of a message that failed several checks, DMARC is one."""
    if outcome.decision.action is Action.TEMPFAIL:
        return SmtpReply("451", "4.7.1", _filled(texts.defer, outcome, texts.info_url))
    template = texts.reject if outcome.evaluation.author.problem is None else texts.author
    return SmtpReply("550", "5.7.1", _filled(template, outcome, texts.info_url))


def _filled(template: str, outcome: Outcome, info_url: str) -> str:
    values = _values(outcome)
    if info_url and "{info_url}" not in template:
        template += SEE
    url = _url(info_url, values)
    shortest = {**values, **dict.fromkeys(SHORTENED, ""), "info_url": url}
    if len(_with(template, shortest)) > MAX_REPLY:
        template, url = template.removesuffix(SEE), ""
    values["info_url"] = url
    for name in SHORTENED:
        over = len(_with(template, values)) - MAX_REPLY
        if over > 0:
            values[name] = _cut(values[name], len(values[name]) - over)
    return _with(template, values)[:MAX_REPLY]


def _values(outcome: Outcome) -> dict[str, str]:
    discovery = outcome.evaluation.discovery
    values = {
        "domain": outcome.evaluation.author.domain or "",
        "policy_domain": (discovery.policy_domain if discovery else None) or "",
        "queue_id": outcome.message.envelope.queue_id[:MAX_QUEUE_ID],
        "reason": text_of(outcome.evaluation.reason),
    }
    return {name: _safe(value) for name, value in values.items()}


def _url(info_url: str, values: Mapping[str, str]) -> str:
    """The page's address, with the values escaped (RFC 3986 2.1) so that they cannot lead anywhere else."""
    return _with(info_url, {name: quote(value, safe="") for name, value in values.items()})


def _with(template: str, values: Mapping[str, str]) -> str:
    """The template filled in. Placeholders within the values are not replaced."""
    return _safe(_PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template))


def _cut(value: str, length: int) -> str:
    return f"{value[: max(length - 3, 0)]}..." if len(value) > 3 else ""


def _safe(text: str) -> str:
    """One line of printable ASCII, as an SMTP reply must be."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)
