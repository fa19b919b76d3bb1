"""The address grammar of RFC 5322 3.4 and 4.4 and RFC 6854 on a raw field body, reduced to what DMARC needs.

Where mail programs differ, the parser is strict: a field that two programs could read as two different authors is
refused, never guessed. No address is taken from an encoded word (RFC 2047 5 keeps them out of addresses). The parser
makes one pass, without recursion or backtracking.
"""

from enum import Enum, auto
from typing import Final

from dmarcmilter.mail.addresses_in_phrases import PHRASE, WORDS, Phrase, is_ambiguous_name, stands_for_address
from dmarcmilter.mail.header_tokens import CONTROLS, Scanner, Token, unfold
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.value import Value

MAX_FIELD: Final = 128 * 1024
"""Largest field body that is read, in bytes; a longer one is refused.

Postfix cuts a field at 100 kB, Sendmail refuses a header of 32 kB."""
MAX_MAILBOXES: Final = 1000
"""Addresses in one field; a field with more is refused. No real list of authors is that long."""

MAX_ADDRESS: Final = 254
"""Longest addr-spec, in bytes: a path of 256 without its angle brackets (RFC 5321 4.5.3.1.3). A field with a longer one
is refused: Sendmail cuts it at this length, and what is left has another domain."""
MAX_ELEMENT: Final = 600
"""Longest element of the list that may show an `@` beside that of its address, in bytes; a field with a longer one is
refused. Of an element beyond 1250 bytes (630 that are not ASCII) Sendmail keeps the first 256, whatever they are."""


class ElementKind(Enum):
    """What an element of the list is."""

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


class ListElement(Value):
    """One element of the list, with its domain."""

    kind: ElementKind
    domain: bytes = b""
    """As written, without comments and white space; empty unless `kind` is ADDRESS or SHOWN."""


class AddressList(Value):
    """All elements of the field."""

    mailboxes: tuple[ListElement, ...]
    """In the order of the field; members of groups are among them."""
    groups: int
    lax: bool
    """The field breaks the grammar (with its obsolete part, RFC 5322 4), but has only one reading."""


def parse(body: bytes) -> AddressList | Reason:
    """The address-list of a field body (RFC 5322 3.4), or why it has no single reading."""
    if len(body) > MAX_FIELD:
        return Reason.of(Code.FROM_TOO_LONG)
    text = unfold(body)
    if CONTROLS.search(text):
        # Some programs cut at NUL, some split at a bare CR or LF, some skip them: each shows another author.
        return Reason.of(Code.FROM_CONTROL_CHARACTER)
    parser = _Parser(text)
    if not parser.address_list():
        return parser.scanner.fault or parser.fault or Reason.of(Code.FROM_MISPLACED_CHARACTER)
    return AddressList(tuple(parser.mailboxes), parser.groups, parser.lax)


