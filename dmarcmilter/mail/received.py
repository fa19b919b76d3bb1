"""Received fields (RFC 5321 4.4): which host took the message from which client.

Only the field that the receiving MTA put on top can be trusted: the sender may have written all below it. Parts of
that field are the sender's too: the HELO name, and the name in a TLS client certificate. Postfix, Sendmail and Exim
write the client on the first line of the field and begin the next line with `by`; a HELO name cannot cause that.
"""

import re
from collections.abc import Callable, Collection, Iterator

from dmarcmilter.mail import domain as domains
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.ip_types import IpAddress
from dmarcmilter.mail.message import Header, address_of
from dmarcmilter.value import Value

MAX_FIELD = 16_384
"""Bytes of a Received field that are read; the rest is ignored."""
MAX_HOPS = 50
"""Received fields that are read, the newest first; older ones are ignored."""

_FOLD = re.compile(rb"\r?\n[ \t]*")
_BY = re.compile(rb"by[ \t]+([^\s;()]+)", re.IGNORECASE)
_BY_WITHIN = re.compile(rb"[ \t]by[ \t]+([^\s;()]+)", re.IGNORECASE)
_EXIM_HELO = re.compile(rb"helo=([^\s)]+)", re.IGNORECASE)
_QMAIL_HELO = re.compile(rb"\(HELO ([^)]*)\)", re.IGNORECASE)
_IN_BRACKETS = re.compile(rb"\[([0-9A-Za-z.:%]+)\]")
_IN_PARENTHESES = re.compile(rb"\(([0-9A-Fa-f.:]+)\)")
_ENVELOPE_FROM = re.compile(rb"\(envelope-from <([^<>]*)>\)", re.IGNORECASE)


class ReceivedHop(Value):
    """The content of one Received field."""

    client: IpAddress | None
    """None: the message came from this host itself, or the field has no address."""
    helo: bytes
    has_client: bool
    """Whether the field has a `from` clause."""
    by: Domain | None
    """The host that wrote the field."""
    mail_from: bytes | None = None
    """The reverse-path, which Exim records."""


class NetworkEntry(Value):
    """The hop by which a message entered the receiver's network."""

    hop: ReceivedHop
    index: int
    """Number of the field among all fields of the header, from 0."""
    is_ours: bool
    """The receiver's own host wrote it, and only own hosts relayed the message since; False: it is a guess."""


def entry(
    headers: Collection[Header], own_names: Collection[Domain], is_inner: Callable[[IpAddress], bool]
) -> NetworkEntry | None:
    """Find the newest Received field of a client outside of the receiver's network; None: there is none.

    Above it may stand fields of hops within the network (`is_inner`) and of a delivery agent on the same host. A field
    without `from` is that of a message submitted by a local program, which may have written all below it.
    """
    is_sure = True
    for index, hop in _hops(headers):
        if hop.client is not None and not is_inner(hop.client):
            return NetworkEntry(hop, index, is_ours=is_sure and hop.by in own_names)
        is_sure = is_sure and hop.has_client
    return None


def parse(value: bytes) -> ReceivedHop:
    """Parse the value of a field; one in no known form gives a ReceivedHop without content."""
    lines = _FOLD.split(value[:MAX_FIELD].strip())
    first, by = _client_part(lines)
    client, at = _client(first)
    mail_from = next((match[1] for line in lines[1:] if (match := _ENVELOPE_FROM.match(line))), None)
    return ReceivedHop(client, _helo(first, at), has_client=_is_from(first), by=by, mail_from=mail_from)


def _hops(headers: Collection[Header]) -> Iterator[tuple[int, ReceivedHop]]:
    fields = [(index, header) for index, header in enumerate(headers) if header.key == b"received"]
    for index, header in fields[:MAX_HOPS]:
        yield index, parse(header.value)


def _client_part(lines: list[bytes]) -> tuple[bytes, Domain | None]:
    """Return the text about the client, and the host that wrote the field."""
    for line in lines[1:]:
        if match := _BY.match(line):
            return lines[0], domains.parse(match[1])
    if match := _BY.match(lines[0]):
        return b"", domains.parse(match[1])
    # An unfolded field: HELO comes first, so the sender cannot have written the last `by`.
    text = b" ".join(lines).rpartition(b";")[0] or b" ".join(lines)
    matches = list(_BY_WITHIN.finditer(text))
    return (text[: matches[-1].start()], domains.parse(matches[-1][1])) if matches else (b"", None)


def _client(text: bytes) -> tuple[IpAddress | None, int]:
    """Return the client's address and its position: the last one, because the HELO name comes before it."""
    without_helo = _EXIM_HELO.sub(lambda match: b" " * len(match[0]), text)
    for pattern in (_IN_BRACKETS, _IN_PARENTHESES):
        for match in reversed(list(pattern.finditer(without_helo))):
            address = address_of(match[1].decode("ascii"))
            if address is not None:
                return address, match.start()
    return None, len(text)


def _helo(text: bytes, at: int) -> bytes:
    """Return the HELO name: Exim and qmail label it, others write it first."""
    if not _is_from(text):
        return b""
    for pattern in (_EXIM_HELO, _QMAIL_HELO):
        if match := pattern.search(text):
            return match[1]
    before = text[5:at]
    return (before.rpartition(b"(")[0] or before).strip()


def _is_from(text: bytes) -> bool:
    return text[:5].lower() == b"from "
