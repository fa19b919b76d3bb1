"""Programs that read a From field carelessly, and what each would show."""

import email.header
import email.policy
import email.utils
import re

QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
COMMENT = re.compile(r"\([^()]*\)")
ADDRESS = re.compile(r"[\w.+%'=-]+@([\w.-]+)")


def decoded(text):
    """RFC 2047 as Python's email package does it, over the whole field and before anything else."""
    try:
        return "".join(
            part if isinstance(part, str) else part.decode(charset or "latin-1", "replace")
            for part, charset in email.header.decode_header(text)
        )
    except (LookupError, ValueError, email.errors.HeaderParseError):
        return text


def first_angle(text):
    return re.findall(r"<([^<>]*)>", text)[:1]


def last_angle(text):
    return re.findall(r"<([^<>]*)>", text)[-1:]


def split(text):
    """An element each comma, semicolon or line: what is in angle brackets, else what is no comment."""
    for piece in re.split(r"[,;\0\r\n\x0b\x0c\x85\u2028\u2029]", text):
        yield from re.findall(r"<([^<>]*)>?", piece) or [COMMENT.sub(" ", piece)]


def without_comments(text):
    """Comments taken out once and without nesting; then the address in angle brackets, else any."""
    text = COMMENT.sub("", text)
    return last_angle(text) or [text]


READERS = [first_angle, last_angle, split, without_comments]
