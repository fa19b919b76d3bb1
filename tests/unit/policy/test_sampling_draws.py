"""dmarcmilter.policy.sampling_draws: draws that a sender cannot repeat by changing the message."""

from datetime import timedelta
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter import pipeline
from dmarcmilter.mail.domain import Domain
from dmarcmilter.policy.sampling_draws import DRAW_SECONDS, NETWORK_BITS, pct_draw, rollout_draw
from tests.support import outcomes
from tests.support.zone import Zone

KEY = bytes(range(32))
AT = outcomes.RECEIVED_AT
CLIENT = ip_address("192.0.2.1")
ORGANIZATIONS = [Domain(f"d{number}.example") for number in range(4000)]


def draws(draw=pct_draw, *, client=CLIENT, at=AT, key=KEY, count=50):
    """Enough that two independent series are never equal: 50 draws agree by chance 1 in 100**50."""
    return [
        draw(name if draw is pct_draw else [name], client and ip_address(client), at, key)
        for name in ORGANIZATIONS[:count]
    ]


BOTH = pytest.mark.parametrize("draw", [pct_draw, rollout_draw])


@BOTH
def test_addresses_of_one_network_draw_the_same_number(draw):
    assert draws(draw, client="192.0.2.1") == draws(draw, client="192.0.2.254")
    assert draws(draw, client="2001:db8::1") == draws(draw, client="2001:db8:ffff:ffff::9")
    assert NETWORK_BITS == {4: 24, 6: 32}


@BOTH
def test_organization_network_and_key_matter(draw):
    # POL-12: nobody without the key can tell what is drawn.
    series = [
        draws(draw),
        draws(draw, client="192.0.3.1"),
        draws(draw, client="2001:db8::1"),
        draws(draw, client="2001:db9::1"),
        draws(draw, client=None),
        draws(draw, key=KEY[::-1]),
    ]
    assert len({tuple(found) for found in series}) == len(series)
    assert len(set(draws(draw))) > 10


