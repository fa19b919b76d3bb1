"""The address grammar of RFC 5322 3.4 and 4.4 and RFC 6854 on a raw field body, reduced to what DMARC asks.

Strict where readers differ: what two programs could read as two different authors is a Fault, never a guess. Encoded
words are never decoded (RFC 2047 5 keeps them out of addresses). One pass, no recursion, no look back.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from dmarcmilter.dmarc.syntax import CONTROLS, Scanner, Token, unfold

MAX_FIELD: Final = 1024 * 1024
"""Octets of a field body that are read. MTAs stop far below; display texts of 200 kB must still be judged."""
MAX_MAILBOXES: Final = 1000
"""Addresses read from one field: more are nobody's author list, only work."""


class Kind(Enum):
    ADDRESS = auto()
    """local-part@domain, or the same form inside a display name, which a reader may take for the author."""
    LITERAL = auto()
    """local-part@[domain-literal]: an author without a domain name."""
    LOCAL = auto()
    """<local-part>: an author without a domain."""
    NAME = auto()
    """Words only, as in `Doe, John <j@example.com>` left of the comma."""
    ENCODED_NAME = auto()
    """NAME with an encoded word: readers that decode before they parse see anything in it."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    kind: Kind
    domain: bytes = b""
    """As written, comments and white space taken out; only for ADDRESS."""


@dataclass(frozen=True, slots=True)
class AddressList:
    mailboxes: tuple[Mailbox, ...]
    """Members of groups stand with the others."""
    groups: int
    lax: bool
    """Outside the grammar, its obsolete part (RFC 5322 4) included, yet without a second reading."""


@dataclass(frozen=True, slots=True)
class Fault:
    reason: str
    """Our own words."""


def parse(body: bytes) -> AddressList | Fault:
    """The address-list of a field body (RFC 5322 3.4), or why it has no single reading."""
    if len(body) > MAX_FIELD:
        return Fault("field too long")
    text = unfold(body)
    if CONTROLS.search(text):
        # Programs cut at NUL, split at a bare CR or LF, or skip them: each shows another author.
        return Fault("control character")
    parser = _Parser(text)
    if not parser.address_list():
        return Fault(parser.scanner.fault or parser.fault)
    return AddressList(tuple(parser.mailboxes), parser.groups, parser.lax)


_WORDS: Final = frozenset({Token.ATOM, Token.QUOTED, Token.ENCODED})
_PHRASE: Final = _WORDS | {Token.DOT, Token.BRACKET}


@dataclass(slots=True)
class _Phrase:
    """What a run of words turned out to be; which of it counts is known at the token behind it."""

    words: int = 0
    parts: int = 0
    single: bool = True
    """Can be a local-part: words joined by dots, no encoded word, no bracket."""
    strict: bool = True
    """No leading or doubled dot, no bracket."""
    encoded: bool = False
    after_word: bool = False
    after_bracket: bool = False

    def add(self, token: Token) -> None:
        self.parts += 1
        is_word = token in _WORDS
        self.single &= not (is_word and self.after_word)
        if token is Token.DOT and not self.after_word:
            self.strict = False
        if token is Token.BRACKET:
            self.single = self.strict = False
        if token is Token.ENCODED:
            self.encoded = True
            self.single = False  # RFC 2047 5(3): never within an addr-spec
        self.words += is_word
        self.after_word = is_word
        self.after_bracket = token is Token.BRACKET

    @property
    def is_local_part(self) -> bool:
        return self.words > 0 and self.single


class _Parser:
    """Descent without recursion: address-list > group > mailbox > addr-spec. A method returns False after a fault."""

    def __init__(self, text: bytes) -> None:
        self.scanner = Scanner(text)
        self.mailboxes: list[Mailbox] = []
        self.groups = 0
        self.lax = False
        self.fault = ""

    def _refuse(self, reason: str) -> bool:
        self.fault = self.fault or reason
        return False

    def _add(self, kind: Kind, domain: bytes = b"") -> bool:
        if len(self.mailboxes) >= MAX_MAILBOXES:
            return self._refuse("too many addresses")
        self.mailboxes.append(Mailbox(kind, domain))
        return True

    def address_list(self) -> bool:
        """RFC 5322 3.4 address-list with the empty elements of obs-addr-list."""
        in_group = False
        while True:
            token = self.scanner.token
            if token is Token.COMMA:
                self.scanner.advance()
                continue
            if token is Token.SEMICOLON and in_group:
                in_group = False
                self.scanner.advance()
            elif token is Token.END:
                break
            elif not self._address(in_group=in_group):
                return False
            elif self.scanner.token is Token.COLON:
                in_group = True
                self.groups += 1
                self.scanner.advance()
                continue
            if not self._ends_address(in_group=in_group):
                return self._refuse("text after an address")
        if in_group:
            return self._refuse("unterminated group")
        if not self.mailboxes and not self.groups:
            return self._refuse("no address")
        return True

    def _ends_address(self, *, in_group: bool) -> bool:
        token = self.scanner.token
        return token in (Token.COMMA, Token.END) or (in_group and token is Token.SEMICOLON)

    def _address(self, *, in_group: bool) -> bool:
        """A mailbox, or the display-name of a group up to its colon."""
        before = len(self.mailboxes)
        phrase = _Phrase()
        trailing = _Phrase()
        if not self._phrase(phrase, trailing):
            return False
        has_address = len(self.mailboxes) > before
        token = self.scanner.token
        if token is Token.LESS:
            self._note_display_name(phrase, trailing, has_address=has_address)
            return self._angle_address()
        if token is Token.COLON:
            self._note_display_name(phrase, trailing, has_address=has_address)
            return self._refuse("misplaced colon") if in_group or not phrase.parts else True
        if not phrase.parts:
            return self._refuse("misplaced special character")
        if has_address:
            # addr-spec without angle brackets: nothing but it may stand here.
            if len(self.mailboxes) > before + 1 or trailing.parts or not phrase.is_local_part:
                return self._refuse("words beside an address without angle brackets")
            self.lax |= not phrase.strict or not phrase.after_word
            return True
        self.lax = True
        return self._add(Kind.ENCODED_NAME if phrase.encoded else Kind.NAME)

    def _note_display_name(self, phrase: _Phrase, trailing: _Phrase, *, has_address: bool) -> None:
        self.lax |= has_address or not phrase.strict or not trailing.strict

    def _phrase(self, phrase: _Phrase, trailing: _Phrase) -> bool:
        """Words up to a delimiter; each `@` among them makes a candidate (FROM-16: readers may show that one)."""
        current = phrase
        while True:
            token = self.scanner.token
            if token in _PHRASE:
                current.add(token)
                self.scanner.advance()
            elif token is Token.AT:
                if not current.words or current.after_bracket:
                    return self._refuse("misplaced @")
                if not self._domain():
                    return False
                current = trailing
            else:
                return token is not Token.BAD

    def _angle_address(self) -> bool:
        """RFC 5322 3.4 angle-addr with the obs-route of 4.4, which is read and dropped."""
        self.scanner.advance()
        if self.scanner.token in (Token.AT, Token.COMMA) and not self._route():
            return False
        local = _Phrase()
        while self.scanner.token in _WORDS or self.scanner.token is Token.DOT:
            local.add(self.scanner.token)
            self.scanner.advance()
        if not local.is_local_part:
            return self._refuse("no local-part in angle brackets")
        self.lax |= not local.strict or not local.after_word
        if self.scanner.token is Token.AT:
            if not self._domain():
                return False
        elif not self._add(Kind.LOCAL):
            return False
        if self.scanner.token is not Token.GREATER:
            return self._refuse("unclosed angle bracket")
        self.scanner.advance()
        return True

    def _route(self) -> bool:
        """RFC 5322 4.4 obs-route."""
        while self.scanner.token in (Token.AT, Token.COMMA):
            if self.scanner.token is Token.COMMA:
                self.scanner.advance()
            elif not self._domain(kept=False):
                return False
        if self.scanner.token is not Token.COLON:
            return self._refuse("unterminated route")
        self.scanner.advance()
        return True

    def _domain(self, *, kept: bool = True) -> bool:
        """`@` and the domain behind it."""
        self.scanner.advance()
        if self.scanner.token is Token.BRACKET:
            if not self.scanner.take_literal():
                return self._refuse("malformed domain literal")
            return not kept or self._add(Kind.LITERAL)
        text = self.scanner.take_domain()
        if text is None:
            return self._refuse("no clear domain after @")
        if self.scanner.token is Token.AT:
            return self._refuse("two @ in one address")
        return not kept or self._add(Kind.ADDRESS, text)
