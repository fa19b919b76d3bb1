"""Received fields (RFC 5321 4.4): which host took the message from which client.

Only the field that our own MTA put above all others can be believed: the sender wrote whatever stands below it. Parts
of our own field are the sender's, too: the HELO name, and the name in a TLS client certificate. Postfix, Sendmail and
Exim put the client on the field's first line and begin the next with `by`, which no HELO name can bring about.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from dmarcmilter.mail import domain as domains
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.message import Header, address_of

Address = IPv4Address | IPv6Address

MAX_FIELD = 16_384
"""Bytes of a Received field that are read."""
MAX_HOPS = 50
"""Received fields that are read, from the newest on."""

_FOLD = re.compile(rb"\r?\n[ \t]*")
_BY = re.compile(rb"by[ \t]+([^\s;()]+)", re.IGNORECASE)
_BY_WITHIN = re.compile(rb"[ \t]by[ \t]+([^\s;()]+)", re.IGNORECASE)
_EXIM_HELO = re.compile(rb"helo=([^\s)]+)", re.IGNORECASE)
_QMAIL_HELO = re.compile(rb"\(HELO ([^)]*)\)", re.IGNORECASE)
_IN_BRACKETS = re.compile(rb"\[([0-9A-Za-z.:%]+)\]")
_IN_PARENTHESES = re.compile(rb"\(([0-9A-Fa-f.:]+)\)")
_ENVELOPE_FROM = re.compile(rb"\(envelope-from <([^<>]*)>\)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Hop:
    """What one Received field says."""

    client: Address | None
    """None: it came from this host itself, or the field names no address."""
    helo: bytes
    has_client: bool
    """Whether it says `from`."""
    by: Domain | None
    """The host that wrote the field."""
    mail_from: bytes | None = None
    """The reverse-path, which Exim writes down."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a message came in."""

    hop: Hop
    index: int
    """Number of the field among all fields of the header, from 0."""
    is_ours: bool
    """Whether a host of ours wrote it, and only hosts of ours handed the message on since; else it is a guess."""


def entry(
    headers: Collection[Header], own_names: Collection[Domain], is_inner: Callable[[Address], bool]
) -> Entry | None:
    """The newest Received field of a client that is not one of ours; None: there is none.

    Above it may stand those of hops within our own network (`is_inner`), and of a delivery agent on the same host.
    Below one without `from`, of a message that a program on this host handed in, all is that program's word.
    """
    is_sure = True
    for index, hop in _hops(headers):
        if hop.client is not None and not is_inner(hop.client):
            return Entry(hop, index, is_ours=is_sure and hop.by in own_names)
        is_sure = is_sure and hop.has_client
    return None


def parse(value: bytes) -> Hop:
    """What the field's value says; a value that is none of the known forms says nothing."""
    lines = _FOLD.split(value[:MAX_FIELD].strip())
    first, by = _client_part(lines)
    client, at = _client(first)
    mail_from = next((match[1] for line in lines[1:] if (match := _ENVELOPE_FROM.match(line))), None)
    return Hop(client, _helo(first, at), has_client=_is_from(first), by=by, mail_from=mail_from)


def _hops(headers: Collection[Header]) -> Iterator[tuple[int, Hop]]:
    fields = [(index, header) for index, header in enumerate(headers) if header.key == b"received"]
    for index, header in fields[:MAX_HOPS]:
        yield index, parse(header.value)


def _client_part(lines: list[bytes]) -> tuple[bytes, Domain | None]:
    """The text about the client, and the host that wrote the field."""
    for line in lines[1:]:
        if match := _BY.match(line):
            return lines[0], domains.parse(match[1])
    if match := _BY.match(lines[0]):
        return b"", domains.parse(match[1])
    # The field was unfolded. HELO comes first, so the last `by` is the one that the sender cannot have written.
    text = b" ".join(lines).rpartition(b";")[0] or b" ".join(lines)
    matches = list(_BY_WITHIN.finditer(text))
    return (text[: matches[-1].start()], domains.parse(matches[-1][1])) if matches else (b"", None)


def _client(text: bytes) -> tuple[Address | None, int]:
    """The client's address, and where it begins in the text: the last one, as the HELO name comes before it."""
    without_helo = _EXIM_HELO.sub(lambda match: b" " * len(match[0]), text)
    for pattern in (_IN_BRACKETS, _IN_PARENTHESES):
        for match in reversed(list(pattern.finditer(without_helo))):
            address = address_of(match[1].decode("ascii"))
            if address is not None:
                return address, match.start()
    return None, len(text)


def _helo(text: bytes, at: int) -> bytes:
    """The HELO name: Exim and qmail mark it, others write it first."""
    if not _is_from(text):
        return b""
    for pattern in (_EXIM_HELO, _QMAIL_HELO):
        if match := pattern.search(text):
            return match[1]
    before = text[5:at]
    return (before.rpartition(b"(")[0] or before).strip()


def _is_from(text: bytes) -> bool:
    return text[:5].lower() == b"from "
