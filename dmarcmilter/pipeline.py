"""The map of the program: gather, decide; acting is the session's. Read this first."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dmarcmilter import case as cases
from dmarcmilter import marking, policy, sampling
from dmarcmilter.case import Case, Draws
from dmarcmilter.checks import arc, clientname, dkim, spf
from dmarcmilter.checks.signature import BodyHasher
from dmarcmilter.dmarc.alignment import could_align
from dmarcmilter.dmarc.author import Author, AuthorProblem, author_domain
from dmarcmilter.dmarc.discovery import (
    Discovery,
    Method,
    discover,
    organizational_domains,
    prefetch_names,
    with_existence,
)
from dmarcmilter.dmarc.domain import Domain
from dmarcmilter.dmarc.evaluation import Assessment, DmarcWord, assessment_policy, evaluate
from dmarcmilter.dmarc.record import Policy as Disposition
from dmarcmilter.dmarc.suffixes import Suffixes
from dmarcmilter.evidence import DkimResult, DkimWord, Evidence, SpfResult, SpfWord
from dmarcmilter.lookup import Hint, Lookup, no_hint
from dmarcmilter.marking import Channel
from dmarcmilter.message import Envelope, Header, Message
from dmarcmilter.outcome import Outcome
from dmarcmilter.replies import Texts
from dmarcmilter.rules import EVERY_MESSAGE, Exempt, Rules

SETTLED = frozenset({DmarcWord.PASS, DmarcWord.NONE})
"""Results with which a message is delivered, whatever else is known of it."""


@dataclass(frozen=True, slots=True)
class Site:
    """All that one configuration means to a message. Immutable; a reload makes a new one."""

    rules: Rules
    texts: Texts
    channel: Channel
    method: Method
    suffixes: Suffixes
    honour_pct: bool
    sampling_key: bytes
    host_name: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What the header alone says: made at the end of headers, so that the body is hashed as it comes."""

    author: Author
    signatures: tuple[dkim.ReadSignature, ...]
    chain: arc.Chain
    body: BodyHasher


def read(headers: Sequence[Header], *, truncated: str = "") -> Reading:
    """`truncated` names the limit that cut the header short: a From field may be among what was not kept."""
    author = author_domain(headers)
    if truncated:
        author = Author(None, AuthorProblem.MALFORMED, author.domains, lax=False, reason=f"header exceeds {truncated}")
    signatures = dkim.read(headers, author.domain)
    chain = arc.read(headers)
    return Reading(author, signatures, chain, BodyHasher(dkim.plans(signatures) | arc.plans(chain)))


def process(
    message: Message,
    reading: Reading,
    lookup: Lookup,
    site: Site,
    hint: Hint = no_hint,
    *,
    exempt: Exempt = Exempt.NOBODY,
    deferred_for: float | None = None,
) -> Outcome:
    """One message's outcome. GATHER (asks DNS), then DECIDE (pure)."""
    evidence = gather(message, reading, lookup, site, hint)

    evaluation = evaluate(evidence)
    case = cases.of_message(message, evidence, exempt=exempt, deferred_for=deferred_for)
    if evaluation.result not in SETTLED or (evaluation.result is DmarcWord.NONE and site.rules.forces):
        case = _detailed(case, message, evidence, site)
    assessment = None
    if evidence.discovery is not None:
        assessment = assessment_policy(evidence.discovery, honour_pct=site.honour_pct, draw=case.draws.pct or 0)
    if evaluation.result is DmarcWord.FAIL and assessment is not None:
        case = _with_client_names(case, assessment, lookup, site.rules)
    decision = policy.decide(case, site.rules, evaluation, assessment)
    decision = marking.feasible(decision, message, site.channel)
    sender, _, _ = spf.identity(message.envelope)
    mail_from_domain = sender if message.envelope.mail_from else None
    return Outcome(message, mail_from_domain, evidence, evaluation, assessment, decision, site.rules.mode, case)