class _Parser:
    """The parser: address-list > group > mailbox > addr-spec, without recursion. Methods return False after a fault."""

    def __init__(self, text: bytes) -> None:
        self.scanner = Scanner(text)
        self.mailboxes: list[ListElement] = []
        self.groups = 0
        self.lax = False
        self.fault: Reason | None = None
        self._in_group = False
        self._element = 0
        """Where the current element of the list begins, in a group without the group's name."""
        self._piece = 0
        """Where the text after the last comma begins."""
        self._is_bare = True
        """The current element has no address yet."""

    def _refuse(self, reason: Reason) -> bool:
        self.fault = self.fault or reason
        return False

    def _add(self, kind: ElementKind, domain: bytes = b"") -> bool:
        if len(self.mailboxes) >= MAX_MAILBOXES:
            return self._refuse(Reason.of(Code.FROM_TOO_MANY_ADDRESSES))
        self.mailboxes.append(ListElement(kind, domain))
        return True

    def address_list(self) -> bool:
        """Read the address-list (RFC 5322 3.4), with the empty elements of obs-addr-list."""
        while self.scanner.token is not Token.END:
            if not self._advance():
                return False
        if self._in_group:
            return self._refuse(Reason.of(Code.FROM_UNTERMINATED_GROUP))
        if not self._end_element():
            return False
        if not self.mailboxes and not self.groups:
            return self._refuse(Reason.of(Code.FROM_NO_ADDRESS))
        return True

    def _advance(self) -> bool:
        """Read one delimiter of the list, or one address."""
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
        """Read a delimiter. Refuse an element without an address that shows one: some programs would take that one."""
        if self._is_bare and stands_for_address(self.scanner.text, self._element, self.scanner.start):
            return self._refuse(Reason.of(Code.FROM_NAME_LIKE_ADDRESS))
        self._element = self.scanner.start + 1
        if self.scanner.token is not Token.COLON:
            piece = self.scanner.text[self._piece : self.scanner.start]
            if len(piece) > MAX_ELEMENT and piece.count(b"@") > 1:
                return self._refuse(Reason.of(Code.FROM_ADDRESS_IN_LONG_NAME))
            self._piece = self._element
        self._is_bare = True
        self.scanner.advance()
        return True

    def _at_delimiter(self) -> bool:
        token = self.scanner.token
        if token in (Token.COMMA, Token.END) or (self._in_group and token is Token.SEMICOLON):
            return True
        return self._refuse(Reason.of(Code.FROM_TEXT_AFTER_ADDRESS))

    def _address(self) -> bool:
        """Read a mailbox, or the display-name of a group up to its colon."""
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
            return self._refuse(Reason.of(Code.FROM_MISPLACED_COLON)) if self._in_group or not phrase.parts else True
        if not phrase.parts:
            return self._refuse(Reason.of(Code.FROM_MISPLACED_SPECIAL))
        if has_address:
            # An addr-spec without angle brackets must be alone.
            if len(self.mailboxes) > before + 1 or trailing.parts or not phrase.is_local_part:
                return self._refuse(Reason.of(Code.FROM_WORDS_BESIDE_ADDRESS))
            self._is_bare = False
            self.lax |= not phrase.strict or not phrase.after_word
            # Programs that do not know groups take the group's name for a part of the address.
            group_name = self._element - self._piece
            return self._check_size(group_name + phrase.size)
        self.lax = True
        return self._add(ElementKind.NAME)

    def _display_name(self, phrase: Phrase, trailing: Phrase, before: int) -> bool:
        """Check the display name left of `<`; the mailboxes from index `before` on are addresses inside it."""
        shown = self.mailboxes[before:]
        self.lax |= bool(shown) or not phrase.strict or not trailing.strict
        if is_ambiguous_name((phrase, trailing), has_address=bool(shown)):
            return self._refuse(Reason.of(Code.FROM_HIDDEN_ADDRESS))
        if phrase.is_plain and trailing.is_plain:
            self.mailboxes[before:] = [
                ListElement(ElementKind.SHOWN, mailbox.domain) if mailbox.kind is ElementKind.ADDRESS else mailbox
                for mailbox in shown
            ]
        return True

    def _phrase(self, phrase: Phrase, trailing: Phrase) -> bool:
        """Read words up to a delimiter. Each `@` among them adds a mailbox, because a program may show that one."""
        current = phrase
        while True:
            token = self.scanner.token
            if token in PHRASE:
                current.add(token, self.scanner.value)
                self.scanner.advance()
            elif token is Token.AT:
                if not current.words or current.after_bracket:
                    return self._refuse(Reason.of(Code.FROM_MISPLACED_AT))
                if not current.clear:
                    return self._refuse(Reason.of(Code.FROM_UNCLEAR_LOCAL_PART))
                if not self._domain():
                    return False
                if self.scanner.goes_on_behind_comment():
                    return self._refuse(Reason.of(Code.FROM_UNCLEAR_DOMAIN))
                current = trailing
            else:
                return token is not Token.BAD

    def _angle_address(self) -> bool:
        """Read an angle-addr (RFC 5322 3.4). The obs-route of 4.4 is read and dropped."""
        self.scanner.advance()
        if self.scanner.token in (Token.AT, Token.COMMA) and not self._route():
            return False
        local = Phrase()
        while self.scanner.token in WORDS or self.scanner.token is Token.DOT:
            local.add(self.scanner.token, self.scanner.value)
            self.scanner.advance()
        if not local.is_local_part:
            return self._refuse(Reason.of(Code.FROM_NO_LOCAL_PART))
        if not local.clear:
            return self._refuse(Reason.of(Code.FROM_UNCLEAR_LOCAL_PART))
        self._is_bare = False
        self.lax |= not local.strict or not local.after_word
        if self.scanner.token is Token.AT:
            if not self._domain() or not self._check_size(local.size):
                return False
        elif not self._add(ElementKind.LOCAL):
            return False
        if self.scanner.token is not Token.GREATER:
            return self._refuse(Reason.of(Code.FROM_UNCLOSED_ANGLE))
        self.scanner.advance()
        return True

    def _check_size(self, local_size: int) -> bool:
        """Refuse an addr-spec that is too long: the last address, with its local-part of that many bytes."""
        if local_size + len(b"@") + len(self.mailboxes[-1].domain) > MAX_ADDRESS:
            return self._refuse(Reason.of(Code.FROM_ADDRESS_TOO_LONG))
        return True

    def _route(self) -> bool:
        """Read an obs-route (RFC 5322 4.4)."""
        while self.scanner.token in (Token.AT, Token.COMMA):
            if self.scanner.token is Token.COMMA:
                self.scanner.advance()
            elif not self._domain(kept=False):
                return False
        if self.scanner.token is not Token.COLON:
            return self._refuse(Reason.of(Code.FROM_UNTERMINATED_ROUTE))
        self.scanner.advance()
        return True

    def _domain(self, *, kept: bool = True) -> bool:
        """Read `@` and the domain after it; `kept`: add it as a mailbox."""
        self.scanner.advance()
        if self.scanner.token is Token.BRACKET:
            if not self.scanner.take_literal():
                return self._refuse(Reason.of(Code.FROM_MALFORMED_LITERAL))
            return not kept or self._add(ElementKind.LITERAL)
        text = self.scanner.take_domain()
        if text is None:
            return self._refuse(Reason.of(Code.FROM_UNCLEAR_DOMAIN))
        if self.scanner.token is Token.AT:
            return self._refuse(Reason.of(Code.FROM_TWO_AT_SIGNS))
        return not kept or self._add(ElementKind.ADDRESS, text)
