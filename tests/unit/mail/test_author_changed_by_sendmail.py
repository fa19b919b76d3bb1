import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmarcmilter.mail import address_list
from dmarcmilter.mail import author_changed_by_sendmail as module
from dmarcmilter.mail.author_changed_by_sendmail import MAX_KEPT, MAX_NAME_BEFORE_CUT, rewriting
from dmarcmilter.reasons import Code, Reason

INTERNAL = [*range(0x80, 0xA0), 0xFF]
ADDRESS = b"<a@example.com>"
ASCII = st.text(st.characters(max_codepoint=127, exclude_characters='"\\'), max_size=MAX_KEPT).map(str.encode)


@pytest.mark.parametrize("byte", range(0x80, 0x100))
def test_internal_bytes_of_an_address(byte):
    reason = rewriting(b" x <a" + bytes([byte]) + b"@example.com>")
    assert reason == (Reason.of(Code.FROM_INTERNAL_BYTE) if byte in INTERNAL else None)
    assert rewriting(b" x" + bytes([byte]) + b" <a@example.com>") is None


@pytest.mark.parametrize("size", [MAX_KEPT - len(ADDRESS), MAX_KEPT - len(ADDRESS) + 1])
@pytest.mark.parametrize("more", [b"", b" (comment)", b", <b@example.com>"])
def test_an_address_ends_within_the_limit_or_is_cut(size, more):
    is_cut = size + len(ADDRESS) > MAX_KEPT
    assert (rewriting(b"x" * size + ADDRESS + more) == Reason.of(Code.FROM_ADDRESS_BEHIND_LONG_NAME)) is is_cut


@pytest.mark.parametrize("size", [MAX_NAME_BEFORE_CUT, MAX_NAME_BEFORE_CUT + 1])
def test_an_address_behind_a_longer_name_is_kept(size):
    assert (rewriting(b"x" * size + ADDRESS) is not None) is (size == MAX_NAME_BEFORE_CUT)
    assert (rewriting(b"x" * (size - 10) + b"\x81" * 5 + ADDRESS) is not None) is (size == MAX_NAME_BEFORE_CUT)


@given(ASCII)
def test_short_ascii_fields_are_not_read(body):
    reader, module._Reader = module._Reader, None
    try:
        assert rewriting(body) is None
    finally:
        module._Reader = reader


@given(st.lists(st.sampled_from([b"a", b"\xd0\x81", b"@", b"<", b">", b",", b":", b";", b'"', b"(", b")", b"[", b" "])))
def test_reads_every_field_that_the_parser_reads(parts):
    body = b"".join(parts)
    reason = rewriting(body)
    if not isinstance(address_list.parse(body), Reason) and b"\x81" not in body:
        assert reason is None


def test_long_fields_take_little_time():
    fields = [
        b"\xd0\x81" * 60_000,
        b"(" * 60_000,
        b'"\x81" ' * 20_000,
        b"a:" * 60_000,
        b"<a@b.c>," * 15_000,
        b"[" * 60_000,
    ]
    start = time.process_time()
    for body in fields:
        rewriting(body)
    assert time.process_time() - start < 2
