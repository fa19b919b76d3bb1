"""Turns between organizations: each gets its first report before any gets a second. Pure.

The owner of a domain can make any number of names below it, each with a record of its own. So the Organizational Domain
counts, by the public suffix list: the one of RFC 9989's tree walk could be changed by the owner (psd=y).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from dmarcmilter.dmarc.domain import Domain
from dmarcmilter.dmarc.suffixes import Suffixes

T = TypeVar("T")


def organization_of(suffixes: Suffixes, domain: str) -> str:
    """The Organizational Domain; a public suffix stands for itself."""
    return suffixes.organizational_domain(Domain(domain)) or domain


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
