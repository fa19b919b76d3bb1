"""How the tests' MTA takes a message apart and edits its header.

That Postfix does the same: mta/test_postfix_headers.py.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.testing.postfix_headers import (
    FIELD_LIMIT,
    OWN_RECEIVED,
    Edit,
    HeaderEdit,
    apply_edits,
    as_queued,
    split_message,
)


@pytest.mark.parametrize(
    ("message", "fields", "body"),
    [
        pytest.param(b"", [], b"", id="empty"),
        pytest.param(b"A: 1\r\nB:2\r\n\r\nx\r\n", [(b"A", b" 1"), (b"B", b"2")], b"x\r\n", id="plain"),
        pytest.param(b"A: 1\r\n\t2\r\n \r\n\r\n", [(b"A", b" 1\r\n\t2\r\n ")], b"", id="folds"),
        pytest.param(b"A \t: 1\r\n", [(b"A", b" 1")], b"", id="white space before the colon"),
        pytest.param(b"A: 1\nB: 2\n\nx", [(b"A", b" 1"), (b"B", b" 2")], b"x\r\n", id="bare LF"),
        pytest.param(b"A: 1\r2\r\n\r\nx\ry\r\n", [(b"A", b" 1 2")], b"x y\r\n", id="bare CR"),
        pytest.param(b"A: 1\r\nno field\r\nB: 2\r\n", [(b"A", b" 1")], b"no field\r\nB: 2\r\n", id="no field"),
        pytest.param(b"A: 1\r\n\xe9: 2\r\n", [(b"A", b" 1")], b"\xe9: 2\r\n", id="8-bit name"),
        pytest.param(b" fold\r\nA: 1\r\n", [], b" fold\r\nA: 1\r\n", id="continuation of nothing"),
        pytest.param(b"A: 1\0 2\r\n\r\nx\0y\r\n", [(b"A", b" 1\0 2")], b"x\0y\r\n", id="NUL"),
        pytest.param(b"\r\nA: 1\r\n", [], b"A: 1\r\n", id="no header"),
    ],
)
def test_split_message(message, fields, body):
    assert split_message(message) == (fields, body)


def test_long_fields_are_cut_as_postfix_does():
    long = b"A:" + b" 2345678\r\n" * 40_000 + b"B: " + b"y" * 70_000 + b"\r\n\r\n"
    folded, flat = (as_queued(field)[1] for field in split_message(long)[0])
    assert folded.endswith(b" 2345678")
    assert FIELD_LIMIT - 9 <= len(b"A:" + folded.replace(b"\r", b"")) <= FIELD_LIMIT
    assert len(b"B:" + flat) == FIELD_LIMIT
    assert as_queued((b"C", b" 1\0 2")) == (b"C", b" 1")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.lists(st.sampled_from([b"A:", b"\r\n", b"\n", b" ", b"\r", b"x"])).map(b"".join))
def test_split_message_takes_any_octets(message):
    fields, body = split_message(message)
    assert all(name and b"\0" not in as_queued((name, value))[1] for name, value in fields)
    assert not body or body.endswith(b"\r\n")


def edit(kind: Edit, index: int, name: bytes, value: bytes = b"") -> HeaderEdit:
    return HeaderEdit(kind, index, name, value)


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        pytest.param([edit(Edit.INSERT, 0, b"N", b" n")], [(b"N", b" n"), OWN_RECEIVED, 1, 2, 3], id="above Received"),
        pytest.param([edit(Edit.INSERT, 1, b"N", b" n")], [OWN_RECEIVED, (b"N", b" n"), 1, 2, 3], id="below Received"),
        pytest.param([edit(Edit.INSERT, 99, b"N", b" n")], [OWN_RECEIVED, 1, 2, 3, (b"N", b" n")], id="beyond the end"),
        pytest.param([edit(Edit.ADD, 0, b"N", b" n")], [OWN_RECEIVED, 1, 2, 3, (b"N", b" n")], id="add"),
        pytest.param([edit(Edit.CHANGE, 2, b"a", b" n")], [OWN_RECEIVED, 1, 2, (b"a", b" n")], id="change"),
        pytest.param([edit(Edit.CHANGE, 3, b"a", b" n")], [OWN_RECEIVED, 1, 2, 3, (b"a", b" n")], id="change none"),
        pytest.param([edit(Edit.CHANGE, 1, b"A")], [OWN_RECEIVED, 2, 3], id="delete"),
        pytest.param([edit(Edit.CHANGE, 3, b"A")], [OWN_RECEIVED, 1, 2, 3], id="delete none"),
        pytest.param([edit(Edit.CHANGE, 1, b"A")] * 2, [OWN_RECEIVED, 2], id="the same index twice"),
        pytest.param([edit(Edit.CHANGE, 1, b"Received")], [OWN_RECEIVED, 1, 2, 3], id="own Received is safe"),
        pytest.param(
            [edit(Edit.ADD, 0, b"N", b" n\nEvil: x")], [OWN_RECEIVED, 1, 2, 3, (b"N", b" n\r\n\tEvil: x")], id="fold"
        ),
    ],
)
def test_apply_edits(edits, expected):
    fields = {1: (b"A", b" 1"), 2: (b"B", b" 2"), 3: (b"A", b" 3")}
    assert apply_edits(fields.values(), edits)[0] == [fields.get(item, item) for item in expected]
