from dataclasses import replace

import outcomes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dmarc.domain import Domain
from dmarcmilter.sampling import draw, rollout_draw

AUTHOR = Domain("example.com")
KEY = bytes(range(32))
FIELDS = (
    "From: A <a@example.com>",
    "To: you@example.net",
    "Subject: Hello  there",
    "Date: Fri, 15 Jan 2027 08:00:00 +0000",
    "Message-ID: <1@example.com>",
)
MESSAGE = outcomes.message(*FIELDS)


def with_fields(*lines):
    return replace(MESSAGE, headers=outcomes.fields(*lines))


# Enough messages that two different identities are not taken for one: 100 draws agree by chance 1 in 100**20.
def draws(change=lambda message: message, key=KEY, author=AUTHOR, count=20):
    return [draw(change(with_fields(f"Subject: {n}", *FIELDS[3:])), author, key) for n in range(count)]


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
def test_the_same_message_draws_the_same_number(change):
    # POL-12
    assert draws(change) == draws()


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_another_message_draws_another_number(change):
    assert draws(change) != draws()


def test_key_and_author_matter():
    # POL-12: nobody without the key can tell what is drawn.
    assert draws(key=KEY[::-1]) != draws()
    assert draws(author=Domain("a.example.com")) != draws()


def test_parts_cannot_run_into_each_other():
    """What moves from one field to its neighbour is another message."""
    pairs = [
        (("Subject: ab", "Date: c"), ("Subject: a", "Date: bc")),
        (("Subject: a b", "Subject: c"), ("Subject: a", "Subject: b c")),
        (("Subject: date:x",), ("Subject:", "Date: x")),
    ]
    for left, right in pairs:
        keys = [bytes([n]) * 32 for n in range(20)]
        assert [draw(with_fields(*left), AUTHOR, k) for k in keys] != [
            draw(with_fields(*right), AUTHOR, k) for k in keys
        ]


@pytest.mark.parametrize("pct", [1, 10, 25, 50, 99])
def test_share_of_selected_messages_is_near_pct(pct):
    # POL-08
    count = 4000
    selected = sum(number < pct for number in draws(count=count))
    spread = (count * pct * (100 - pct)) ** 0.5 / 100
    assert abs(selected - count * pct / 100) < 4 * spread


def test_all_numbers_are_drawn():
    assert set(draws(count=2000)) == set(range(100))


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=50)), max_size=8), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_message_draws_within_range(pairs, sender):
    mail = replace(
        MESSAGE,
        headers=tuple(outcomes.Header(name, value) for name, value in pairs),
        envelope=replace(MESSAGE.envelope, mail_from=sender),
    )
    assert 0 <= draw(mail, AUTHOR, KEY) < 100


# --- the rollout


def rollout(change=lambda message: message, key=KEY, author=AUTHOR, count=20):
    return [rollout_draw(change(with_fields(f"Subject: {n}", *FIELDS[3:])), author, key) for n in range(count)]


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_the_same_message_stays_on_its_side_of_the_rollout(change):
    assert rollout(change) == rollout()


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_another_message_may_be_on_the_other_side(change):
    assert rollout(change) != rollout()


def test_the_rollout_has_the_key_and_the_author_too():
    assert rollout(key=KEY[::-1]) != rollout()
    assert rollout(author=None) != rollout()
    assert rollout(author=None) == rollout(author=None)


def test_the_two_draws_know_nothing_of_each_other():
    """Of the messages that pct=10 selects, rollout_percent = 10 selects a tenth, and not all or none."""
    pairs = list(zip(draws(count=4000), rollout(count=4000), strict=True))
    both = sum(one < 10 and other < 10 for one, other in pairs)
    assert abs(both - 40) < 4 * 40**0.5


@pytest.mark.parametrize("percent", [1, 10, 50, 99])
def test_share_of_the_rollout(percent):
    count = 4000
    selected = sum(number < percent for number in rollout(count=count))
    spread = (count * percent * (100 - percent)) ** 0.5 / 100
    assert abs(selected - count * percent / 100) < 4 * spread
