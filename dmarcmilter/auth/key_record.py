"""Key records in DNS: find the one of a signature and parse it (RFC 6376 3.6.1, 6.1.2; RFC 8301)."""

from functools import lru_cache

from dmarcmilter.auth import tag_list
from dmarcmilter.auth.signature_algorithm import Algorithm, PublicKey, algorithm_of, read_public_key, verifies
from dmarcmilter.auth.signature_fault import SignatureFault
from dmarcmilter.dns.lookup import Lookup, Status
from dmarcmilter.value import Value

MAX_RECORD = 4096
"""Largest key record accepted, in bytes; a larger one is a syntax error. An 8192-bit key takes 1,400."""
MAX_RECORDS = 5
"""TXT records of one key name that are tried; more are ignored (RFC 6376 6.1.2 allows either)."""
KEYS_KEPT = 1024
"""Parsed records kept in memory; with more, the least recently used are dropped."""


class KeyRecord(Value):
    """A usable public key and the flags of its record."""

    key: PublicKey
    algorithm: Algorithm
    strict: bool
    """t=s: the identity must not be in a subdomain of the signing domain."""
    testing: bool
    """t=y: the domain is testing DKIM."""

    def verifies(self, signature: bytes, digest: bytes) -> bool:
        """Whether this key made the signature of the SHA-256 digest."""
        return verifies(self.key, signature, digest)


def find(name: str, algorithm: Algorithm, lookup: Lookup) -> KeyRecord | SignatureFault:
    """The first key record of that name for this algorithm, or the first record's fault (RFC 6376 6.1.2)."""
    answer = lookup(name, "TXT")
    if answer.status is Status.FAILED:
        return SignatureFault.KEY_UNREACHABLE
    fault = None
    for text in answer.texts[:MAX_RECORDS]:
        record = _for_algorithm(text, algorithm)
        if isinstance(record, KeyRecord):
            return record
        fault = fault or record
    return fault or SignatureFault.NO_KEY


def _for_algorithm(text: bytes, algorithm: Algorithm) -> KeyRecord | SignatureFault:
    if algorithm is Algorithm.RSA_SHA1:
        return SignatureFault.SHA1
    record = parse(text)
    if isinstance(record, KeyRecord) and record.algorithm is not algorithm:
        return SignatureFault.KEY_ALGORITHM
    return record


def parse(text: bytes) -> KeyRecord | SignatureFault:
    """A key record (RFC 6376 3.6.1) that can be used for mail and SHA-256, or its fault."""
    return _parse(text) if len(text) <= MAX_RECORD else SignatureFault.KEY_SYNTAX


@lru_cache(KEYS_KEPT)
def _parse(text: bytes) -> KeyRecord | SignatureFault:
    tags = tag_list.parse(text)
    if tags is None or b"p" not in tags:
        return SignatureFault.KEY_SYNTAX
    if b"v" in tags and (tags[b"v"] != b"DKIM1" or next(iter(tags)) != b"v"):
        return SignatureFault.KEY_SYNTAX
    if not tags[b"p"]:
        return SignatureFault.KEY_REVOKED
    if b"sha256" not in tag_list.items(tags.get(b"h", b"sha256")):
        return SignatureFault.KEY_HASH
    if not {b"*", b"email"} & set(tag_list.items(tags.get(b"s", b"*"))):
        return SignatureFault.KEY_SERVICE
    key = read_public_key(tags.get(b"k", b"rsa").lower(), tags[b"p"])
    if isinstance(key, SignatureFault):
        return key
    flags = tag_list.items(tags.get(b"t", b""))
    return KeyRecord(key, algorithm_of(key), strict=b"s" in flags, testing=b"y" in flags)
