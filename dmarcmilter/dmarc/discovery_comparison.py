"""Comparison with the result of the other discovery method (RFC 9989 4.10, RFC 7489 6.6.3), for statistics.

No further query is sent: if the other method needs an answer that the first did not ask for, its result is unknown.
"""

from collections.abc import Iterable, Mapping

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
from dmarcmilter.value import Value, replace

ERRORS = frozenset({DmarcWord.TEMPERROR, DmarcWord.PERMERROR})
"""Results that are not compared: a DNS failure says nothing about the domain."""


class NotAskedError(LookupError):
    """The discovery method in use did not query for this answer."""


class KeptAnswers:
    """A Lookup that keeps its answers for a second use."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._kept: dict[tuple[str, str], Answer] = {}

    def __call__(self, name: str, rdtype: str) -> Answer:
        answer = self._kept[name, rdtype] = self._lookup(name, rdtype)
        return answer

    def again(self, name: str, rdtype: str) -> Answer:
        """The kept answer; NotAskedError if there is none."""
        try:
            return self._kept[name, rdtype]
        except KeyError:
            raise NotAskedError(name) from None


class Comparison(Value):
    """The result of the other discovery method, and where it differs from that of the method in use."""

    method: Method
    policy_domain: Domain | None
    organizational_domain: Domain | None
    result: DmarcWord | None
    """None: unknown."""
    differs: tuple[str, ...]
    """Names of the fields above that differ."""


def other_discovery(
    discovery: Discovery,
    organizational: Mapping[Domain, Domain | None],
    identifiers: Iterable[Domain],
    answers: KeptAnswers,
    suffixes: Suffixes,
) -> OtherDiscovery | None:
    """Discover with the other method, from kept answers only; None: it needs further answers, or a lookup failed.

    `organizational`: as in AuthorPolicy. The result holds `discovery` itself if both methods give the same.
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
    """Whether RFC 7489 6.6.3 certainly gives the result of the tree walk, as for most mail; False: not certain.

    RFC 7489 looks only at the Author Domain and its Organizational Domain, and stops if the Author Domain has several
    records.
    """
    own, author = discovery.organizational_domain, discovery.author
    if discovery.method is not Method.TREEWALK or own != (suffixes.organizational_domain(author) or author):
        return False
    is_at_author = discovery.policy_domain == author
    if not is_at_author and (discovery.policy_domain != own or author in discovery.faulty):
        return False
    return all(
        organization is not None and organization == (suffixes.organizational_domain(name) or name)
        for name, organization in organizational.items()
    )


def compare(auth: AuthResults, evaluation: Evaluation) -> Comparison | None:
    """Compare both discovery methods for this message; None: the other's result is unknown."""
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
