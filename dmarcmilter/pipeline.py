"""The map of the program: gather, decide; acting is the session's. Read this first."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dmarcmilter.auth import arc, dkim, spf
from dmarcmilter.auth.results import DkimResult, Evidence, SpfResult
from dmarcmilter.auth.signature import BodyHasher
from dmarcmilter.dmarc.alignment import could_align
from dmarcmilter.dmarc.author import Author, AuthorProblem, author_domain
from dmarcmilter.dmarc.discovery import (
    Discovery,
    DiscoverySettings,
    discover,
    organizational_domains,
    prefetch_names,
    with_existence,
)
from dmarcmilter.dmarc.discovery_comparison import KeptAnswers, other_discovery
from dmarcmilter.dmarc.evaluation import DmarcWord, Evaluation, assessment_policy, evaluate, without_misreading
from dmarcmilter.dmarc.record import Policy as Disposition
from dmarcmilter.dns.lookup import Hint, Lookup, no_hint
from dmarcmilter.mail import message_id_hash, path
from dmarcmilter.mail.domain import Domain, LabelBudget, common_labels, is_within
from dmarcmilter.mail.message import Envelope, Header, Message
from dmarcmilter.outcome import Outcome
from dmarcmilter.policy import client_names, mitigations, quarantine_method, sampling
from dmarcmilter.policy import decision as policy
from dmarcmilter.policy import facts as cases
from dmarcmilter.policy.decision import Decision
from dmarcmilter.policy.deferral import BROKEN, Deferrals
from dmarcmilter.policy.facts import Case, Draws
from dmarcmilter.policy.quarantine_method import QuarantineSettings
from dmarcmilter.policy.recipients.registry import NOBODY_ASKED, Recipients
from dmarcmilter.policy.types import EVERY_MESSAGE, Action, QuarantineAction, Rules
from dmarcmilter.response import arc_sealing
from dmarcmilter.response.plan import ResponseSettings

SETTLED = frozenset({DmarcWord.PASS, DmarcWord.NONE})
"""Results with which a message is delivered, unless a rule of the operator's says otherwise."""


@dataclass(frozen=True, slots=True)
class FactSources:
    """Where facts come from that the message does not hold itself."""

    sampling_key: bytes = field(repr=False)
    """Key of the draws for pct and rollout_percent, and of hashed Message-IDs."""
    recipients: Recipients = NOBODY_ASKED
    deferrals: Deferrals | None = None
    """None: no message was ever deferred."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the stages need of one configuration: one value for each of them. Frozen; a reload makes a new one."""

    host_name: str
    """Name of the receiving host, for SPF macros."""
    discovery: DiscoverySettings
    rules: Rules
    facts: FactSources
    quarantine: QuarantineSettings
    response: ResponseSettings
    seals: bool = False
    """Whether an ARC Set is to be added: then the chain of every message has to be verified."""

    @property
    def needs_recipients(self) -> bool:
        """Whether a stage asks who the message is for."""
        is_redirected = self.rules.quarantine_action is QuarantineAction.REDIRECT
        return self.facts.recipients.configured or self.rules.needs_recipients or is_redirected


@dataclass(frozen=True, slots=True)
class Reading:
    """What the header alone says: made at the end of headers, so that the body is hashed as it comes."""

    author: Author
    signatures: tuple[dkim.ReadSignature, ...]
    chain: arc.Chain
    body: BodyHasher
    labels: LabelBudget = field(default_factory=LabelBudget)
    """For all names in the header."""


def read(headers: Sequence[Header], *, truncated: str = "", seal: bool = False) -> Reading:
    """`truncated` names the limit that cut the header short: a From field may be among what was not kept.

    `seal`: the body is hashed for an ARC Set of ours too.
    """
    labels = LabelBudget()
    with labels:
        author = author_domain(headers)
        if truncated:
            reason = f"header exceeds {truncated}"
            author = Author(None, AuthorProblem.MALFORMED, author.domains, reason=reason, unread=True)
        signatures = dkim.read(headers, author.domain)
        chain = arc.read(headers)
    plans = dkim.plans(signatures) | arc.plans(chain) | ({arc_sealing.BODY} if seal else set())
    return Reading(author, signatures, chain, BodyHasher(plans), labels)


