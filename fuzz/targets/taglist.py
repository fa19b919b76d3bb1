"""Tag lists and their values (RFC 6376 3.2): strict, and what is read is what stands there."""

import base64
import hashlib
from collections.abc import Iterator

from dmarcmilter.auth import tag_list
from fuzz.material import fields_of, message_of, rows, vectors

SPACE = tag_list.FWS


def check(data: bytes) -> None:
    tags = tag_list.parse(data)
    if tags is not None:
        assert len(tags) <= data.count(b"=")
        assert tag_list.parse(b";".join(b"%b=%b" % pair for pair in tags.items())) == tags
        # Only b= may go for the hash (RFC 6376 3.7), and with it nothing else.
        emptied = tag_list.parse(tag_list.without_b(data))
        assert emptied == {name: b"" if name == b"b" else value for name, value in tags.items()}
        for value in tags.values():
            _check_value(value)
    _check_value(data)
    once = tag_list.without_b(data)
    assert tag_list.without_b(once) == once
    assert once.count(b";") == data.count(b";")


def _check_value(value: bytes) -> None:
    octets = tag_list.base64(value)
    if octets is not None:
        padded = tag_list.compact(value)
        assert base64.b64decode(padded, validate=True) == octets
        assert len(octets) == len(padded) // 4 * 3 - padded.count(b"=")
    number = tag_list.number(value, 12)
    assert number is None or 0 <= number < 10**12
    assert all(item == item.strip(SPACE).lower() for item in tag_list.items(value))


def seeds() -> Iterator[bytes]:
    octets = base64.b64encode(hashlib.sha256(b"").digest())
    tags = b"v=1; a=rsa-sha256; c=relaxed/simple; d=example.org; s=sel;\r\n\th=from:to : subject; l=10; t=1;\r\n"
    yield tags + b" bh=%b; b=%b" % (octets, octets)
    for row in rows("dkim_key"):
        yield row["record"].encode()
    for vector in vectors("dkim"):
        yield from fields_of(message_of(vector), b"dkim-signature")
