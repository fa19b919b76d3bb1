"""The changes that quarantine asks of the MTA: marks in the header, a tagged subject, hold or redirection.

A mark must mean that this filter wrote it. So fields with the names of our marks are removed from every message that is
evaluated, whatever its disposition and whatever the mode, before ours are added.
"""

import re
from base64 import b64encode
from collections.abc import Collection, Iterator

from dmarcmilter.dmarc.record import Disposition
from dmarcmilter.mail.message import Envelope, Header, Message
from dmarcmilter.outcome import Outcome, shown
from dmarcmilter.policy.quarantine_method import (
    MAX_REMOVED,
    SUBJECT,
    QuarantineSettings,
    fields_named,
    is_written_alike,
)
from dmarcmilter.policy.rules import Action, QuarantineAction
from dmarcmilter.response.actions import ChangeHeader, DeleteHeader, InsertHeader, MessageChange, Quarantine, Redirect

MAX_LINE = 998
"""Longest line of a header field, in characters (RFC 5322 2.1.1). A tag that does not fit gets a line of its own."""
WORD_BYTES = 30
"""Bytes of an unknown character set that go into one encoded-word."""
MAX_RECORDED = 100
"""Recipients recorded in a message that goes to the quarantine mailbox; of further ones it has the number."""


def deletions(headers: Collection[Header], settings: QuarantineSettings) -> tuple[DeleteHeader, ...]:
    """Deletions, bottom-up, of incoming fields with the names of our marks."""
    names = (settings.header_name, settings.recipients_name)
    return tuple(deletion for name in names for deletion in _deletions_of(headers, name))


def _deletions_of(headers: Collection[Header], name: str) -> Iterator[DeleteHeader]:
    count = min(len(fields_named(headers, name)), MAX_REMOVED)
    return (DeleteHeader(name, occurrence) for occurrence in range(count, 0, -1))


def marks(outcome: Outcome, settings: QuarantineSettings) -> list[MessageChange]:
    """Header changes that mark the message, in order: what is inserted last stands at the top."""
    if not _is_marked(outcome):
        return []
    changes: list[MessageChange] = []
    if settings.method is QuarantineAction.SUBJECT:
        changes += _tagged_subjects(outcome.message, settings.subject_tag)
    if settings.method is QuarantineAction.REDIRECT and settings.record_recipients:
        changes.append(InsertHeader(settings.recipients_name, _recipient_list(outcome.message.envelope)))
    return [*changes, InsertHeader(settings.header_name, settings.header_value)]


def _is_marked(outcome: Outcome) -> bool:
    """Whether the message is marked: delivered or redirected, not held. A held message is ordinary once released."""
    decision = outcome.decision
    if decision.disposition is not Disposition.QUARANTINE:
        return False
    return decision.action is Action.ACCEPT or outcome.decision.quarantine_method is QuarantineAction.REDIRECT


def hold_or_redirect(outcome: Outcome, settings: QuarantineSettings) -> Quarantine | Redirect:
    """The action that keeps the message from its recipients."""
    author = outcome.evaluation.author
    hold = Quarantine(shown(f"DMARC: {author.domain or author.problem}".encode()))
    if outcome.decision.quarantine_method is not QuarantineAction.REDIRECT:
        return hold
    return _redirect(outcome.message.envelope, settings.mailbox, hold)


def _redirect(envelope: Envelope, mailbox: str, hold: Quarantine) -> Redirect:
    recipients = [path.decode() for path in envelope.recipients]
    # A mailbox that is a recipient already is neither added nor deleted: both together would leave no recipient.
    others = [path for path in recipients if not is_written_alike(path.encode(), mailbox)]
    added = "" if len(others) < len(recipients) else f"<{mailbox}>"
    return Redirect(added, tuple(f"<{path}>" for path in dict.fromkeys(others)), hold, envelope.queue_id)


def _recipient_list(envelope: Envelope) -> str:
    """The recipients, one a line, for the person who releases the message."""
    paths = [f"<{shown(path)}>" for path in envelope.recipients[:MAX_RECORDED]]
    more = len(envelope.recipients) - len(paths)
    return ",\n\t".join([*paths, f"(and {more} more)"] if more else paths)


def _tagged_subjects(message: Message, tag: str) -> list[MessageChange]:
    subjects = fields_named(message.headers, SUBJECT)
    if not subjects:
        return [InsertHeader(SUBJECT, _written_tag(tag, ""))]
    return [
        ChangeHeader(SUBJECT, occurrence, tagged(subject.value, tag))
        for occurrence, subject in enumerate(subjects, start=1)
    ]


def tagged(value: bytes, tag: str) -> str:
    """The value of a Subject field with the tag in front; the rest is kept where a milter can pass it on.

    Folds are LF, as milters write them.
    """
    text = _text(value)
    if text.startswith((_written_tag(tag, ""), _written_tag(tag, "=?"))):
        return text  # tagged before
    tag_text = _written_tag(tag, text.lstrip())
    if not text or text.startswith(_FOLD):
        return tag_text + text
    first_line, _, _ = text.partition("\n")
    # The line may have been as long as RFC 5322 allows.
    room = MAX_LINE - len(f"{SUBJECT}: {tag_text} ")
    return f"{tag_text}{' ' if len(first_line.encode()) <= room else _FOLD}{text}"


_FOLD = "\n "


def _written_tag(tag: str, following: str) -> str:
    """The tag as it is written before this text: unchanged when it is ASCII, else as an encoded-word (RFC 2047 2)."""
    if tag.isascii():
        return tag
    # Space between two encoded-words is not shown (RFC 2047 6.2), so it goes inside.
    return _encoded_word(f"{tag} ".encode() if following.startswith("=?") else tag.encode(), "utf-8")


def _encoded_word(data: bytes, charset: str) -> str:
    return f"=?{charset}?b?{b64encode(data).decode()}?="


def _text(value: bytes) -> str:
    """A field's value without space around it, folds as LF and a space, other control characters as space."""
    lines = value.replace(b"\r\n", b"\n").strip(b" \t\r\n").split(b"\n")
    unfolded = [line if number == 0 or line[:1] in (b" ", b"\t") else b" " + line for number, line in enumerate(lines)]
    clean = re.sub(rb"[\0-\x08\x0b-\x1f\x7f]", b" ", b"\n".join(unfolded))
    try:
        return clean.decode()
    except UnicodeDecodeError:
        return _of_unknown_charset(clean.replace(b"\n", b""))


def _of_unknown_charset(data: bytes) -> str:
    """Bytes that a milter cannot pass on as they are, in encoded-words of the charset that RFC 1428 3 has for them."""
    pieces = (data[start : start + WORD_BYTES] for start in range(0, len(data), WORD_BYTES))
    # A line with an encoded-word has 76 characters at most (RFC 2047 2), so each has its own.
    return "".join(_FOLD + _encoded_word(piece, "unknown-8bit") for piece in pieces)
