"""Turns between organizations."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmarcmilter.dmarc.suffixes import Suffixes
from dmarcmilter.reports.fairness import organization_of, turns

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
