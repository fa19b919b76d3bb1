"""The address grammar of RFC 5322 3.4 and 4.4 and RFC 6854 on a raw field body, reduced to what DMARC asks.

Strict where readers differ: what two programs could read as two different authors is refused, never guessed. No
address is taken from an encoded word (RFC 2047 5 keeps them out of addresses). One pass, no recursion, no look back.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from dmarcmilter.mail.header_tokens import CONTROLS, Scanner, Token, unfold
from dmarcmilter.mail.phrase import PHRASE, WORDS, Phrase, is_ambiguous_name, stands_for_address
from dmarcmilter.reasons import Code, Reason

MAX_FIELD: Final = 128 * 1024
"""Bytes of a field body that are read. Postfix cuts a field at 100 kB, Sendmail refuses a header of 32 kB."""
MAX_MAILBOXES: Final = 1000
"""Addresses read from one field: more are nobody's author list, only work."""


class Kind(Enum):
    ADDRESS = auto()
    """local-part@domain."""
    SHOWN = auto()
    """The same form inside a display name of plain words, which a reader may take for the author."""
    LITERAL = auto()
    """local-part@[domain-literal]: an author without a domain name."""
    LOCAL = auto()
    """<local-part>: an author without a domain."""
    NAME = auto()
    """Words only, as in `Doe, John <j@example.com>` left of the comma."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    kind: Kind
    domain: bytes = b""
    """As written, comments and white space taken out; only for ADDRESS and SHOWN."""


@dataclass(frozen=True, slots=True)
class AddressList:
    mailboxes: tuple[Mailbox, ...]
    """Members of groups stand with the others."""
    groups: int
    lax: bool
    """Outside the grammar, its obsolete part (RFC 5322 4) included, yet without a second reading."""


def parse(body: bytes) -> AddressList | Reason:
    """The address-list of a field body (RFC 5322 3.4), or why it has no single reading."""
    if len(body) > MAX_FIELD:
        return Reason(Code.FROM_TOO_LONG)
    text = unfold(body)
    if CONTROLS.search(text):
        # Programs cut at NUL, split at a bare CR or LF, or skip them: each shows another author.
        return Reason(Code.FROM_CONTROL_CHARACTER)
    parser = _Parser(text)
    if not parser.address_list():
        return parser.scanner.fault or parser.fault or Reason(Code.FROM_MISPLACED_CHARACTER)
    return AddressList(tuple(parser.mailboxes), parser.groups, parser.lax)


class _Parser:
    """Descent without recursion: address-list > group > mailbox > addr-spec. A method returns False after a fault."""

    def __init__(self, text: bytes) -> None:
        self.scanner = Scanner(text)
        self.mailboxes: list[Mailbox] = []
        self.groups = 0
        self.lax = False
        self.fault: Reason | None = None
        self._in_group = False
        self._element = 0
        """Where the current element of the list begins."""
        self._is_bare = True
        """No address was found in it yet."""

    def _refuse(self, reason: Reason) -> bool:
        self.fault = self.fault or reason
        return False

    def _add(self, kind: Kind, domain: bytes = b"") -> bool:
        if len(self.mailboxes) >= MAX_MAILBOXES:
            return self._refuse(Reason(Code.FROM_TOO_MANY_ADDRESSES))
        self.mailboxes.append(Mailbox(kind, domain))
        return True

    def address_list(self) -> bool:
        """RFC 5322 3.4 address-list with the empty elements of obs-addr-list."""
        while self.scanner.token is not Token.END:
            if not self._advance():
                return False
        if self._in_group:
            return self._refuse(Reason(Code.FROM_UNTERMINATED_GROUP))
        if not self._end_element():
            return False
        if not self.mailboxes and not self.groups:
            return self._refuse(Reason(Code.FROM_NO_ADDRESS))
        return True

    def _advance(self) -> bool:
        """Past one delimiter of the list, or one address."""
        token = self.scanner.token
        if token is Token.COMMA:
            return self._end_element()
        if token is Token.SEMICOLON and self._in_group:
            self._in_group = False
            return self._end_element() and self._at_delimiter()
        if not self._address():
            return False
        if self.scanner.token is Token.COLON:
            self._in_group = True
            self.groups += 1
            return self._end_element()
        return self._at_delimiter()

    def _end_element(self) -> bool:
        """Past a delimiter. An element without an address must not show one: readers that look for it find another."""
        if self._is_bare and stands_for_address(self.scanner.text, self._element, self.scanner.start):
            return self._refuse(Reason(Code.FROM_NAME_LIKE_ADDRESS))
        self._element = self.scanner.start + 1
        self._is_bare = True
        self.scanner.advance()
        return True

    def _at_delimiter(self) -> bool:
        token = self.scanner.token
        if token in (Token.COMMA, Token.END) or (self._in_group and token is Token.SEMICOLON):
            return True
        return self._refuse(Reason(Code.FROM_TEXT_AFTER_ADDRESS))

    def _address(self) -> bool:
        """A mailbox, or the display-name of a group up to its colon."""
        before = len(self.mailboxes)
        phrase = Phrase()
        trailing = Phrase()
        if not self._phrase(phrase, trailing):
            return False
        has_address = len(self.mailboxes) > before
        token = self.scanner.token
        if token is Token.LESS:
            return self._display_name(phrase, trailing, before) and self._angle_address()
        if token is Token.COLON:
            self.lax |= not phrase.strict
            return self._refuse(Reason(Code.FROM_MISPLACED_COLON)) if self._in_group or not phrase.parts else True
        if not phrase.parts:
            return self._refuse(Reason(Code.FROM_MISPLACED_SPECIAL))
        if has_address:
            # addr-spec without angle brackets: nothing but it may stand here.
            if len(self.mailboxes) > before + 1 or trailing.parts or not phrase.is_local_part:
                return self._refuse(Reason(Code.FROM_WORDS_BESIDE_ADDRESS))
            self._is_bare = False
            self.lax |= not phrase.strict or not phrase.after_word
            return True
        self.lax = True
        return self._add(Kind.NAME)

    def _display_name(self, phrase: Phrase, trailing: Phrase, before: int) -> bool:
        """What stands left of `<`; the mailboxes from `before` on were found in it."""
        found = self.mailboxes[before:]
        self.lax |= bool(found) or not phrase.strict or not trailing.strict
        if is_ambiguous_name((phrase, trailing), has_address=bool(found)):
            return self._refuse(Reason(Code.FROM_HIDDEN_ADDRESS))
        if phrase.is_plain and trailing.is_plain:
            self.mailboxes[before:] = [
                Mailbox(Kind.SHOWN, mailbox.domain) if mailbox.kind is Kind.ADDRESS else mailbox for mailbox in found
            ]
        return True

    def _phrase(self, phrase: Phrase, trailing: Phrase) -> bool:
        """Words up to a delimiter; each `@` among them makes a candidate (FROM-16: readers may show that one)."""
        current = phrase
        while True:
            token = self.scanner.token
            if token in PHRASE:
                current.add(token, self.scanner.value)
                self.scanner.advance()
            elif token is Token.AT:
                if not current.words or current.after_bracket:
                    return self._refuse(Reason(Code.FROM_MISPLACED_AT))
                if not current.clear:
                    return self._refuse(Reason(Code.FROM_UNCLEAR_LOCAL_PART))
                if not self._domain():
                    return False
                if self.scanner.goes_on_behind_comment():
                    return self._refuse(Reason(Code.FROM_UNCLEAR_DOMAIN))
                current = trailing
            else:
                return token is not Token.BAD

    def _angle_address(self) -> bool:
        """RFC 5322 3.4 angle-addr with the obs-route of 4.4, which is read and dropped."""
        self.scanner.advance()
        if self.scanner.token in (Token.AT, Token.COMMA) and not self._route():
            return False
        local = Phrase()
        while self.scanner.token in WORDS or self.scanner.token is Token.DOT:
            local.add(self.scanner.token, self.scanner.value)
            self.scanner.advance()
        if not local.is_local_part:
            return self._refuse(Reason(Code.FROM_NO_LOCAL_PART))
        if not local.clear:
            return self._refuse(Reason(Code.FROM_UNCLEAR_LOCAL_PART))
        self._is_bare = False
        self.lax |= not local.strict or not local.after_word
        if self.scanner.token is Token.AT:
            if not self._domain():
                return False
        elif not self._add(Kind.LOCAL):
            return False
        if self.scanner.token is not Token.GREATER:
            return self._refuse(Reason(Code.FROM_UNCLOSED_ANGLE))
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
            return self._refuse(Reason(Code.FROM_UNTERMINATED_ROUTE))
        self.scanner.advance()
        return True

    def _domain(self, *, kept: bool = True) -> bool:
        """`@` and the domain behind it."""
        self.scanner.advance()
        if self.scanner.token is Token.BRACKET:
            if not self.scanner.take_literal():
                return self._refuse(Reason(Code.FROM_MALFORMED_LITERAL))
            return not kept or self._add(Kind.LITERAL)
        text = self.scanner.take_domain()
        if text is None:
            return self._refuse(Reason(Code.FROM_UNCLEAR_DOMAIN))
        if self.scanner.token is Token.AT:
            return self._refuse(Reason(Code.FROM_TWO_AT_SIGNS))
        return not kept or self._add(Kind.ADDRESS, text)
