"""How programs that do not implement the whole grammar read a From field (RFC 9989 11.5).

Some programs decode encoded words before they parse, do not nest comments, split a list at every comma, or take the
text between two angle brackets. `misreading` looks for the addresses that they would see. None of these becomes the
author: a field in which they would see another domain is malformed.

Display names are not checked here: a quoted-string may show any address, and an encoded word may show a bare one.
"""

import re
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from typing import Final, NamedTuple

from dmarcmilter.mail import encoded_words
from dmarcmilter.mail.domain import Domain, parse
from dmarcmilter.mail.encoded_words import View
from dmarcmilter.mail.header_tokens import COMMENT_PART, QUOTED_STRING
from dmarcmilter.reasons import Code, Reason

# The characters that NFKC (Unicode 15) turns into one that ends an address, and brackets that look like `<` and `>`.
_LOOK_ALIKES: Final = str.maketrans(
    {
        **dict.fromkeys("\uff1c\ufe64\u2039\u2329\u3008\u27e8", "<"),
        **dict.fromkeys("\uff1e\ufe65\u203a\u232a\u3009\u27e9", ">"),
        **dict.fromkeys("\uff20\ufe6b", "@"),
        **dict.fromkeys("\uff0c\ufe50\ufe10", ","),
        **dict.fromkeys("\uff1b\ufe54\ufe14\u037e", ";"),
        **dict.fromkeys("\uff0e\ufe52\u2024\u3002\uff61\ufe12", "."),
        **dict.fromkeys("\uff08\ufe59\ufe35\u207d\u208d", "("),
        **dict.fromkeys("\uff09\ufe5a\ufe36\u207e\u208e", ")"),
        **dict.fromkeys("\uff02", '"'),
    }
)
# At these characters programs cut a text or split it into lines; a tab is white space.
_SEPARATORS: Final = re.compile("[,;\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
_ANGLE: Final = re.compile(r"<")
_PLAIN_COMMENT: Final = re.compile(r"\([^()]*\)")
_ADDRESS: Final = re.compile(r"[^\s<>(),;:\"@\[\]\\]@[ \t]*([^\s<>(),;:\"@\[\]\\]+)")
_ENDS_EARLY: Final = re.compile(r"[@(\\]")
_INSIDE: Final = frozenset((b"@", b"."))
_BESIDE: Final = frozenset((b"", b" ", b"\t", b",", b";", b":"))
_AROUND: Final = ".'`\u00b4\u2018\u2019\u201c\u201d\u00ab\u00bb\u300a\u300b!?*|~/&#$%^{}+="

_TEXT: Final = re.compile(rb'[^"(]++')
_SUSPECT: Final = re.compile(rb'[("\x80-\xff]|=\?')


class _Kind(Enum):
    TEXT = auto()
    QUOTED = auto()
    COMMENT = auto()


def misreading(text: bytes, author: Domain) -> Reason | None:
    """Why a program could show another domain than `author` as the author's; None: no known program would.

    `text` is an unfolded field that address_list.parse has read.
    """
    if not _SUSPECT.search(text):
        return None
    parts = list(_parts(text))
    reason = _in_comments(parts)
    if reason:
        return reason
    others = _Others(author)
    # A program that ends a quoted-string at an escaped quote reads the inside of the next one as plain text.
    quotes = any(kind is _Kind.QUOTED and b'\\"' in part for kind, part in parts)
    for view in View if b"=?" in text else (View.RAW,):
        shown = "".join(_shown(kind, part, view, quotes=quotes) for kind, part in parts)
        if others.would_be_read_in(shown):
            return Reason.of(Code.FROM_OTHER_READING)
        if not shown.isascii() and others.would_be_read_in(shown.translate(_LOOK_ALIKES)):
            return Reason.of(Code.FROM_OTHER_READING)
    return None


def _parts(text: bytes) -> Iterator[tuple[_Kind, bytes]]:
    position = 0
    while position < len(text):
        if match := _TEXT.match(text, position):
            kind, end = _Kind.TEXT, match.end()
        elif match := QUOTED_STRING.match(text, position):
            kind, end = _Kind.QUOTED, match.end()
        else:
            kind, end = _Kind.COMMENT, _comment_end(text, position)
        yield kind, text[position:end]
        position = end


def _comment_end(text: bytes, position: int) -> int:
    depth = 0
    for match in COMMENT_PART.finditer(text, position):
        depth += (match.group() == b"(") - (match.group() == b")")
        if depth == 0:
            return match.end()
    return len(text)


def _shown(kind: _Kind, part: bytes, view: View, *, quotes: bool) -> str:
    """The text that a program sees if it decodes first; `quotes`: one that cannot tell where a quoted-string ends."""
    if kind is _Kind.QUOTED and b"=?" not in part and not quotes:
        return "x"
    text = part.decode("utf-8", "replace")
    return encoded_words.decoded(text, view) if b"=?" in part else text


def _in_comments(parts: list[tuple[_Kind, bytes]]) -> Reason | None:
    """Why a comment is refused: it splits the author's address. A comment beside the address may show any other."""
    has_angle = any(kind is _Kind.TEXT and b"<" in part for kind, part in parts)
    in_angle = False
    befores = _before_each((kind, part[-1:], part.rstrip()[-1:]) for kind, part in parts)
    behinds = _before_each((kind, part[:1], part.lstrip()[:1]) for kind, part in reversed(parts))[::-1]
    for (kind, part), before, behind in zip(parts, befores, behinds, strict=True):
        if kind is _Kind.TEXT:
            in_angle = part.rfind(b"<") > part.rfind(b">") or (in_angle and b">" not in part)
        if kind is not _Kind.COMMENT:
            continue
        if b"<" in part or b">" in part:
            return Reason.of(Code.FROM_ANGLE_IN_COMMENT)
        is_inside = in_angle or before.text in _INSIDE or behind.text in _INSIDE
        is_behind = before.edge not in _BESIDE and not has_angle
        is_before = behind.edge not in _BESIDE and not has_angle
        shown = _shown(kind, part, View.ASCII, quotes=True).translate(_LOOK_ALIKES)
        # A program that ends a comment at its first parenthesis reads the rest as a part of the address.
        if ((is_inside or is_behind) and _ENDS_EARLY.search(shown, 1)) or (is_before and "@" in shown):
            return Reason.of(Code.FROM_COMMENT_IN_ADDRESS)
    return None


class _Edge(NamedTuple):
    """The end of a part that is next to a comment."""

    edge: bytes
    """Its last (or first) byte."""
    text: bytes
    """Its last (or first) byte that is not white space."""


def _before_each(parts: Iterable[tuple[_Kind, bytes, bytes]]) -> list[_Edge]:
    """For each part the end of the last part before it that is not a comment.

    The ends are computed once for each part: a long text may have thousands of comments after it.
    """
    edges: list[_Edge] = []
    last = _Edge(b"", b"")
    for kind, edge, text in parts:
        edges.append(last)
        last = last if kind is _Kind.COMMENT else _Edge(edge, text)
    return edges


class _Others:
    """Looks for domains that are not the author's; each spelling of the author's is parsed once."""

    def __init__(self, author: Domain) -> None:
        self._author = author
        self._same = {str(author)}

    def would_be_read_in(self, text: str) -> bool:
        """Whether a program sees one if it splits at every separator, then takes text in angle brackets, else any."""
        if not self.stand_in(text) and not self.stand_in(_PLAIN_COMMENT.sub("", text)):
            return False
        if self._is_unbalanced(text):
            return True
        pieces = _SEPARATORS.split(text)
        return any(self._is_read_in(piece, is_first=not place) for place, piece in enumerate(pieces) if "@" in piece)

    def _is_read_in(self, piece: str, *, is_first: bool) -> bool:
        """Whether a program sees one in a piece. After a separator, an address alone may be read as an author."""
        name, *angles = _ANGLE.split(piece)
        if any(self.stand_in(inside) for inside in angles):
            return True
        if not any("@" in inside for inside in angles):
            # Where a comment was, programs leave a space or nothing.
            return any(self.stand_in(_PLAIN_COMMENT.sub(between, name)) for between in (" ", ""))
        name = _PLAIN_COMMENT.sub(" ", name)
        alone = name.rpartition(":")[2].strip()
        return not is_first and " " not in alone and self.stand_in(alone)

    @staticmethod
    def _is_unbalanced(text: str) -> bool:
        """Whether a quote or parenthesis has no other half: it hides the text after it from some programs."""
        return text.count('"') % 2 == 1 or text.count("(") != text.count(")")

    def stand_in(self, text: str) -> bool:
        """Whether the text has an address of another domain. A name without a dot is not one, as in `Foo@Bar Ltd`."""
        return any(self._is_other(address[1]) for address in _ADDRESS.finditer(text))

    def _is_other(self, raw: str) -> bool:
        name = raw.strip(_AROUND).lower()
        if name in self._same or "." not in name:
            return False
        if parse(name) != self._author:
            return True
        self._same.add(name)
        return False
