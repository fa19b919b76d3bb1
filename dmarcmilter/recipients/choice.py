"""What a recipient may have chosen, and the forms of an address under which a choice is looked for."""

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum, StrEnum

from dmarcmilter.dmarc import domain as domains
from dmarcmilter.dmarc.domain import Domain

DETAIL = "+"
"""Between a local-part and its detail (RFC 5233): who chose for joe@ chose for joe+anything@."""
MAX_PATH = 4096
"""Octets of a recipient that are looked at. Postfix takes no command line over 2,048, Sendmail none of that length."""
MAX_ADDRESS = 320
"""Characters of an address with a choice of its own (RFC 5321 4.5.3.1: 64 of the local-part, `@`, 255)."""

_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


class Choice(StrEnum):
    ENFORCE = "enforce"
    EXEMPT = "exempt"


class Found(Enum):
    """What is known of a recipient's choice."""

    ENFORCE = "enforce"
    EXEMPT = "exempt"
    NOTHING = "nothing"
    """Nothing was chosen: the default holds."""
    UNKNOWN = "unknown"
    """Whoever would know does not answer."""


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox (RFC 5321 4.1.2) for comparison: case plays no part, and quoting neither."""

    local: str
    domain: Domain

    @property
    def forms(self) -> tuple[str, ...]:
        """Most specific first: the whole address, without its detail, the domain."""
        name, plus, _ = self.local.partition(DETAIL)
        locals_ = (self.local, name) if plus and name else (self.local,)
        found = (*(f"{local}@{self.domain}" for local in locals_), f"@{self.domain}")
        return tuple(form for form in found if len(form) <= MAX_ADDRESS)


def read(raw: bytes) -> Address | None:
    """A forward-path without its angle brackets; None: it has no domain, or no name for one."""
    if len(raw) > MAX_PATH:
        return None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if text.startswith("@"):  # a source route, to be ignored (RFC 5321 4.1.1.3)
        text = text.partition(":")[2]
    local, at, name = text.rpartition("@")
    domain = domains.parse(name) if at else None
    if domain is None or not local:
        return None
    return Address(_plain(local), domain)


def _plain(local: str) -> str:
    """The local-part without quotes (RFC 5321 4.1.2), in NFC (RFC 6532 3.1) and lower case."""
    if len(local) > 1 and local.startswith('"') and local.endswith('"'):
        local = _QUOTED_PAIR.sub(r"\1", local[1:-1])
    return unicodedata.normalize("NFC", local).lower()
