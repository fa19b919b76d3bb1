"""Turns between organizations: each gets its first report before any gets a second. Pure.

The owner of a domain can make any number of names below it, each with a record of its own. So the Organizational Domain
counts, by the public suffix list: the one of RFC 9989's tree walk could be changed by the owner (psd=y).

Names below a suffix in the private section of the list (a provider of host names, dynamic DNS) are often free, so
their organizations share turns: see turns_within_providers.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.mail.domain import Domain

T = TypeVar("T")

SHARED_TURNS = 20
"""Organizations below one private suffix that have a turn together, for one of any other organization."""


def organization_of(suffixes: Suffixes, domain: str) -> str:
    """The Organizational Domain; a public suffix stands for itself."""
    return suffixes.organizational_domain(Domain(domain)) or domain


def provider_of(suffixes: Suffixes, organization: str) -> str:
    """The owner of the private suffix that the organization is below, by the list's ICANN section; else itself."""
    return suffixes.registered_domain(Domain(organization)) or organization


def turns_within_providers(
    items: Iterable[T],
    organization: Callable[[T], str],
    provider: Callable[[str], str],
    had: Mapping[str, int] | None = None,
) -> list[tuple[int, T]]:
    """The same as turns, but organizations of one provider have no turn before SHARED_TURNS items for each earlier one.

    `provider`: from an organization to that of its private suffix, or to itself.
    """
    had_together: Counter[str] = Counter()
    for name, count in (had or {}).items():
        had_together[provider(name)] += count
    of_provider: defaultdict[str, list[tuple[int, int, T]]] = defaultdict(list)
    numbered = []
    for place, (turn, item) in enumerate(turns(items, organization, had)):
        name = organization(item)
        owner = provider(name)
        if owner == name:
            numbered.append((turn, place, item))
        else:
            of_provider[owner].append((turn, place, item))
    for owner, members in of_provider.items():
        for number, (turn, place, item) in enumerate(members, start=had_together[owner]):
            numbered.append((max(turn, number // SHARED_TURNS), place, item))
    return [(turn, item) for turn, _, item in sorted(numbered, key=lambda found: found[:2])]


def turns(
    items: Iterable[T], organization: Callable[[T], str], had: Mapping[str, int] | None = None
) -> list[tuple[int, T]]:
    """Each item with its turn, those of the earliest turn first, otherwise in the order in which they came.

    The turn is the number of items of the same organization before it, and of those that it `had` already.
    """
    counts = Counter(had or {})
    numbered = []
    for item in items:
        name = organization(item)
        numbered.append((counts[name], item))
        counts[name] += 1
    return sorted(numbered, key=lambda pair: pair[0])
