"""Turns between organizations."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.reports.delivery.organization_turns import organization_of, provider_of, turns, turns_within_providers

SUFFIXES = Suffixes.of_text("com\nco.uk\n// ===BEGIN PRIVATE DOMAINS===\nhosted.com\n")


@pytest.mark.parametrize(
    ("domain", "organization"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("a.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("customer.hosted.com", "customer.hosted.com"),
        ("x.customer.hosted.com", "customer.hosted.com"),
    ],
)
def test_organizations(domain, organization):
    assert organization_of(SUFFIXES, domain) == organization


def provider(organization):
    return provider_of(SUFFIXES, organization)


@pytest.mark.parametrize(
    ("organization", "owner"),
    [
        ("example.com", "example.com"),
        ("example.co.uk", "example.co.uk"),
        ("customer.hosted.com", "hosted.com"),
        ("hosted.com", "hosted.com"),
        ("co.uk", "co.uk"),
    ],
)
def test_providers(organization, owner):
    assert provider(organization) == owner


def test_organizations_of_a_provider():
    names = [f"c{number}.hosted.com" for number in range(50)]
    ordered = turns_within_providers([*names, "a.com", "a.com"], str, provider, {"old.hosted.com": 10})
    assert [name for turn, name in ordered if turn == 0] == [*names[:10], "a.com"]
    assert [name for turn, name in ordered if turn == 1] == [*names[10:30], "a.com"]
    assert [turn for turn, _ in ordered] == sorted(turn for turn, _ in ordered)
    assert sorted(name for _, name in ordered) == sorted([*names, "a.com", "a.com"])


@given(st.lists(st.sampled_from(["a.com", "b.com", "c.hosted.com", "d.hosted.com"]), max_size=90))
def test_nobody_is_earlier_for_a_provider(names):
    plain = {place: turn for turn, (place, _) in turns(list(enumerate(names)), lambda item: item[1])}
    shared = {
        place: turn
        for turn, (place, _) in turns_within_providers(list(enumerate(names)), lambda item: item[1], provider)
    }
    assert plain.keys() == shared.keys()
    for place, name in enumerate(names):
        assert shared[place] >= plain[place]
        assert name.endswith("hosted.com") or shared[place] == plain[place]


@given(st.lists(st.sampled_from("abcde"), max_size=60), st.dictionaries(st.sampled_from("abcde"), st.integers(0, 9)))
def test_turns(names, had):
    """No organization gets a turn while one that waits had fewer; the items of each stay in order."""
    items = list(enumerate(names))
    ordered = turns(items, lambda item: item[1], had)
    counts = Counter(had)
    waiting = Counter(names)
    for turn, (_, name) in ordered:
        assert turn == counts[name]
        assert all(counts[other] >= turn for other in waiting if waiting[other])
        counts[name] += 1
        waiting[name] -= 1
    for name in set(names):
        assert [item for _, item in ordered if item[1] == name] == [item for item in items if item[1] == name]