def _detailed(case: Case, message: Message, evidence: Evidence, site: Site) -> Case:
    """What only a message that is not simply delivered needs to have looked up in it."""
    rollout = sampling.rollout_draw(message, case.author, site.sampling_key)
    discovery = evidence.discovery
    organization = None
    if site.rules.forces and case.author is not None:
        organization = cases.organization(case.author, discovery, site.suffixes)
    return replace(
        case,
        list_ids=cases.list_ids(message),
        list_traces=cases.list_traces(message),
        organization=organization,
        hops=cases.hops(evidence.arc, case.author),
        arc_origin=cases.arc_origin(evidence.arc),
        draws=Draws(_pct_draw(message, discovery, site), rollout),
    )


def _pct_draw(message: Message, discovery: Discovery | None, site: Site) -> int | None:
    """Drawn only where it can matter: few records have a pct."""
    pct = discovery.record.pct if discovery and discovery.record else None
    if discovery is None or pct is None or pct == EVERY_MESSAGE:
        return None
    return sampling.draw(message, discovery.author, site.sampling_key)


def _with_client_names(case: Case, assessment: Assessment, lookup: Lookup, rules: Rules) -> Case:
    """Asked last, and only when the message is in trouble and a rule would take the client's word by its name."""
    if not rules.forwarder_names or case.client_ip is None or assessment.requested is Disposition.NONE:
        return case
    return replace(case, client_names=clientname.confirmed(case.client_ip, rules.forwarder_names, lookup))


def gather(message: Message, reading: Reading, lookup: Lookup, site: Site, hint: Hint) -> Evidence:
    """Ask the Author Domain's DNS first, then what could align with it, then the rest.

    The sender chooses the names that his signatures, seals and SPF record lead to, and may make each of them slow.
    Whoever spends the message's DNS budget so must not have kept from being found the policy, or anything that
    decides whether a domain that he only claims authenticates the message.
    """
    now = int(message.envelope.received_at.timestamp())
    bodies = reading.body.finish()
    discovery = _discover(reading.author.domain, lookup, site)
    near = functools.partial(_matters, discovery=discovery)
    check_spf = functools.partial(spf.check, message.envelope, lookup, receiver=site.host_name, hint=hint)
    spf_result = check_spf() if near(spf.identity(message.envelope)[0]) else None
    dkim_results = dkim.verify(reading.signatures, message.headers, bodies, lookup, now, first=near)
    organizational: Mapping[Domain, Domain | None] = {}
    if discovery is not None:
        identifiers = identifiers_of(spf_result, dkim_results)
        organizational = organizational_domains(identifiers, discovery, lookup, suffixes=site.suffixes)
    arc_result = arc.verify(reading.chain, message.headers, bodies, lookup, now)
    spf_result = spf_result or check_spf()
    return Evidence(reading.author, spf_result, dkim_results, arc_result, discovery, organizational)


def _discover(author: Domain | None, lookup: Lookup, site: Site) -> Discovery | None:
    if author is None:
        return None
    return with_existence(discover(author, lookup, method=site.method, suffixes=site.suffixes), lookup)


def _matters(identifier: Domain | None, discovery: Discovery | None) -> bool:
    return discovery is not None and could_align(identifier, discovery)


def identifiers_of(spf_result: SpfResult | None, dkim_results: Iterable[DkimResult]) -> list[Domain]:
    """Names that authenticate, or would have but for a DNS error (RFC 9989 4.4)."""
    found = [result.domain for result in dkim_results if result.result in (DkimWord.PASS, DkimWord.TEMPERROR)]
    if spf_result is not None and spf_result.result in (SpfWord.PASS, SpfWord.TEMPERROR):
        found.insert(0, spf_result.domain)
    return list(dict.fromkeys(domain for domain in found if domain is not None))


def names_at_mail_from(envelope: Envelope) -> list[str]:
    """Worth asking as soon as the sender is known: TXT names."""
    domain, _, _ = spf.identity(envelope)
    return [domain] if domain else []


def names_at_end_of_headers(reading: Reading, site: Site) -> list[str]:
    """Worth asking while the body comes in: TXT names, the most important first."""
    author = reading.author.domain
    policy_names = prefetch_names(author, site.method, site.suffixes) if author is not None else ()
    return [*policy_names, *dkim.key_names(reading.signatures, author), *arc.key_names(reading.chain)]
