"""Header lines that MTAs split when they send them, because they are too long.

A milter sees such a line whole. Postfix joins what it read in pieces, and splits the line only when it delivers the
message by SMTP or LMTP: a CRLF and a space after each 998 bytes, also in the middle of an address.
"""

from typing import Final

MAX_LINE: Final = 998
"""Longest line of a message, in bytes without CRLF (RFC 5322 2.1.1, RFC 6532 3.4). MTAs may split a longer one."""
SPLIT_WIDTHS: Final = (990, MAX_LINE, 2048)
"""Bytes after which MTAs split a longer line, as measured or documented: Sendmail's SMTP mailers and Postfix before
2.9; Postfix today (smtp_line_length_limit); Postfix with that limit raised to its line_length_limit."""


def has_overlong_line(name: bytes, body: bytes) -> bool:
    """Whether a line of the field is longer than RFC 5322 permits. `body`: with folds as CRLF."""
    # Postfix writes no white space between the name and the colon.
    size = len(name.strip()) + len(b":")
    if size + len(body) <= MAX_LINE:
        return False
    first, *others = body.split(b"\r\n")
    return size + len(first) > MAX_LINE or any(len(line) > MAX_LINE for line in others)


def split_lines(name: bytes, body: bytes, width: int) -> bytes:
    """The body as an MTA delivers it that splits lines longer than MAX_LINE after `width` bytes."""
    prefix = name.strip() + b":"
    lines = (prefix + body).split(b"\r\n")
    return b"\r\n".join(_split(line, width) for line in lines)[len(prefix) :]


def _split(line: bytes, width: int) -> bytes:
    if len(line) <= max(width, MAX_LINE):
        return line
    # The space that begins a new line counts.
    rest = range(width, len(line), width - 1)
    return b"\r\n ".join([line[:width], *(line[start : start + width - 1] for start in rest)])