@BOTH
@given(st.integers(0, 10 * DRAW_SECONDS), st.integers(0, DRAW_SECONDS))
@settings(max_examples=200, deadline=None)
def test_a_draw_changes_at_most_once_a_day(draw, start, later):
    """Three looks within a day see two numbers at most, and the second one stays."""
    first, middle, last = (
        draws(draw, at=AT + timedelta(seconds=start + seconds), count=1)[0] for seconds in (0, later // 2, later)
    )
    assert middle in {first, last}


@BOTH
def test_retries_within_hours_draw_the_same_number(draw):
    """The change comes at another time of day for each organization and network: h hours later h in 24 have drawn anew.

    A retry within an hour meets it once in 24 times.
    """
    before, after = draws(draw, count=4000), draws(draw, at=AT + timedelta(hours=1), count=4000)
    changed = sum(one != other for one, other in zip(before, after, strict=True))
    assert abs(changed - 4000 / 24) < 4 * (4000 / 24) ** 0.5
    day_later = draws(draw, at=AT + timedelta(seconds=DRAW_SECONDS), count=4000)
    assert sum(one == other for one, other in zip(before, day_later, strict=True)) < 100


@BOTH
def test_midnight_is_no_time_to_try_again(draw):
    midnight = AT.replace(hour=0, minute=0, second=0, microsecond=0)
    pairs = zip(draws(draw, at=midnight - timedelta(seconds=1)), draws(draw, at=midnight), strict=True)
    assert all(one == other for one, other in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("pct", [1, 10, 25, 50, 99])
@BOTH
def test_the_share_of_organizations_is_near_the_percentage(draw, pct):
    # POL-08
    selected = sum(number < pct for number in draws(draw, count=4000))
    spread = (4000 * pct * (100 - pct)) ** 0.5 / 100
    assert abs(selected - 40 * pct) < 4 * spread


@pytest.mark.slow
@pytest.mark.parametrize("pct", [1, 10, 25, 50, 99])
def test_the_share_of_networks_and_of_days_is_near_the_percentage(pct):
    # POL-08
    name = ORGANIZATIONS[0]
    networks = [pct_draw(name, ip_address(n << 8), AT, KEY) for n in range(4000)]
    days = [pct_draw(name, CLIENT, AT + timedelta(days=n), KEY) for n in range(4000)]
    spread = (4000 * pct * (100 - pct)) ** 0.5 / 100
    for numbers in (networks, days):
        assert abs(sum(number < pct for number in numbers) - 40 * pct) < 4 * spread


@BOTH
def test_all_numbers_are_drawn(draw):
    assert set(draws(draw, count=2000)) == set(range(100))


def test_the_two_draws_know_nothing_of_each_other():
    """Of the mail that pct=10 selects, rollout_percent = 10 selects a tenth, and not all or none."""
    pairs = list(zip(draws(count=4000), draws(rollout_draw, count=4000), strict=True))
    both = sum(one < 10 and other < 10 for one, other in pairs)
    assert abs(both - 40) < 4 * 40**0.5


def test_a_further_author_takes_no_message_out_of_the_rollout():
    for number, name in enumerate(ORGANIZATIONS[:200]):
        alone = rollout_draw([name], CLIENT, AT, KEY)
        other = ORGANIZATIONS[number + 1]
        assert rollout_draw([other, name], CLIENT, AT, KEY) == min(alone, rollout_draw([other], CLIENT, AT, KEY))


def test_without_a_domain_there_is_a_draw_of_the_network():
    found = [rollout_draw([], ip_address(n << 8), AT, KEY) for n in range(50)]
    assert len(set(found)) > 10
    assert found == [rollout_draw([], ip_address((n << 8) + 7), AT, KEY) for n in range(50)]


# --- what the pipeline draws for: nothing that a sender can vary at no cost

WORDS = st.text("abcXYZ019-_", min_size=1, max_size=12)
LABELS = st.from_regex(r"[a-zA-Z0-9]{1,12}", fullmatch=True)


def drawn(*lines, zone, **envelope):
    """The draws of a message with these header fields, made by the pipeline."""
    mail = outcomes.message(*lines, **envelope)
    settings = outcomes.settings(sampling_key=KEY)
    outcome = outcomes.processed(mail, pipeline.read(mail.headers), Zone(zone), settings)
    return outcome.evaluation.pct_draw, outcome.facts.rollout_draw


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_nothing_that_costs_the_sender_nothing_changes_the_draw(data):
    zone = {"_dmarc.example.com": "v=DMARC1; p=reject; pct=50"}
    name = ".".join([*data.draw(st.lists(LABELS, max_size=3)), "example.com"])
    name = data.draw(st.sampled_from([name, name.upper()]))
    fields = [f"{field}: {data.draw(WORDS)}" for field in ("Subject", "Message-ID", "Date", "To")]
    varied = drawn(
        f"From: {data.draw(WORDS)} <{data.draw(WORDS)}@{name}>",
        *fields,
        zone=zone,
        mail_from=data.draw(st.binary(max_size=40)),
        helo=data.draw(st.binary(max_size=40)),
        queue_id=data.draw(WORDS),
        client_name=data.draw(WORDS),
        client_ip=ip_address(f"192.0.2.{data.draw(st.integers(0, 255))}"),
    )
    assert varied == drawn("From: a@example.com", zone=zone)
    assert None not in varied


def test_names_below_a_public_suffix_with_a_record_share_its_draw():
    """Such a name costs nothing either, where a registry publishes a policy for all below it (RFC 9091, psd=y)."""
    zone = {"_dmarc.com": "v=DMARC1; p=reject; psd=y; pct=50"}
    found = {drawn(f"From: a@made-up-{number}.com", zone=zone) for number in range(20)}
    assert len(found) == 1
    assert found.pop()[0] is not None


def test_several_authors_have_the_lowest_of_their_draws():
    names = [f"d{number}.example" for number in range(3)]
    found = drawn("From: " + ", ".join(f"a@www.{name}" for name in names), zone={}, received_at=AT)
    lowest = min(rollout_draw([Domain(name)], outcomes.envelope().client_ip, AT, KEY) for name in names)
    assert found[1] == lowest


# --- digest: what a message is, for deferrals
