"""Messages in mbox files and in files of their own."""

import io
import mailbox

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmarcmilter.mail import mbox
from dmarcmilter.mail.mbox import Stored, messages

LINE = b"From joe@example.com Fri Jan 15 08:00:00 2027\n"


def read(raw):
    return list(messages(io.BytesIO(raw)))


CASES = {
    "one message": (b"From: a\n\nx\n", [(b"From: a\n\nx\n", None)]),
    "one message with a separator": (LINE + b"From: a\n\nx\n\n", [(b"From: a\n\nx\n", b"joe@example.com")]),
    "two": (
        LINE + b"A: 1\n\nx\n\nFrom MAILER-DAEMON Fri Jan 15 08:00 2027\nB: 2\n\n",
        [(b"A: 1\n\nx\n", b"joe@example.com"), (b"B: 2\n", b"MAILER-DAEMON")],
    ),
    "CRLF": (
        (LINE + b"A: 1\n\nx\n\n").replace(b"\n", b"\r\n") * 2,
        [(b"A: 1\r\n\r\nx\r\n", b"joe@example.com")] * 2,
    ),
    "quoted lines": (
        LINE + b"A: 1\n\n>From x\n>>From y\n >From z\n>from\n",
        [(b"A: 1\n\nFrom x\n>From y\n >From z\n>from\n", b"joe@example.com")],
    ),
    "no empty line before it: text": (
        LINE + b"A: 1\n\nx\n" + LINE + b"y\n",
        [(b"A: 1\n\nx\n" + LINE + b"y\n", b"joe@example.com")],
    ),
    "no date: text": (
        LINE + b"A: 1\n\nx\n\nFrom now on\n",
        [(b"A: 1\n\nx\n\nFrom now on\n", b"joe@example.com")],
    ),
    "a separator in one message is text": (
        b"A: 1\n\n\n" + LINE + b">From\n",
        [(b"A: 1\n\n\n" + LINE + b">From\n", None)],
    ),
    "nothing": (b"", [(b"", None)]),
    "only a separator": (LINE, [(b"", b"joe@example.com")]),
    "a separator without an end": (b"From x", [(b"", b"x")]),
    "a long separator": (b"From x " + b"y" * 200_000 + b"\nA: 1\n", [(b"A: 1\n", b"x")]),
}


@pytest.mark.parametrize(("raw", "expected"), CASES.values(), ids=CASES)
def test_messages(raw, expected):
    assert read(raw) == [Stored(*found) for found in expected]


@pytest.mark.parametrize("raw", [b"x" * 3000, LINE + b"x" * 3000, LINE + b"A: 1\n\n" * 500])
def test_a_message_that_is_too_large(raw, monkeypatch):
    monkeypatch.setattr(mbox, "MAX_MESSAGE", 2000)
    with pytest.raises(mbox.TooLargeError):
        read(raw)


def test_each_message_is_given_before_the_next_is_read(monkeypatch):
    monkeypatch.setattr(mbox, "MAX_MESSAGE", 2000)
    assert len(read((LINE + b"A: 1\n\n" + b"x" * 1500 + b"\n\n") * 100)) == 100


BODY = st.lists(st.sampled_from([b"", b"text", b"From x", b">From y", LINE.strip(), b"A: 1", b"\xff"]), max_size=8)


@given(st.lists(BODY, min_size=1, max_size=4))
def test_what_pythons_mailbox_writes(tmp_path_factory, bodies):
    """It quotes as mboxo does, so lines that had a `>` already come back without it."""
    path = tmp_path_factory.mktemp("mbox") / "m"
    box = mailbox.mbox(path)
    raw = [b"Subject: x\n\n" + b"".join(line + b"\n" for line in body if line[:1] != b">") for body in bodies]
    for message in raw:
        box.add(message)
    box.close()
    assert [stored.raw.rstrip(b"\n") for stored in read(path.read_bytes())] == [one.rstrip(b"\n") for one in raw]


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes(raw, is_mbox):
    found = read(LINE + raw if is_mbox else raw)
    assert found
    assert sum(len(stored.raw) for stored in found) <= len(raw) + len(LINE)