def process(
    message: Message,
    reading: Reading,
    lookup: Lookup,
    settings: Settings,
    hint: Hint = no_hint,
    *,
    strangers: Lookup | None = None,
) -> Outcome:
    """One message's outcome. GATHER (asks DNS), then DECIDE (pure).

    `strangers` looks up what cannot change what is done with the message, and may be less patient than `lookup`.
    """
    evidence = gather(message, reading, lookup, settings, hint=hint, strangers=strangers or lookup)

    evidence = without_misreading(evidence)
    evaluation = evaluate(evidence)
    case = cases.of_message(message, evidence)
    may_act = evaluation.result not in SETTLED or bool(evaluation.unsigned_duplicates)
    if may_act or (evaluation.result is DmarcWord.NONE and settings.rules.forces):
        with reading.labels:
            case = _detailed(case, message, evidence, evaluation, settings)
    assessment = None
    if evidence.discovery is not None:
        assessment = assessment_policy(
            evidence.discovery, honour_pct=settings.discovery.honour_pct, draw=case.draws.pct or 0
        )
    if evaluation.result is DmarcWord.FAIL and assessment is not None and assessment.requested is not Disposition.NONE:
        case = _with_client_names(case, lookup, settings.rules)
    decision = policy.decide(case, settings.rules, evaluation, assessment)
    if decision.would is not Action.ACCEPT or decision.would_disposition is not Disposition.NONE:
        case = _asked_last(case, message, decision, settings)
        decision = policy.decide(case, settings.rules, evaluation, assessment)
        if evaluation.result is DmarcWord.TEMPERROR and decision.would_disposition is not Disposition.NONE:
            case = _with_client_names(case, lookup, settings.rules)
            decision = policy.decide(case, settings.rules, evaluation, assessment)
    decision = quarantine_method.with_feasible_action(decision, message, settings.quarantine)
    method, why_held = quarantine_method.method_of(decision, message, settings.quarantine)
    sender, _, _ = spf.identity(message.envelope)
    mail_from_domain = None if path.is_null(message.envelope.mail_from) else sender
    hashed = message_id_hash.of_message(message, settings.facts.sampling_key)
    return Outcome(
        *(message, mail_from_domain, evidence, evaluation, assessment, decision, settings.rules.mode, case),
        message_id_hash=hashed,
        set_apart=method,
        set_apart_reason=why_held,
        unvouched=mitigations.why_unvouched(case, settings.rules),
    )


def _detailed(case: Case, message: Message, evidence: Evidence, evaluation: Evaluation, settings: Settings) -> Case:
    """What only a message that is not simply delivered needs to have looked up in it."""
    discovery = evidence.discovery
    organization = None
    if settings.rules.forces and case.author is not None:
        organization = cases.organization(case.author, discovery, settings.discovery.suffixes)
    hops = cases.hops(evidence.arc, case.author)
    return replace(
        case,
        list_ids=cases.list_ids(message),
        list_traces=cases.list_traces(message),
        organization=organization,
        hops=hops,
        arc_origin=cases.arc_origin(evidence.arc) if any(hop.vouches for hop in hops) else None,
        likely_aligned=cases.likely_aligned(case.author, evaluation.possibly_aligned, settings.discovery.suffixes),
        draws=Draws(_pct_draw(message, discovery, settings), _rollout_draw(message, evidence, settings)),
    )


def _asked_last(case: Case, message: Message, decision: Decision, settings: Settings) -> Case:
    """What costs a question to a disk or a database, and matters only when something would be done to the message."""
    envelope = message.envelope
    exempt = settings.facts.recipients.exempt(envelope.recipients, incomplete=envelope.more_recipients)
    deferred_for = None
    if decision.would is Action.TEMPFAIL and settings.facts.deferrals is not None:
        deferred_for = settings.facts.deferrals.since(message)
    unrecorded = deferred_for == BROKEN
    return replace(
        case, exempt=exempt, deferred_for=None if unrecorded else deferred_for, deferral_unrecorded=unrecorded
    )


def _pct_draw(message: Message, discovery: Discovery | None, settings: Settings) -> int | None:
    """Drawn only where it can matter: few records have a pct."""
    pct = discovery.record.pct if discovery and discovery.record else None
    if discovery is None or pct is None or pct == EVERY_MESSAGE:
        return None
    organization = cases.sampled_organization(discovery.author, discovery, settings.discovery.suffixes)
    envelope = message.envelope
    return sampling.pct_draw(organization, envelope.client_ip, envelope.received_at, settings.facts.sampling_key)


def _rollout_draw(message: Message, evidence: Evidence, settings: Settings) -> int:
    envelope = message.envelope
    organizations = [
        cases.sampled_organization(author, evidence.discovery, settings.discovery.suffixes)
        for author in evidence.author.domains
    ]
    return sampling.rollout_draw(organizations, envelope.client_ip, envelope.received_at, settings.facts.sampling_key)


def _with_client_names(case: Case, lookup: Lookup, rules: Rules) -> Case:
    """Asked last, and only when the message is in trouble and a rule would take the client's word by its name."""
    if not rules.forwarder_names or case.client_ip is None:
        return case
    return replace(case, client_names=client_names.confirmed(case.client_ip, rules.forwarder_names, lookup))


