"""The trace of one message as debug lines: envelope, header, DNS answers, decision, changes requested from the MTA.

A message has a Trace only at log level debug. The lines are written at the end of the message, when its queue id is
known, and begin with the milliseconds since MAIL. They contain no more than the journal may (docs/privacy.md): no
local-part, no recipient, no further header field.
"""

import logging
import time

from dmarcmilter.dns.lookup import Answer, LocalPartName, Status
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.message import Envelope
from dmarcmilter.outcome import Outcome, shown
from dmarcmilter.outcome_record import OutcomeRecord
from dmarcmilter.pipeline import Reading
from dmarcmilter.reasons import text_of
from dmarcmilter.response.actions import (
    Applied,
    ChangeHeader,
    DeleteHeader,
    InsertHeader,
    MtaAction,
    Quarantine,
    Redirect,
    Response,
    SmtpReply,
)

log = logging.getLogger(__name__)

MAX_LINES = 500
"""Lines of one message that are kept; further ones are only counted."""
MAX_LINE = 1000
"""Characters of a line; the rest is cut off."""
MAX_SHOWN = 160
"""Characters of a DNS record that are shown; the rest is cut off."""


class Trace:
    """The debug lines of one message. Its methods raise only what handling the message itself would raise."""

    def __init__(self) -> None:
        self.queue_id = ""
        self._start = time.perf_counter()
        self._lines: list[str] = []
        self._left_out = 0

    def add(self, text: str) -> None:
        if len(self._lines) >= MAX_LINES:
            self._left_out += 1
            return
        milliseconds = (time.perf_counter() - self._start) * 1000
        # Text from the sender or from DNS must not start a line of its own.
        clean = "".join(character if character.isprintable() else "?" for character in text[:MAX_LINE])
        self._lines.append(f"+{milliseconds:.0f} ms {clean}")

    def end(self, last_line: str) -> None:
        """Add the last line and write all lines to the log."""
        self.add(last_line)
        lines, self._lines = self._lines, []
        for line in lines:
            log.debug("%s: %s", self.queue_id or "-", line)
        if self._left_out:
            log.debug("%s: %d more lines are left out", self.queue_id or "-", self._left_out)
            self._left_out = 0

    # -- stages ------------------------------------------------------------------------------------------------

    def envelope(self, envelope: Envelope, mail_from: Domain | None) -> None:
        client = envelope.client_ip or "unknown"
        self.add(f"connect: client {client}, HELO {shown(envelope.helo) or 'not given'}")
        self.add(f"mail: MAIL FROM {f'of {mail_from}' if mail_from else 'without a domain'}")

    def header(self, reading: Reading, *, fields: int, size: int, truncated: str) -> None:
        cut = f", cut off at {truncated}" if truncated else ""
        self.add(f"header: {fields} fields, {size} bytes{cut}")
        author = reading.author
        names = ", ".join(author.domains)
        problem = f"{author.problem} ({author.reason or 'no single Author Domain'}; {names or 'no domain'})"
        self.add(f"from: {f'Author Domain {author.domain}' if author.domain else problem}")
        self.add(f"signatures: {len(reading.signatures)} DKIM, {len(reading.chain.sets)} ARC sets")

    def dns(self, name: str, rdtype: str, answer: Answer, seconds: float) -> None:
        """Add the answer to one DNS lookup, from the network or the cache."""
        is_private = isinstance(name, LocalPartName)
        shown_name = (
            "(a name made from MAIL FROM by an SPF macro)"
            if is_private
            else shown(name.encode("utf-8", "backslashreplace"))
        )
        self.add(f"dns: {rdtype} {shown_name}: {_answer(answer, with_records=not is_private)}, {seconds * 1000:.0f} ms")

    def outcome(self, outcome: Outcome) -> None:
        record = outcome.record()
        for line in (*_results(record), *_policy(record), *_decision(record)):
            self.add(line)

    def changes(self, response: Response, applied: Applied) -> None:
        actions = response.actions
        for action in actions:
            self.add(f"change: {_change(action)}")
        self.add(f"changes: {len(actions)} asked for, {f'error: {applied.error}' if applied.error else 'all taken'}")


def begin() -> Trace | None:
    """A trace for a new message; None unless the log level is debug."""
    return Trace() if log.isEnabledFor(logging.DEBUG) else None


def _answer(answer: Answer, *, with_records: bool) -> str:
    if answer.status is Status.FAILED:
        return f"failed ({text_of(answer.reason)})"
    if answer.status is not Status.FOUND:
        return answer.status.name
    count = len(answer.records)
    if not with_records:
        return f"{count} records"
    first = answer.records[0]
    text = shown(first if isinstance(first, bytes) else str(first).encode("utf-8", "backslashreplace"))[:MAX_SHOWN]
    return f"{text!r}" + (f" and {count - 1} more" if count > 1 else "")


def _results(record: OutcomeRecord) -> list[str]:
    spf, arc = record.spf, record.arc
    lines = [f"spf: {spf.result} for {spf.domain} of {spf.scope} ({spf.reason})"]
    lines += [f"dkim: {one.result} for {one.domain}, selector {one.selector}" + _why(one.reason) for one in record.dkim]
    sealers = ", ".join(str(one.domain) for one in arc.sealers)
    lines.append(f"arc: {arc.result}" + (f", sealers {sealers}" if sealers else "") + _why(arc.reason))
    return lines


def _why(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _policy(record: OutcomeRecord) -> list[str]:
    policy, dmarc = record.policy, record.dmarc
    lines = ["policy: no record"]
    if policy is not None:
        lines = [f"policy: by {policy.discovery} at {policy.domain}: {policy.record}"]
    lines += [f"policy: {note}" for note in (policy.notes if policy else ())]
    lines += [f"alignment: {one.mechanism} {one.domain} ({one.mode})" for one in dmarc.aligned]
    lines.append(f"dmarc: {dmarc.result}" + _why(dmarc.reason))
    if dmarc.tag:
        lines.append(f"policy: {dmarc.tag}={dmarc.published}, asked for: {dmarc.requested}")
    return lines


def _decision(record: OutcomeRecord) -> list[str]:
    """Overrides, the decision under full enforcement, and the decision made."""
    lines = []
    for override in record.overrides:
        entry = f" by [[override]] {override.entry}" if override.entry else ""
        lines.append(f"decision: {override.type}{entry}: {override.comment}")
    lines.append(f"decision: in full {record.would_disposition}, the MTA would be told {record.would_action}")
    lines.append(f"decision: {record.disposition} in mode {record.mode}, the MTA is told {record.action}")
    return lines


def _change(action: MtaAction) -> str:
    """A line for an action, without values: they may contain addresses or text of the sender."""
    match action:
        case DeleteHeader(name, occurrence):
            return f"delete {name}, number {occurrence}"
        case ChangeHeader(name, occurrence):
            return f"replace {name}, number {occurrence}"
        case InsertHeader(name):
            return f"insert {name} at the top"
        case Quarantine():
            return "put on hold"
        case Redirect():
            return f"redirect to the quarantine mailbox, in the place of {len(action.gone)} recipients"
        case SmtpReply(code, enhanced):
            return f"reply {code} {enhanced}"
