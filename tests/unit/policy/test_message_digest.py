import pytest

from dmarcmilter.policy.message_digest import digest
from dmarcmilter.value import replace
from tests.support import outcomes

KEY = bytes(range(32))
FIELDS = (
    "From: A <a@example.com>",
    "To: you@example.net",
    "Subject: Hello  there",
    "Date: Fri, 15 Jan 2027 08:00:00 +0000",
    "Message-ID: <1@example.com>",
)
MESSAGE = outcomes.message(*FIELDS)


def refolded(message):
    return replace(
        message, headers=tuple(replace(h, value=b"\r\n\t " + h.value.replace(b" ", b"\r\n ")) for h in message.headers)
    )


def renamed(message):
    return replace(message, headers=tuple(replace(h, name=h.name.upper()) for h in message.headers))


def envelope(**changes):
    return lambda message: replace(message, envelope=replace(message.envelope, **changes))


def added(*lines):
    return lambda message: replace(message, headers=(*outcomes.fields(*lines), *message.headers))


SAME = {
    "a retry: later, another queue id, client and HELO": envelope(
        queue_id="4XYZ", received_at=outcomes.RECEIVED_AT.replace(year=2028), client_ip=None, helo=b"other.example"
    ),
    "other recipients": envelope(recipients=(b"a@example.net", b"b@example.net")),
    "a relay adds its Received field": added("Received: from a by b"),
    "field names in another case": renamed,
    "fields folded elsewhere": refolded,
    "the size differs": lambda message: replace(message, size=5),
}
OTHER = {
    "another reverse-path": envelope(mail_from=b"other@bounce.example.com"),
    "the null reverse-path": envelope(mail_from=b""),
    "a further Subject": added("Subject: other"),
    "a further From": added("From: x@example.com"),
    "fields in another order": lambda message: replace(message, headers=message.headers[::-1]),
    "no fields": lambda message: replace(message, headers=(), size=0),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_the_same_message_has_the_same_digest(change):
    assert digest(change(MESSAGE), "x", KEY) == digest(MESSAGE, "x", KEY)


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_another_message_has_another_digest(change):
    assert digest(change(MESSAGE), "x", KEY) != digest(MESSAGE, "x", KEY)


def test_use_and_key_matter_for_the_digest():
    assert len({digest(MESSAGE, "x", KEY), digest(MESSAGE, "y", KEY), digest(MESSAGE, "x", KEY[::-1])}) == 3


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("Subject: ab", "Date: c"), ("Subject: a", "Date: bc")),
        (("Subject: a b", "Subject: c"), ("Subject: a", "Subject: b c")),
        (("Subject: date:x",), ("Subject:", "Date: x")),
    ],
)
def test_parts_cannot_run_into_each_other(left, right):
    """What moves from one field to its neighbour is another message."""
    assert digest(outcomes.message(*left), "x", KEY) != digest(outcomes.message(*right), "x", KEY)
