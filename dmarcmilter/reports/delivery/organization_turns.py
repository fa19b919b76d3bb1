"""Turns between organizations: each gets its first report before any gets a second. No I/O.

The owner of a domain can create any number of names below it, each with its own record. Therefore turns go by the
Organizational Domain of the public suffix list; that of RFC 9989's tree walk could be changed by the owner (psd=y).

Names below a suffix in the private section of the list (hosting providers, dynamic DNS) are often free, so their
organizations share turns: see turns_within_providers.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.mail.domain import Domain

T = TypeVar("T")

SHARED_TURNS = 20
"""Items that all organizations below one private suffix share in one turn, where any other organization gets one."""


def organization_of(suffixes: Suffixes, domain: str) -> str:
    """The Organizational Domain; for a public suffix, the name itself."""
    return suffixes.organizational_domain(Domain(domain)) or domain


def provider_of(suffixes: Suffixes, organization: str) -> str:
    """The owner of the private suffix that the organization is below, by the list's ICANN section; otherwise itself."""
    return suffixes.registered_domain(Domain(organization)) or organization


def turns_within_providers(
    items: Iterable[T],
    organization: Callable[[T], str],
    provider: Callable[[str], str],
    had: Mapping[str, int] | None = None,
) -> list[tuple[int, T]]:
    """The same as turns, but organizations of one provider get at most SHARED_TURNS items in one turn together.

    `provider` maps an organization to the owner of its private suffix, or to itself.
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
    return [(turn, item) for turn, _, item in sorted(numbered, key=lambda numbered_item: numbered_item[:2])]


def turns(
    items: Iterable[T], organization: Callable[[T], str], had: Mapping[str, int] | None = None
) -> list[tuple[int, T]]:
    """Each item with its turn, ordered by turn and then as they came.

    The turn is the number of earlier items of the same organization, including those that it `had` before.
    """
    counts = Counter(had or {})
    numbered = []
    for item in items:
        name = organization(item)
        numbered.append((counts[name], item))
        counts[name] += 1
    return sorted(numbered, key=lambda pair: pair[0])
