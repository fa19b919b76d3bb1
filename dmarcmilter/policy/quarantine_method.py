"""How a message that is to be quarantined is set apart: held, marked, its subject tagged, or sent elsewhere.

A mark must mean that we wrote it. So the fields by which we mark are taken out of every message that is judged,
whatever its fate and whatever the mode, before ours are put in.
"""

import re
from base64 import b64encode
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from dmarcmilter.dmarc.record import Policy as Disposition
from dmarcmilter.mail import path as smtppath
from dmarcmilter.mail.message import Envelope, Header, Message
from dmarcmilter.outcome import Outcome, shown
from dmarcmilter.policy.decision import Decision
from dmarcmilter.policy.types import Action, Override, QuarantineAction, ReasonType
from dmarcmilter.response.actions import ChangeHeader, DeleteHeader, InsertHeader, MtaAction, Quarantine, Redirect

SUBJECT = "Subject"
MAX_REMOVED = 100
"""Fields of one name that are taken out: each costs Postfix a walk through the header. Who writes more marks than
that has marked nobody's mail but his own."""
MAX_SUBJECTS = 10
"""Subject fields that are tagged. RFC 5322 3.6 allows one; a reader may show the first or the last."""
MAX_SUBJECT = 50_000
"""Octets of a Subject field that is tagged: libmilter takes no value over 65,535 (MILTER_CHUNK_SIZE)."""
MAX_LINE = 998
"""RFC 5322 2.1.1."""
MAX_TAG = 44
"""Octets of the subject's tag: with a space they fit into one encoded-word of 75 characters (RFC 2047 2)."""
WORD_OCTETS = 30
"""Of an unknown character set that go into one encoded-word."""
MAX_REDIRECTED = 300
"""Recipients of a message that is redirected; with more it is held. Postfix goes through all of them for each that is
taken away: 0.3 seconds for so many, 4 for a thousand."""
MAX_RECORDED = 100
"""Recipients that are written into a message that goes to the quarantine mailbox."""


@dataclass(frozen=True, slots=True)
class Channel:
    """The operator's choices for quarantine; the configuration has checked them."""

    way: QuarantineAction
    header_name: str
    header_value: str
    subject_tag: str
    mailbox: str
    record_recipients: bool

    @property
    def recipients_name(self) -> str:
        return f"{self.header_name}-Recipients"


def feasible(decision: Decision, message: Message, channel: Channel) -> Decision:
    """A subject that cannot be tagged would let the message through unmarked: it is held instead."""
    untagged = channel.way is QuarantineAction.SUBJECT and not _can_be_tagged(message)
    if not untagged or decision.would_disposition is not Disposition.QUARANTINE:
        return decision
    decision = replace(decision, would=Action.QUARANTINE)
    if decision.disposition is not Disposition.QUARANTINE:
        return decision  # not acted upon
    why = Override(ReasonType.LOCAL_POLICY, "the Subject cannot be tagged: held")
    return replace(decision, action=Action.QUARANTINE, overrides=(*decision.overrides, why))


def way_of(decision: Decision, message: Message, channel: Channel) -> tuple[QuarantineAction | None, str]:
    """How the message is set apart (None: it is not), and why it is held instead of redirected."""
    if decision.disposition is not Disposition.QUARANTINE:
        return None, ""
    untagged = channel.way is QuarantineAction.SUBJECT and decision.action is Action.QUARANTINE
    reason = _reason_to_hold(decision, message, channel)
    return (QuarantineAction.HOLD if untagged or reason else channel.way), reason


def _reason_to_hold(decision: Decision, message: Message, channel: Channel) -> str:
    if channel.way is not QuarantineAction.REDIRECT or decision.action is not Action.QUARANTINE:
        return ""
    if _may_keep_recipients(message, channel):
        return "fields that name other recipients cannot all be removed"
    return _hindrance(message.envelope, channel.mailbox)


def removed(headers: Collection[Header], channel: Channel) -> tuple[DeleteHeader, ...]:
    """Deletions, bottom-up, of what others wrote into the fields by which we mark."""
    names = (channel.header_name, channel.recipients_name)
    return tuple(deletion for name in names for deletion in _deletions(headers, name))


def _deletions(headers: Collection[Header], name: str) -> Iterator[DeleteHeader]:
    found = min(len(_named(headers, name)), MAX_REMOVED)
    return (DeleteHeader(name, occurrence) for occurrence in range(found, 0, -1))


def _named(headers: Collection[Header], name: str) -> list[Header]:
    """As MTAs find fields: space before the colon is not part of the name (RFC 5322 4.5)."""
    key = name.lower().encode()
    return [header for header in headers if header.key.strip() == key]


def marks(outcome: Outcome, channel: Channel) -> list[MtaAction]:
    """Edits of the header, in order: what is inserted last stands at the top."""
    if not _is_marked(outcome):
        return []
    edits: list[MtaAction] = []
    if channel.way is QuarantineAction.SUBJECT:
        edits += _tagged_subjects(outcome.message, channel.subject_tag)
    if channel.way is QuarantineAction.REDIRECT and channel.record_recipients:
        edits.append(InsertHeader(channel.recipients_name, _recorded(outcome.message.envelope)))
    return [*edits, InsertHeader(channel.header_name, channel.header_value)]


def _is_marked(outcome: Outcome) -> bool:
    """Whoever gets the message sees it marked. Not what is held: released, it is an ordinary message."""
    decision = outcome.decision
    if decision.disposition is not Disposition.QUARANTINE:
        return False
    return decision.action is Action.ACCEPT or outcome.set_apart is QuarantineAction.REDIRECT


