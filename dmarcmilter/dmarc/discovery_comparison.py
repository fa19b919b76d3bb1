"""What the other way of discovery gives for the same message (RFC 9989 4.10, RFC 7489 6.6.3), for statistics.

Nothing more is asked of DNS: where the other way needs an answer that was not asked for, nothing is known of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dmarcmilter.auth.results import AuthResults
from dmarcmilter.dmarc.discovery import (
    AuthorPolicy,
    Discovery,
    Method,
    OtherDiscovery,
    discover,
    organizational_domains,
)
from dmarcmilter.dmarc.evaluation import DmarcWord, Evaluation, result_of
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.dns.lookup import Answer, Lookup
from dmarcmilter.mail.domain import Domain

ERRORS = frozenset({DmarcWord.TEMPERROR, DmarcWord.PERMERROR})
"""Results that are not compared: a DNS failure says nothing of the domain."""


class NotAskedError(LookupError):
    """The first way of discovery did not need this answer."""


class KeptAnswers:
    """A Lookup that keeps the answers it gives."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._kept: dict[tuple[str, str], Answer] = {}

    def __call__(self, name: str, rdtype: str) -> Answer:
        answer = self._kept[name, rdtype] = self._lookup(name, rdtype)
        return answer

    def again(self, name: str, rdtype: str) -> Answer:
        """An answer given before. NotAskedError for any other."""
        try:
            return self._kept[name, rdtype]
        except KeyError:
            raise NotAskedError(name) from None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the other way of discovery gives, and in which of these values it differs from the one in use."""

    method: Method
    policy_domain: Domain | None
    organizational_domain: Domain | None
    result: DmarcWord | None
    """None: not known."""
    differs: tuple[str, ...]
    """Names of those of the fields above that differ."""


def other_discovery(
    discovery: Discovery,
    organizational: Mapping[Domain, Domain | None],
    identifiers: Iterable[Domain],
    answers: KeptAnswers,
    suffixes: Suffixes,
) -> OtherDiscovery | None:
    """The other way of discovery, from kept answers only; None: it needs others, or one of them failed.

    `organizational`: as in AuthorPolicy. The result holds `discovery` itself where the other way gives the same.
    """
    if discovery.failed or discovery.organizational_domain is None:
        return None
    if _suffix_list_agrees(discovery, organizational, suffixes):
        return OtherDiscovery(discovery, organizational)
    method = _other(discovery.method)
    try:
        other = discover(discovery.author, answers.again, method=method, suffixes=suffixes)
    except NotAskedError:
        return None
    if other.failed or other.organizational_domain is None:
        return None
    others: Mapping[Domain, Domain | None] | None
    try:
        others = organizational_domains(identifiers, other, answers.again, suffixes=suffixes)
    except NotAskedError:
        others = None
    return OtherDiscovery(other, others)


def _other(method: Method) -> Method:
    return Method.PSL if method is Method.TREEWALK else Method.TREEWALK


def _suffix_list_agrees(
    discovery: Discovery, organizational: Mapping[Domain, Domain | None], suffixes: Suffixes
) -> bool:
    """Whether RFC 7489 6.6.3 gives what the tree walk gave, as for most mail; False: not known without doing it.

    It looks at the Author Domain and at the registered domain only, and stops at several records of the Author Domain.
    """
    own, author = discovery.organizational_domain, discovery.author
    if discovery.method is not Method.TREEWALK or own != (suffixes.organizational_domain(author) or author):
        return False
    is_at_author = discovery.policy_domain == author
    if not is_at_author and (discovery.policy_domain != own or author in discovery.faulty):
        return False
    return all(
        found is not None and found == (suffixes.organizational_domain(name) or name)
        for name, found in organizational.items()
    )


def compare(auth: AuthResults, evaluation: Evaluation) -> Comparison | None:
    """How the two ways of discovery compare for this message; None: not known."""
    policy = evaluation.author_policy
    if policy.other is None or policy.discovery is None:
        return None
    ours, other = policy.discovery, policy.other.discovery
    if other is ours:
        own = ours.organizational_domain
        return Comparison(_other(ours.method), ours.policy_domain, own, evaluation.result, differs=())
    result = _result(auth, policy, policy.other)
    differs = []
    if ours.record is not None or other.record is not None:
        # Without any record, the Organizational Domain decides nothing.
        if ours.policy_domain != other.policy_domain:
            differs.append("policy_domain")
        if ours.organizational_domain != other.organizational_domain:
            differs.append("organizational_domain")
        if result is not None and evaluation.result not in ERRORS and result is not evaluation.result:
            differs.append("result")
    return Comparison(other.method, other.policy_domain, other.organizational_domain, result, tuple(differs))


def _result(auth: AuthResults, policy: AuthorPolicy, other: OtherDiscovery) -> DmarcWord | None:
    if other.organizational is None:
        return None
    # Whether the Author Domain exists decides between sp and np, never between pass and fail.
    discovery = replace(other.discovery, author_exists=True)
    result = result_of(auth, AuthorPolicy(policy.author, discovery, other.organizational))
    return None if result in ERRORS else result
