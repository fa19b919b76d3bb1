"""Answers that the workers of one configuration share, in memory without files or locks.

Each worker has a cache of its own (cache.py). What it learns it also writes here, so that the others need not ask the
name servers again. Each answer has one place, chosen by its name and type; a later answer replaces an earlier one.

Two workers may write one place at once, or one may die while it writes. So each answer is sealed with a keyed hash, and
one that is damaged, or mixed from two, is not used. A checksum would not do: a domain's owner can choose records whose
mixture with a foreign one has the right checksum.
"""

import mmap
import secrets
import struct
from hashlib import blake2b
from typing import Any, Final

import msgspec

from dmarcmilter.dns.cache import CacheKey
from dmarcmilter.dns.lookup import Answer, Status

PLACES: Final = 4096
"""Answers that are shared at most. The page of a place takes memory only once it was written."""
PLACE_BYTES: Final = 1024
"""Bytes of a place. A larger answer is not shared: only the worker that asked has it."""

_SEAL_BYTES: Final = 16
_HEAD: Final = struct.Struct(f"=QH{_SEAL_BYTES}s")
"""Hash of name and type, length of the content, seal."""
_HASH_MASK: Final = 2**64 - 1


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[bytes, int, float, Status, list[Any], bool]).decode
"""Name, type, expiry by the monotonic clock (the same in all processes), status, records, is_alias.

The pair of an MX record is read as a list."""


class SharedAnswers:
    """The memory. Made before the fork, and anew for each configuration: another may name other name servers."""

    def __init__(self) -> None:
        self._memory = memoryview(mmap.mmap(-1, PLACES * PLACE_BYTES))
        self._secret = secrets.token_bytes(16)

    def get(self, key: CacheKey, now: float) -> tuple[Answer, float] | None:
        """An answer of any worker, and the seconds for which it may still be used; None: there is none."""
        number = hash(key) & _HASH_MASK  # with a secret that all workers have from before the fork
        start = number % PLACES * PLACE_BYTES
        written, length, seal = _HEAD.unpack_from(self._memory, start)
        if written != number or length > PLACE_BYTES - _HEAD.size:
            return None
        start += _HEAD.size
        sealed = bytes(self._memory[start : start + length])
        if self._seal(sealed) != seal:
            return None
        name, rdtype, expires, status, values, is_alias = _decode(sealed)
        if (name, rdtype) != key or expires <= now:
            return None
        records = tuple([tuple(record) if isinstance(record, list) else record for record in values])
        return Answer(status, records, is_alias=is_alias), expires - now

    def put(self, key: CacheKey, answer: Answer, expires: float) -> None:
        """Share an answer until a time. A failure is not shared: it may be this worker's own."""
        if answer.status is Status.FAILED:
            return
        content = _encode((*key, expires, answer.status, answer.records, answer.is_alias))
        if _HEAD.size + len(content) > PLACE_BYTES:
            return
        number = hash(key) & _HASH_MASK
        start = number % PLACES * PLACE_BYTES
        place = _HEAD.pack(number, len(content), self._seal(content)) + content
        self._memory[start : start + len(place)] = place

    def _seal(self, content: bytes) -> bytes:
        return blake2b(content, digest_size=_SEAL_BYTES, key=self._secret).digest()
