import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.mail import message_id_hash
from tests.support import outcomes

KEY = bytes(range(32))


def of_field(value):
    return message_id_hash.of_message(outcomes.message(f"Message-ID:{value}"), KEY)


@pytest.mark.parametrize(
    "value",
    [
        "a@b.example",
        "<a@b.example>",
        " <a@b.example>",
        "\r\n <a@b.example>",
        "<a@b\r\n .example>",
        "(x) <a@b.example> y",
    ],
)
def test_ways_to_write_one_message_id(value):
    assert message_id_hash.of_text(value.encode(), KEY) == message_id_hash.of_text(b"a@b.example", KEY)
    assert of_field(value) == message_id_hash.of_text(b"a@b.example", KEY)


def test_what_differs_hashes_differently():
    found = {message_id_hash.of_text(raw, KEY) for raw in (b"a@b", b"A@b", b"a@b.example", b"<a@c>")}
    assert len(found) == 4
    assert message_id_hash.of_text(b"a@b", bytes(32)) not in found


@pytest.mark.parametrize("value", ["", " ", "<>", "<\r\n >"])
def test_nothing_in_it(value):
    assert of_field(value) is None


def test_no_field():
    assert message_id_hash.of_message(outcomes.message(), KEY) is None


def test_the_first_field_counts():
    mail = outcomes.message("Message-ID: <a@b>", "Message-Id: <c@d>")
    assert message_id_hash.of_message(mail, KEY) == message_id_hash.of_text(b"a@b", KEY)


def test_the_end_of_a_long_one_does_not_count():
    long = b"x" * message_id_hash.MAX_ID
    assert message_id_hash.of_text(long, KEY) == message_id_hash.of_text(long + b"y", KEY)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000))
def test_any_octets(raw):
    found = message_id_hash.of_text(raw, KEY)
    assert found is None or (len(found) == message_id_hash.DIGITS and set(found) <= set("0123456789abcdef"))
