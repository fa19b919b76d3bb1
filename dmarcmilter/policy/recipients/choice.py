"""What a recipient may have chosen, and the forms of an address under which a choice is looked for."""

from collections.abc import Iterable
from enum import Enum, StrEnum

from dmarcmilter.mail import path
from dmarcmilter.mail.domain import Domain
from dmarcmilter.value import Value

DETAIL = "+"
"""Between a local-part and its detail (RFC 5233): who chose for joe@ chose for joe+anything@."""
MAX_ADDRESS = 320
"""Characters of an address with a choice of its own (RFC 5321 4.5.3.1: 64 of the local-part, `@`, 255)."""


class Choice(StrEnum):
    ENFORCE = "enforce"
    EXEMPT = "exempt"


class StoredChoice(Enum):
    """Result of looking for a recipient's choice."""

    ENFORCE = "enforce"
    EXEMPT = "exempt"
    NOTHING = "nothing"
    """Nothing was chosen: the default holds."""
    UNKNOWN = "unknown"
    """The database does not answer."""


class RecipientAddress(Value):
    """A mailbox (RFC 5321 4.1.2) for comparison: case plays no part, nor do quotes that are not needed."""

    local: str
    domain: Domain

    @property
    def forms(self) -> tuple[str, ...]:
        """Most specific first: the whole address, without its detail, the domain."""
        name, plus, _ = self.local.partition(DETAIL)
        locals_ = (self.local, name) if plus and name else (self.local,)
        forms = (*(f"{local}@{self.domain}" for local in locals_), f"@{self.domain}")
        return tuple(form for form in forms if len(form) <= MAX_ADDRESS)


def read(raw: bytes) -> RecipientAddress | None:
    """A forward-path without its angle brackets; None: it is not a plain Mailbox (mail.path.Mailbox.plain)."""
    return read_all((raw,))[0]


def read_all(paths: Iterable[bytes]) -> list[RecipientAddress | None]:
    """The recipients of one message."""
    mailboxes = path.read_all(paths)
    return [RecipientAddress(one.key, one.domain) if one and one.plain else None for one in mailboxes]
