"""The milter protocol, version 6: flags, events, macros, and what each answer makes Postfix reply."""

import re
from enum import Enum, IntFlag, StrEnum

from dmarcmilter.value import Value

VERSION = 6
ALL_ACTIONS = 0x1FF
PACKET_LIMIT = 1 << 20
"""Largest packet accepted from the milter, in bytes; a longer one is a MilterError."""
RECIPIENT_EDITS = {b"+": 0x04, b"-": 0x08}
"""Modification requests that change recipients, with the action that must have been negotiated."""
OTHER_EDITS = b"2be"
"""Modification requests that this client does not support: recipient with parameters, body, sender."""


class MilterError(Exception):
    """The filter broke the protocol, closed the connection or did not answer in time."""


class Protocol(IntFlag):
    """Flags by which a filter asks the MTA not to send an event (NO_), or not to wait for its answer (NR_)."""

    NONE = 0
    NO_CONNECT = 0x1
    NO_HELO = 0x2
    NO_MAIL = 0x4
    NO_RCPT = 0x8
    NO_BODY = 0x10
    NO_HEADER = 0x20
    NO_EOH = 0x40
    NR_HEADER = 0x80
    NO_UNKNOWN = 0x100
    NO_DATA = 0x200
    SKIP = 0x400
    RCPT_REJECTED = 0x800
    NR_CONNECT = 0x1000
    NR_HELO = 0x2000
    NR_MAIL = 0x4000
    NR_RCPT = 0x8000
    NR_DATA = 0x10000
    NR_UNKNOWN = 0x20000
    NR_EOH = 0x40000
    NR_BODY = 0x80000
    LEADING_SPACE = 0x100000


OFFERED = Protocol(0x1FFFFF)


class Event(Enum):
    """Packet code, the flag that suppresses the event, the flag that suppresses its answer."""

    CONNECT = (b"C", Protocol.NO_CONNECT, Protocol.NR_CONNECT)
    HELO = (b"H", Protocol.NO_HELO, Protocol.NR_HELO)
    MAIL = (b"M", Protocol.NO_MAIL, Protocol.NR_MAIL)
    RCPT = (b"R", Protocol.NO_RCPT, Protocol.NR_RCPT)
    DATA = (b"T", Protocol.NO_DATA, Protocol.NR_DATA)
    HEADER = (b"L", Protocol.NO_HEADER, Protocol.NR_HEADER)
    EOH = (b"N", Protocol.NO_EOH, Protocol.NR_EOH)
    BODY = (b"B", Protocol.NO_BODY, Protocol.NR_BODY)
    EOM = (b"E", Protocol.NONE, Protocol.NONE)

    @property
    def code(self) -> bytes:
        return self.value[0]


MACROS = {
    Event.CONNECT: (0, "j {daemon_name} {daemon_addr} v _"),
    Event.HELO: (1, "{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer}"),
    Event.MAIL: (2, "i {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} {mail_mailer}"),
    Event.RCPT: (3, "i {rcpt_addr} {rcpt_host} {rcpt_mailer}"),
    Event.DATA: (4, "i"),
    Event.EOM: (5, "i"),
    Event.EOH: (6, "i"),
}
"""For each event its number in a request for macros, and the macros that Postfix sends without a request."""


class MilterAction(StrEnum):
    ACCEPT = "accept"
    REJECT = "reject"
    TEMPFAIL = "tempfail"
    DISCARD = "discard"


class FinalReply(Value):
    """The SMTP reply that ends the transaction; Postfix's text where the filter gave none."""

    action: MilterAction
    code: int
    text: str


ACCEPTED = FinalReply(MilterAction.ACCEPT, 250, "2.0.0 Ok")
FINAL = {
    b"a": ACCEPTED,
    b"d": FinalReply(MilterAction.DISCARD, 250, "2.0.0 Ok"),
    b"r": FinalReply(MilterAction.REJECT, 550, "5.7.1 Command rejected"),
    b"t": FinalReply(MilterAction.TEMPFAIL, 451, "4.7.1 Service unavailable - try again later"),
    b"4": FinalReply(MilterAction.TEMPFAIL, 421, "4.7.0 Service shutting down"),
}
_REPLY_LINE = re.compile(r"([45]\d\d)[ -]([\x20-\x7e]*)\Z")


def own_reply(data: bytes) -> FinalReply:
    """Parse the SMTP reply of the filter, one line or several; `%%` is one percent sign (Sendmail's convention)."""
    lines = data.rstrip(b"\0").decode("latin-1").split("\r\n")
    matches = [_REPLY_LINE.match(line) for line in lines]
    codes = {match[1] for match in matches if match}
    if None in matches or len(codes) != 1:
        raise MilterError(f"malformed reply {data!r}")
    text = "\n".join(match[2] for match in matches if match)
    code = codes.pop()
    if text[:1].isdigit() and text[0] != code[0]:
        raise MilterError(f"reply whose codes disagree: {data!r}")
    return FinalReply(
        MilterAction.REJECT if code[0] == "5" else MilterAction.TEMPFAIL, int(code), text.replace("%%", "%")
    )
