"""Which method of quarantine a message gets: held, redirected, subject tagged, or marked by a header field only.

The configured method is not always feasible. A message whose subject cannot be tagged, or that cannot be redirected for
sure, is held instead, and the outcome says why.
"""

from collections.abc import Collection

from dmarcmilter.dmarc.record import Disposition
from dmarcmilter.mail import path as mail_path
from dmarcmilter.mail.message import Envelope, Header, Message
from dmarcmilter.policy.decision import Decision
from dmarcmilter.policy.rules import Action, Override, QuarantineAction, ReasonType
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.value import Value, replace

SUBJECT = "Subject"
MAX_SUBJECTS = 10
"""Subject fields tagged in one message (RFC 5322 3.6 allows one, but a mail reader may show the first or the last). A
message with more is held."""
MAX_SUBJECT = 50_000
"""Largest Subject field that is tagged, in bytes: libmilter takes no value over 65,535 (MILTER_CHUNK_SIZE). A message
with a larger one is held."""
MAX_REMOVED = 100
"""Fields of one name that are removed; each costs Postfix a walk through the header. Further ones stay: senders who
write more marks than that mark only their own message. A message with more recipient fields is held, not redirected."""
MAX_REDIRECTED = 300
"""Recipients of a message that is redirected; a message with more is held. Postfix goes through all of them for each
deletion: 0.3 seconds for 300, 4 seconds for 1,000."""


class QuarantineSettings(Value):
    """The operator's choices for quarantine, already validated."""

    method: QuarantineAction
    header_name: str
    header_value: str
    subject_tag: str
    mailbox: str
    record_recipients: bool

    @property
    def recipients_name(self) -> str:
        """Name of the header field that records the original recipients of a redirected message."""
        return f"{self.header_name}-Recipients"


def with_method(decision: Decision, message: Message, settings: QuarantineSettings) -> Decision:
    """The decision with the method of quarantine: the configured one, or hold where that is not feasible."""
    decision = _with_feasible_action(decision, message, settings)
    if decision.disposition is not Disposition.QUARANTINE:
        return decision
    cannot_be_tagged = settings.method is QuarantineAction.SUBJECT and decision.action is Action.QUARANTINE
    why_held = _reason_to_hold(decision, message, settings)
    method = QuarantineAction.HOLD if cannot_be_tagged or why_held else settings.method
    return replace(decision, quarantine_method=method, why_held=why_held)


def _with_feasible_action(decision: Decision, message: Message, settings: QuarantineSettings) -> Decision:
    """The decision, changed to hold the message when its subject should be tagged and cannot be.

    Delivered untagged, it would look like an ordinary message.
    """
    cannot_be_tagged = settings.method is QuarantineAction.SUBJECT and not _can_be_tagged(message)
    if not cannot_be_tagged or decision.would_disposition is not Disposition.QUARANTINE:
        return decision
    decision = replace(decision, would_action=Action.QUARANTINE)
    if decision.disposition is not Disposition.QUARANTINE:
        return decision  # monitored only
    override = Override(ReasonType.LOCAL_POLICY, Reason.of(Code.SUBJECT_NOT_TAGGABLE))
    return replace(decision, action=Action.QUARANTINE, overrides=(*decision.overrides, override))


def _reason_to_hold(decision: Decision, message: Message, settings: QuarantineSettings) -> Reason | None:
    """Why a message that should be redirected is held; None: it is redirected, or redirect is not the method."""
    if settings.method is not QuarantineAction.REDIRECT or decision.action is not Action.QUARANTINE:
        return None
    if _may_keep_recipient_fields(message, settings):
        return Reason.of(Code.REDIRECT_FIELDS_REMAIN)
    return _redirect_obstacle(message.envelope, settings.mailbox)


def fields_named(headers: Collection[Header], name: str) -> list[Header]:
    """The header fields that MTAs find by this name: space before the colon is not part of it (RFC 5322 4.5)."""
    key = name.lower().encode()
    return [header for header in headers if header.key.strip() == key]


def _may_keep_recipient_fields(message: Message, settings: QuarantineSettings) -> bool:
    """Whether recipients that the sender made up could stay in the message and get it when it is released."""
    count = len(fields_named(message.headers, settings.recipients_name))
    return settings.record_recipients and (count > MAX_REMOVED or bool(message.truncated))


def _redirect_obstacle(envelope: Envelope, mailbox: str) -> Reason | None:
    """Why it is not certain that the mailbox gets the message and no recipient does; None: it is certain.

    Postfix and Sendmail compare a recipient to be deleted with the addresses that they made of RCPT, which a source
    route, for example, never matches. And Postfix takes a mailbox in another spelling, such as `"q"@` for `q@`, for
    the same recipient as the one that is added: deleting it leaves none, and the message is silently dropped.
    """
    if not envelope.recipients or envelope.more_recipients:
        return Reason.of(Code.REDIRECT_RECIPIENTS_UNKNOWN)
    if len(envelope.recipients) > MAX_REDIRECTED:
        return Reason.of(Code.REDIRECT_TOO_MANY_RECIPIENTS, limit=MAX_REDIRECTED)
    quarantine_mailbox, *recipients = mail_path.read_all((mailbox.encode(), *envelope.recipients))
    for path, recipient in zip(envelope.recipients, recipients, strict=True):
        is_same = quarantine_mailbox is not None and recipient is not None and recipient.is_same(quarantine_mailbox)
        if is_same and not is_written_alike(path, mailbox):
            return Reason.of(Code.REDIRECT_MAILBOX_IS_RECIPIENT)
        if recipient is None or not recipient.exact:
            return Reason.of(Code.REDIRECT_ODD_RECIPIENT)
    return None


def is_written_alike(path: bytes, mailbox: str) -> bool:
    """Whether both are the same text except for the case of ASCII letters, which MTAs ignore here."""
    return path.lower() == mailbox.encode().lower()


def _can_be_tagged(message: Message) -> bool:
    """Whether every Subject field can be tagged; not sure of a header of which only a part was kept."""
    subjects = fields_named(message.headers, SUBJECT)
    all_fit = all(len(subject.value) <= MAX_SUBJECT for subject in subjects)
    return not message.truncated and len(subjects) <= MAX_SUBJECTS and all_fit
