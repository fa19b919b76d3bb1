"""Unsigned duplicates of signed header fields that may occur only once (RFC 6376 8.15, RFC 5322 3.6).

DKIM hashes the lowest fields of a name, so a field added above a signed one leaves the signature valid, while most mail
readers show the upper one. A second From field makes the signature fail; these fields are only recorded.
"""

from collections.abc import Sequence
from typing import Final

from dmarcmilter.auth.header_canonicalization import CanonicalHeader

SINGLE_FIELDS: Final = frozenset(
    {
        # RFC 5322 3.6
        b"date",
        b"sender",
        b"reply-to",
        b"to",
        b"cc",
        b"bcc",
        b"message-id",
        b"in-reply-to",
        b"references",
        b"subject",
        # RFC 2045 3, RFC 2183 2
        b"mime-version",
        b"content-type",
        b"content-transfer-encoding",
        b"content-id",
        b"content-description",
        b"content-disposition",
    }
)
"""Names of fields that a message may have only once, in lower case; without From, which the verifier counts itself."""


def unsigned(names: Sequence[bytes], fields: CanonicalHeader) -> tuple[str, ...]:
    """Names of fields that the signature covers although another field of that name, with other content, is unsigned.

    `names` is h= in lower case. A field whose name is not in h= is no duplicate of a signed one, and a signer that saw
    two fields names them twice.
    """
    repeated = sorted(SINGLE_FIELDS & fields.repeated)
    return tuple(name.decode("ascii") for name in repeated if _leaves_out(name, names.count(name), fields))


def _leaves_out(name: bytes, signed: int, fields: CanonicalHeader) -> bool:
    positions = fields.positions(name)
    if not 0 < signed < len(positions):
        return False
    canonical = [fields.canonical(position, relaxed=True) for position in positions]
    return not set(canonical[:-signed]) <= set(canonical[-signed:])