def gather(
    message: Message, reading: Reading, lookup: Lookup, settings: Settings, *, hint: Hint, strangers: Lookup
) -> Evidence:
    """Ask the Author Domain's DNS first, then what could align with it, then the rest.

    The sender chooses the names that his signatures, seals and SPF record lead to, and may make each of them slow.
    Whoever spends the message's DNS budget so must not have kept from being found the policy, or anything that
    decides whether a domain that he only claims authenticates the message. Nor need a message whose verdict is known
    wait for keys that make no difference to it. (SPF is given its time all the same: RFC 7208 4.6.4 asks for that.)
    """
    now = int(message.envelope.received_at.timestamp())
    bodies = reading.body.finish()
    answers = KeptAnswers(lookup)
    discovery = _discover(reading.author.domain, answers, settings)
    own = _own_to_rules(discovery, settings)
    near = functools.partial(_matters, discovery=discovery, own=own)
    check_spf = functools.partial(spf.check, message.envelope, lookup, receiver=settings.host_name, hint=hint)
    spf_result = check_spf() if near(spf.identity(message.envelope)[0]) else None
    heard = functools.partial(_is_heard, discovery=discovery, own=own, rules=settings.rules)
    dkim_results = dkim.verify(
        reading.signatures, message.headers, bodies, lookup, now, first=heard, strangers=strangers
    )
    organizational: Mapping[Domain, Domain | None] = {}
    identifiers = identifiers_of(reading.author.domain, spf_result, dkim_results)
    if discovery is not None:
        organizational = organizational_domains(identifiers, discovery, lookup, suffixes=settings.discovery.suffixes)
    sealers = lookup if _chain_matters(reading.chain, settings) else strangers
    arc_result = arc.verify(reading.chain, message.headers, bodies, sealers, now)
    if spf_result is None:
        spf_result = check_spf()
        identifiers = identifiers_of(reading.author.domain, spf_result, dkim_results)
    other = None
    if discovery is not None:
        other = other_discovery(discovery, organizational, identifiers, answers, settings.discovery.suffixes)
    return Evidence(reading.author, spf_result, dkim_results, arc_result, discovery, organizational, other)


def _discover(author: Domain | None, lookup: Lookup, settings: Settings) -> Discovery | None:
    if author is None:
        return None
    return with_existence(
        discover(author, lookup, method=settings.discovery.method, suffixes=settings.discovery.suffixes), lookup
    )


def _own_to_rules(discovery: Discovery | None, settings: Settings) -> Domain | None:
    """What an entry that forces a policy leaves alone may be wider than what could align; None: there is no such entry.

    Were it a stranger's, keys that are slow on purpose would leave open whether the message is the domain's own.
    """
    if discovery is None or not settings.rules.forces:
        return None
    return cases.organization(discovery.author, discovery, settings.discovery.suffixes)


def _matters(identifier: Domain | None, discovery: Discovery | None, own: Domain | None) -> bool:
    if identifier is None or discovery is None:
        return False
    return could_align(identifier, discovery) or (own is not None and is_within(identifier, own))


def _is_heard(identifier: Domain | None, discovery: Discovery | None, own: Domain | None, rules: Rules) -> bool:
    """Whether it matters if the domain authenticates the message: to DMARC, or to a rule of the operator's."""
    return _matters(identifier, discovery, own) or (identifier is not None and rules.names_signer(identifier))


def _chain_matters(chain: arc.Chain, settings: Settings) -> bool:
    """Worth nothing here unless its newest sealer is named in the conf, or a set of our own is to say how it stood."""
    return settings.seals or (bool(chain.sets) and settings.rules.names_sealer(chain.sets[-1].signer.domain))


def identifiers_of(
    author: Domain | None, spf_result: SpfResult | None, dkim_results: Iterable[DkimResult]
) -> list[Domain]:
    """Names that authenticate, then those that would but for a DNS error or a limit (RFC 9989 4.4).

    Each part begins with the names that share most with the author's: only so many are looked at.
    """
    results = [result for result in (spf_result, *dkim_results) if result is not None and result.domain is not None]
    passed = [result.domain for result in results if result.result == "pass"]
    failed = [result.domain for result in results if result.result == "temperror"]
    cut_off = [result.domain for result in results if result.cut_off]
    parts = [sorted(part, key=lambda name: -common_labels(name, author)) for part in (passed, failed, cut_off)]
    return list(dict.fromkeys(name for part in parts for name in part if name is not None))


def names_at_mail_from(envelope: Envelope) -> list[str]:
    """Worth asking as soon as the sender is known: TXT names."""
    domain, _, _ = spf.identity(envelope)
    return [domain] if domain else []


def names_at_end_of_headers(reading: Reading, settings: Settings) -> list[str]:
    """Worth asking while the body comes in: TXT names, the most important first."""
    author = reading.author.domain
    policy_names = (
        prefetch_names(author, settings.discovery.method, settings.discovery.suffixes) if author is not None else ()
    )
    return [*policy_names, *dkim.key_names(reading.signatures, author), *arc.key_names(reading.chain)]
