"""Which messages to a bounce address count as a bounce."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmarcmilter.reports.delivery.bounce_recognition import MAX_BYTES, is_failure, read

DSN = """From: MAILER-DAEMON@mx.example
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="b"

--b
Content-Type: text/plain

It could not be delivered.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; dmarc@example.com
Action: failed
Status: 5.1.1

--b--
"""


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        pytest.param(("", ""), True, id="a notification of failure (RFC 3464)"),
        pytest.param(("Action: failed", "action:FAILED (no such user)"), True, id="case and a comment"),
        pytest.param(("Action: failed", "Action: delayed"), False, id="it may still arrive"),
        pytest.param(("Action: failed", "Action: delivered"), False, id="it has arrived"),
        pytest.param(("Action: failed", "Action: failedish"), False, id="no word of the RFC"),
        pytest.param(("multipart/report", "multipart/mixed"), False, id="an automatic reply"),
        pytest.param(("delivery-status;", "disposition-notification;"), False, id="it was read"),
    ],
)
def test_messages(change, counts):
    for line_end in ("\n", "\r\n"):
        assert is_failure(DSN.replace(*change, 1).replace("\n", line_end).encode()) is counts


def test_what_is_beyond_the_limit_is_not_looked_at():
    assert not is_failure(DSN.replace("Action", "x" * MAX_BYTES + "\nAction").encode())
    stream = io.BytesIO(b"x" * (3 * MAX_BYTES))
    assert len(read(stream)) == MAX_BYTES
    assert stream.read() == b""


@given(st.binary(max_size=300))
def test_any_bytes(noise):
    assert not is_failure(noise)
    assert not is_failure(DSN.partition("--b")[0].encode() + noise.replace(b"ailed", b""))
