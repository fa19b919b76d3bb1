"""Messages signed with keys that never change, so that an input which failed once can be replayed."""

from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dmarcmilter.mail.message import Header
from fuzz import TESTS
from tests.support import signing

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
HEADERS = [Header(b"From", b" Joe <joe@example.org>"), Header(b"To", b" you@example.net"), Header(b"Subject", b" Hi")]
BODY = b"Hello,\r\n\r\n  this  is it. \r\n"
AFTER_SIGNING = signing.NOW + 60

OF_RFC_8463 = (
    b"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/"
    b"J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIK"
    b"T+l/K4w3QIDAQAB"
)
"""Its A.2."""
KEY_ZONE = {
    "brisbane._domainkey.football.example.com": [b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="],
    "test._domainkey.football.example.com": [OF_RFC_8463],
    "sel._domainkey.example.org": [signing.key_record(KEY)],
    **{f"arc._domainkey.hop{number}.example": [signing.key_record(KEY)] for number in (1, 2, 3)},
}


def written(headers: list[Header], body: bytes) -> bytes:
    return b"".join(header.name + b":" + header.value + b"\r\n" for header in headers) + b"\r\n" + body


def from_rfc() -> bytes:
    """The message of RFC 8463 A.3."""
    return (TESTS / "cases" / "rfc8463.eml").read_bytes().replace(b"\n", b"\r\n")


def by_dkim() -> Iterator[bytes]:
    ways = (
        {},
        {"c": "simple/simple"},
        {"c": "simple/relaxed", "l": "5"},
        {"h": "from:from:to:subject:date", "x": "1900000000"},
    )
    for tags in ways:
        field = signing.dkim(HEADERS, BODY, key=KEY, **({"a": "ed25519-sha256", "i": "@mail.example.org"} | tags))
        yield written([field, *HEADERS], BODY)


def by_arc() -> Iterator[bytes]:
    sets: list[signing.Sealed] = []
    for _ in range(3):
        tags = {"a": "ed25519-sha256"}
        sets.append(signing.seal(HEADERS, BODY, sets, message=tags, seal_tags=tags, key=KEY))
        fields = [field for one in reversed(sets) for field in one.fields]
        yield written(fields + HEADERS, BODY)


def content(headers: tuple[Header, ...], body: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """What a signature of ours vouches for: the From fields and the body, by the laxest canonicalization."""
    shown = (signing.canonical_header(h.name, h.value, relaxed=True) for h in headers if h.key == b"from")
    return tuple(shown), signing.canonical_body(body, relaxed=True)