def set_apart(outcome: Outcome, channel: Channel) -> Quarantine | Redirect:
    """For a message that its recipients shall not get."""
    author = outcome.evidence.author
    hold = Quarantine(shown(f"DMARC: {author.domain or author.problem}".encode()))
    if outcome.set_apart is not QuarantineAction.REDIRECT:
        return hold
    return _redirected(outcome.message.envelope, channel.mailbox, hold)


def _may_keep_recipients(message: Message, channel: Channel) -> bool:
    """Whether recipients that the sender made up could be left in it, for whoever releases it to send it to."""
    written = len(_named(message.headers, channel.recipients_name))
    return channel.record_recipients and (written > MAX_REMOVED or bool(message.truncated))


def _hindrance(envelope: Envelope, mailbox: str) -> str:
    """Why it is not sure that the mailbox gets the message and no recipient does; empty: it is.

    Postfix and Sendmail compare a recipient that is to be deleted with the addresses that they made of RCPT: a source
    route, for one, is never found there. And Postfix takes a mailbox in another spelling, such as `"q"@` for `q@`, for
    one recipient with the one that is added: deleting it leaves none, and the message is dropped without a word.
    """
    if not envelope.recipients or envelope.more_recipients:
        return "not all recipients are known"
    if len(envelope.recipients) > MAX_REDIRECTED:
        return f"more than {MAX_REDIRECTED} recipients"
    own, *recipients = smtppath.read_all((mailbox.encode(), *envelope.recipients))
    for path, recipient in zip(envelope.recipients, recipients, strict=True):
        is_own = own is not None and recipient is not None and recipient.is_same(own)
        if is_own and not _is_written_alike(path, mailbox):
            return "the quarantine mailbox is a recipient in another spelling"
        if recipient is None or not recipient.exact:
            return "a recipient is not written as a plain address"
    return ""


def _is_written_alike(path: bytes, mailbox: str) -> bool:
    """But for the case of ASCII letters, of which MTAs take no notice here."""
    return path.lower() == mailbox.encode().lower()


def _redirected(envelope: Envelope, mailbox: str, hold: Quarantine) -> Redirect:
    recipients = [path.decode() for path in envelope.recipients]
    # Where it is a recipient already, adding it and then taking it away would leave nobody.
    others = [path for path in recipients if not _is_written_alike(path.encode(), mailbox)]
    added = "" if len(others) < len(recipients) else f"<{mailbox}>"
    return Redirect(added, tuple(f"<{path}>" for path in dict.fromkeys(others)), hold, envelope.queue_id)


def _recorded(envelope: Envelope) -> str:
    """For whoever releases the message: one recipient a line."""
    named = [f"<{shown(path)}>" for path in envelope.recipients[:MAX_RECORDED]]
    more = len(envelope.recipients) - len(named)
    return ",\n\t".join([*named, f"(and {more} more)"] if more else named)


def _can_be_tagged(message: Message) -> bool:
    """Also a header of which we kept only a part may have a Subject that we do not know."""
    subjects = _named(message.headers, SUBJECT)
    fit = all(len(subject.value) <= MAX_SUBJECT for subject in subjects)
    return not message.truncated and len(subjects) <= MAX_SUBJECTS and fit


def _tagged_subjects(message: Message, tag: str) -> list[MtaAction]:
    subjects = _named(message.headers, SUBJECT)
    if not subjects:
        return [InsertHeader(SUBJECT, _written(tag, ""))]
    return [
        ChangeHeader(SUBJECT, occurrence, tagged(subject.value, tag))
        for occurrence, subject in enumerate(subjects, start=1)
    ]


def tagged(value: bytes, tag: str) -> str:
    """The value of a Subject field with the tag in front, what was there kept as far as a milter can hand it over.

    Folds are LF, as milters write them.
    """
    text = _text(value)
    if text.startswith((_written(tag, ""), _written(tag, "=?"))):
        return text  # it came by here before
    before = _written(tag, text.lstrip())
    if not text or text.startswith(_FOLD):
        return before + text
    first, _, _ = text.partition("\n")
    # The line may have been as long as it can be.
    room = MAX_LINE - len(f"{SUBJECT}: {before} ")
    return f"{before}{' ' if len(first.encode()) <= room else _FOLD}{text}"


_FOLD = "\n "


def _written(tag: str, following: str) -> str:
    """As it is when it is ASCII, else as an encoded-word (RFC 2047 2)."""
    if tag.isascii():
        return tag
    # Space between two encoded-words is not shown (RFC 2047 6.2), so it goes inside.
    return _encoded_word(f"{tag} ".encode() if following.startswith("=?") else tag.encode(), "utf-8")


def _encoded_word(octets: bytes, charset: str) -> str:
    return f"=?{charset}?b?{b64encode(octets).decode()}?="


def _text(value: bytes) -> str:
    """Without space around it, folds as LF with space behind, other control characters as space."""
    lines = value.replace(b"\r\n", b"\n").strip(b" \t\r\n").split(b"\n")
    unfolded = [line if number == 0 or line[:1] in (b" ", b"\t") else b" " + line for number, line in enumerate(lines)]
    clean = re.sub(rb"[\0-\x08\x0b-\x1f\x7f]", b" ", b"\n".join(unfolded))
    try:
        return clean.decode()
    except UnicodeDecodeError:
        return _of_unknown_charset(clean.replace(b"\n", b""))


def _of_unknown_charset(octets: bytes) -> str:
    """Octets that no milter can hand over as they are, in words of the charset that RFC 1428 3 has for them."""
    pieces = (octets[start : start + WORD_OCTETS] for start in range(0, len(octets), WORD_OCTETS))
    # A line with an encoded-word has 76 characters at most (RFC 2047 2), so each has its own.
    return "".join(_FOLD + _encoded_word(piece, "unknown-8bit") for piece in pieces)
