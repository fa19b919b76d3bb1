"""Header canonicalization and the choice of the signed fields (RFC 6376 3.4.1, 3.4.2, 5.4.2)."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from dmarcmilter.auth import tag_list
from dmarcmilter.mail.message import Header

_CRLF = b"\r\n"
_WSP = b" \t"
_LONG = b" " * 8
_LONG_RUN = re.compile(_LONG + b"+")


def single_spaces(data: bytes) -> bytes:
    """Replace every run of spaces and tabs by one space.

    Common text has many short runs, and halving them all at once is far cheaper than a match for each. Long runs are
    replaced whole first, so that three halvings are always enough.
    """
    if b"\t" in data:
        data = data.replace(b"\t", b" ")
    if b"  " not in data:
        return data
    if _LONG in data:
        data = _LONG_RUN.sub(b" ", data)
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data


def relaxed_field(header: Header) -> bytes:
    """The field in relaxed canonicalization (RFC 6376 3.4.2). A bare CR or LF is no white space there, and stays."""
    return header.key.strip(_WSP) + b":" + single_spaces(header.value.replace(_CRLF, b"")).strip(b" ") + _CRLF


def simple_field(header: Header) -> bytes:
    """The field in simple canonicalization (RFC 6376 3.4.1)."""
    return header.name + b":" + header.value + _CRLF


def signature_field(header: Header, *, relaxed: bool) -> bytes:
    """The signature's own field as it is hashed: b= emptied, no final CRLF (RFC 6376 3.7)."""
    emptied = Header(header.name, tag_list.without_b(header.value))
    return (relaxed_field(emptied) if relaxed else simple_field(emptied))[: -len(_CRLF)]


class CanonicalHeader:
    """The header of one message: each field is canonicalized when first needed, and at most once each way."""

    def __init__(self, headers: Sequence[Header]) -> None:
        self._headers = headers
        self._positions: dict[bytes, list[int]] = {}
        self._canonical: dict[tuple[int, bool], bytes] = {}
        for position, header in enumerate(headers):
            self._positions.setdefault(header.key.strip(_WSP), []).append(position)

    def count(self, name: bytes) -> int:
        """Number of fields of that name (in lower case)."""
        return len(self.positions(name))

    @cached_property
    def repeated(self) -> frozenset[bytes]:
        """Names (in lower case) of which there is more than one field."""
        return frozenset(name for name, positions in self._positions.items() if len(positions) > 1)

    def positions(self, name: bytes) -> Sequence[int]:
        """Positions of the fields of that name (in lower case), top first."""
        return self._positions.get(name, ())

    def canonical(self, position: int, *, relaxed: bool) -> bytes:
        key = position, relaxed
        if key not in self._canonical:
            header = self._headers[position]
            self._canonical[key] = relaxed_field(header) if relaxed else simple_field(header)
        return self._canonical[key]

    def chosen(self, names: Iterable[bytes], own: int) -> Iterator[int]:
        """Positions of the fields that h= names (RFC 6376 5.4.2).

        Fields of one name are chosen from the bottom up; a name listed more often than there are fields adds none. The
        signature's own field is not chosen: it did not exist when the message was signed.
        """
        left: dict[bytes, list[int]] = {}
        for name in names:
            if name not in left:
                left[name] = [position for position in self._positions.get(name, ()) if position != own]
            if left[name]:
                yield left[name].pop()

    def digest(self, names: Iterable[bytes], own: int, *, relaxed: bool) -> bytes:
        """SHA-256 over the signed fields and the signature's own field (RFC 6376 3.7)."""
        signed = hashlib.sha256()
        for position in self.chosen(names, own):
            signed.update(self.canonical(position, relaxed=relaxed))
        signed.update(signature_field(self._headers[own], relaxed=relaxed))
        return signed.digest()
