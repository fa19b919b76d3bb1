"""Bodies, signatures to verify, and whole headers on their way through the pipeline."""

from collections.abc import Callable, Iterable, Iterator

from cryptography.hazmat.primitives.asymmetric import rsa

from bench.case import Case
from bench.headers import FIELDS, HEADER
from bench.signatures import signature
from dmarcmilter import pipeline
from dmarcmilter.auth import arc, dkim
from dmarcmilter.auth.body_hash import BodyHasher, BodyPlan
from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.message import Header
from dmarcmilter.policy import message_digest
from tests.support import outcomes, signing

BODY = 10_485_760
"""Bytes: Postfix's default limit of a message."""
CHUNK = 65_535
"""Bytes that a milter is handed at a time."""
RELAXED = BodyPlan(relaxed=True, length=None)
SIMPLE = BodyPlan(relaxed=False, length=None)

BODIES = {
    "text": b"Some words of an ordinary line, and more of them.\r\n",
    "CRLF": b"\r\n",
    "CR": b"\r",
    "LF": b"\n",
    "spaces": b" ",
    "tabs": b"\t",
    "space and tab": b" \t",
    "lines of 997 spaces": b" " * 997 + b"x\r\n",
    "lines of 80,000 spaces": b" " * 80_000 + b"x\r\n",
    "two spaces and a letter": b"  x",
    "lines of one space": b" \r\n",
    "space and CR": b" \r",
}


def message_cases() -> Iterator[Case]:
    for name, unit in BODIES.items():
        for plan in (RELAXED, SIMPLE):
            make = _body(unit)
            yield Case("bodyhash", f"{name}, {'relaxed' if plan.relaxed else 'simple'}", BODY, make, _hasher([plan]))
    many = [BodyPlan(relaxed, 1_000_000 - number) for relaxed in (False, True) for number in range(10)]
    yield Case("bodyhash", "20 lengths in l=", BODY, _body(b"a \r\n"), _hasher(many))
    yield from _signature_cases()
    yield from _arc_cases()
    yield Case("pipeline.read", "fields", FIELDS, lambda n: (Header(b"X", b" y"),) * n, pipeline.read, "fields")
    yield Case("pipeline.read", "bytes of header", HEADER, lambda n: _fields(n, 4000), pipeline.read)
    yield Case("sampling", "bytes of subject", HEADER, _subject, _digest)


def _subject(size: int) -> object:
    return outcomes.message("Subject:" + " a" * (size // 2))


def _digest(message: object) -> object:
    """As the record of a deferral is named."""
    return message_digest.digest(message, "deferral", b"k" * 32)  # type: ignore[arg-type]


def _body(unit: bytes) -> Callable[[int], bytes]:
    return lambda size: unit * (size // len(unit))


def _hasher(plans: Iterable[BodyPlan]) -> Callable[[bytes], object]:
    def run(body: bytes) -> object:
        hasher = BodyHasher(plans)
        for start in range(0, len(body), CHUNK):
            hasher.feed(body[start : start + CHUNK])
        return hasher.finish()

    return run


def _fields(size: int, each: int) -> tuple[Header, ...]:
    return (Header(b"From", b" a@b.example"), *(Header(b"X", b" y" * (each // 2)) for _ in range(size // each)))


def _lookup(record: bytes) -> Callable[[str, str], Answer]:
    return lambda _name, _rdtype: Answer(Status.FOUND, (record,))


def _verify(headers: tuple[Header, ...], record: bytes) -> object:
    signatures = dkim.read(headers, Domain("example.org"))
    bodies = BodyHasher(dkim.plans(signatures)).finish()
    return dkim.verify(signatures, headers, bodies, _lookup(record), signing.NOW)


def _signature_cases() -> Iterator[Case]:
    key = signing.key_record(signing.odd_modulus(2048))
    large = signing.key_record(rsa.RSAPublicNumbers((1 << 64) - 1, (1 << 8192) - 159).public_key())
    empty = {
        "relaxed": b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "simple": b"frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=",
    }

    def headers(way: str, *, names: int, fields: tuple[Header, ...], signature_bytes: int = 256) -> tuple[Header, ...]:
        listed = b"from" + b":x" * names
        value = signature(
            c=f"{way}/{way}".encode(), bh=empty[way], h=listed, b=signing.base64.b64encode(b"\1" * signature_bytes)
        )
        return (
            *(Header(b"DKIM-Signature", value.replace(b"v=1", b"v=1; t=%d" % number)) for number in range(10)),
            *fields,
        )

    for way in empty:
        yield Case(
            "dkim.verify",
            f"10 signatures over 300 fields of the header, {way}",
            HEADER,
            lambda n, w=way: headers(w, names=299, fields=_fields(n, n // 299)),
            lambda h: _verify(h, key),
        )
        yield Case(
            "dkim.verify",
            f"10 signatures, runs of spaces, {way}",
            HEADER,
            lambda n, w=way: headers(
                w, names=4, fields=(Header(b"From", b" a"), *(Header(b"X", b" " * (n // 4) + b"y"),) * 4)
            ),
            lambda h: _verify(h, key),
        )
    yield Case(
        "dkim.verify",
        "10 signatures over fields in number",
        FIELDS,
        lambda n: headers("relaxed", names=299, fields=_fields(n * 10, 10)),
        lambda h: _verify(h, key),
        "fields",
    )
    yield Case(
        "dkim.verify",
        "signatures with a key of 8,192 bits, exponent of 64",
        40,
        lambda n: headers("relaxed", names=0, fields=_fields(10, 10), signature_bytes=1024)[-min(n, 12) :],
        lambda h: _verify(h, large),
        "signatures",
    )


def _arc_cases() -> Iterator[Case]:
    fields = [Header(b"From", b" a@example.org"), Header(b"Subject", b" x")]

    def chain(count: int, padding: int) -> tuple[Header, ...]:
        sets: list[signing.Sealed] = []
        key = signing.ed25519_key()
        tags = {"a": "ed25519-sha256"}
        for number in range(1, count + 1):
            results = f" i={number}; mx.example; spf=pass" + " " * padding
            sets.append(signing.seal(fields, b"", sets, message=tags, seal_tags=tags, results=results, key=key))
        return tuple([field for one in reversed(sets) for field in one.fields] + fields)

    yield Case("arc.verify", "sets", 50, lambda n: chain(n, 10), _verify_chain, "sets")
    yield Case("arc.verify", "5 sets with long results", HEADER, lambda n: chain(5, n // 5), _verify_chain)


def _verify_chain(headers: tuple[Header, ...]) -> object:
    chain = arc.read(headers)
    bodies = BodyHasher(arc.plans(chain)).finish()
    record = signing.key_record(signing.ed25519_key())
    result = arc.verify(chain, headers, bodies, _lookup(record), signing.NOW)
    assert result.sets, result.reason
    return result
