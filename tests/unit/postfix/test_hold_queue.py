"""What Postfix's commands say is taken with care; the commands themselves run in mta/test_quarantine.py."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.postfix.hold_queue import is_queue_id, printable


@pytest.mark.parametrize("text", ["", "ALL", "-H", "ABC", "3F4C1A0B2D\n", "3F4C 1A0B", "../../etc", "A" * 31, "é" * 8])
def test_no_queue_id(text):
    assert not is_queue_id(text)


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_nothing_moves_the_cursor(text):
    assert printable(text).isprintable()


@given(st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_no_line_of_the_queue_raises(line):
    from dmarcmilter.postfix import hold_queue

    hold_queue._read(line)
    hold_queue._read(b'{"queue_name":"hold","queue_id":' + line)
