"""Body hashes (RFC 6376 3.4): the same for any chunks, and the same as a plain reading of the RFC gives."""

import hashlib
import re
from collections.abc import Iterator

from dmarcmilter.auth import header_canonicalization
from dmarcmilter.auth.body_hash import BodyHasher, BodyPlan
from dmarcmilter.mail.message import Header
from fuzz.material import message_of, parts, vectors
from tests.support import signing


def check(data: bytes) -> None:
    """Parts: a list of octets that are chunk lengths and lengths for l=; the body."""
    cuts, body = parts(data, 2)
    lengths = [None, *cuts[:8]]
    plans = [BodyPlan(relaxed, length) for relaxed in (False, True) for length in lengths]
    hasher = BodyHasher(plans)
    position = 0
    for cut in cuts:
        hasher.feed(body[position : position + cut])
        position += cut
    hasher.feed(body[position:])
    found = hasher.finish()
    for plan in plans:
        whole = signing.canonical_body(body, plan.relaxed)
        assert found[plan].length == len(whole)
        assert found[plan].digest == hashlib.sha256(whole[: plan.length]).digest()
    _check_field(body)


def _check_field(value: bytes) -> None:
    field = Header(b"Subject", value)
    relaxed = header_canonicalization.relaxed_field(field)
    assert relaxed == signing.canonical_header(b"Subject", value, relaxed=True)
    assert header_canonicalization.simple_field(field) == signing.canonical_header(b"Subject", value, relaxed=False)
    if not re.search(rb"\r(?!\n)|(?<!\r)\n", value):
        again = Header(b"SUBJECT ", relaxed.removeprefix(b"subject:").removesuffix(b"\r\n"))
        assert header_canonicalization.relaxed_field(again) == relaxed


def seeds() -> Iterator[bytes]:
    yield b"\x01\x02\x03\n%%\n a \t b \r\n\r\n\t\r\nlast \r\n\r\n\r\n"
    yield b"\n%%\n"
    yield b"\n%%\n\r\n"
    for vector in vectors("dkim"):
        yield b"\x05\x40\x01\n%%\n" + message_of(vector).partition(b"\r\n\r\n")[2]
