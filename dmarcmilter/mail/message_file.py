"""A message from a file, split into header fields and body as an MTA would do it."""

import re

from dmarcmilter.mail.message import Header
from dmarcmilter.value import Value

_FIELD = re.compile(rb"([!-9;-~\x80-\xff]+)[ \t]*:")


MAIL_FIELDS = frozenset(
    b"from sender reply-to to cc bcc date subject message-id in-reply-to references received return-path delivered-to"
    b" mime-version content-type content-transfer-encoding dkim-signature authentication-results arc-seal list-id"
    b" resent-from resent-date".split()
)
"""Field names by which a header is recognized as that of a message, in lower case. `X-` fields count, too."""


class MailFile(Value):
    headers: tuple[Header, ...]
    body: bytes


def problem(raw: bytes) -> str:
    """Why this is no message; empty when it may be one."""
    if not raw.strip():
        return "it is empty"
    headers = parse(raw).headers
    if not headers:
        return "it does not begin with a header field"
    if not any(header.key in MAIL_FIELDS or header.key.startswith(b"x-") for header in headers):
        return "none of its header fields is one that messages have, such as From, Date or Received"
    return ""


def parse(raw: bytes) -> MailFile:
    """Split where Postfix does: the header ends at an empty line, or before the first line that cannot belong to it.

    A file without any CRLF was saved with LF line ends; they become CRLF, as they were on the wire.
    """
    if b"\r\n" not in raw:
        raw = raw.replace(b"\n", b"\r\n")
    if raw.startswith(b"From "):  # the separator line of an mbox file
        raw = raw.partition(b"\r\n")[2]
    fields: list[tuple[bytes, list[bytes]]] = []
    position = 0
    while position < len(raw):
        end = raw.find(b"\n", position)
        after = len(raw) if end < 0 else end + 1
        line = raw[position : len(raw) if end < 0 else end].removesuffix(b"\r")
        field = _FIELD.match(line)
        if not line:
            position = after
            break
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1][1].append(line)
        elif field and line[:1] not in (b" ", b"\t"):
            fields.append((field[1], [line[field.end() :]]))
        else:
            break
        position = after
    headers = tuple(Header(name, b"\r\n".join(lines)) for name, lines in fields)
    return MailFile(headers, raw[position:])
