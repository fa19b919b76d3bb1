"""The stages of one message, in order: authenticate, evaluate, gather facts, decide, respond. Read this first."""

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from dmarcmilter.auth import arc, dkim, spf
from dmarcmilter.auth.body_hash import BodyPlan
from dmarcmilter.auth.results import AuthResults, DkimResult, SpfResult
from dmarcmilter.auth.signature_verification import BodyHasher
from dmarcmilter.dmarc import evaluation
from dmarcmilter.dmarc.alignment import could_align
from dmarcmilter.dmarc.author import Author, AuthorProblem, author_domain
from dmarcmilter.dmarc.discovery import (
    AuthorPolicy,
    Discovery,
    DiscoverySettings,
    discover,
    organizational_domains,
    prefetch_names,
    with_existence,
)
from dmarcmilter.dmarc.discovery_comparison import KeptAnswers, other_discovery
from dmarcmilter.dmarc.evaluation import DmarcWord, Evaluation
from dmarcmilter.dmarc.record import Disposition
from dmarcmilter.dns.lookup import Hint, Lookup, no_hint
from dmarcmilter.mail import message_id_hash, path
from dmarcmilter.mail.domain import Domain, LabelBudget, common_labels, is_within
from dmarcmilter.mail.message import Envelope, Header, Message
from dmarcmilter.outcome import Effort, Outcome
from dmarcmilter.policy import client_names, quarantine_method, sampling_draws
from dmarcmilter.policy import decision as policy
from dmarcmilter.policy import facts as facts_of
from dmarcmilter.policy.decision import Decision, Deferral, Wanted
from dmarcmilter.policy.deferral_times import BROKEN, Deferrals
from dmarcmilter.policy.facts import Facts
from dmarcmilter.policy.quarantine_method import QuarantineSettings
from dmarcmilter.policy.recipients.registry import NOBODY_ASKED, RecipientChoices
from dmarcmilter.policy.rules import QuarantineAction, Rules
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.response.actions import Response
from dmarcmilter.response.plan import ResponseSettings, respond
from dmarcmilter.value import Value, field, replace, representation_without


class FactSources(Value):
    """Sources of facts that are not in the message itself."""

    sampling_key: bytes
    """Key of the draws for pct and rollout_percent, and of the hashes of Message-IDs."""
    recipients: RecipientChoices = NOBODY_ASKED
    deferrals: Deferrals | None = None
    """Record of deferred messages; None: no message was ever deferred."""

    def __repr__(self) -> str:
        return representation_without(self, "sampling_key")


class Settings(Value):
    """The part of one configuration that the stages need, a value for each. Frozen; a reload makes a new one."""

    host_name: str
    """Name of the receiving host, for SPF macros."""
    discovery: DiscoverySettings
    rules: Rules
    facts: FactSources
    quarantine: QuarantineSettings
    response: ResponseSettings
    seals: bool = False
    """Messages may be sealed. Then the ARC chain of every message has to be verified."""

    @property
    def needs_recipients(self) -> bool:
        """Whether a stage looks at the recipients of the message."""
        is_redirected = self.rules.quarantine_action is QuarantineAction.REDIRECT
        return self.facts.recipients.configured or self.rules.needs_recipients or is_redirected


class Authenticated(Value):
    """Result of stage 1: the results of authentication, and the policy that they are evaluated against."""

    results: AuthResults
    author_policy: AuthorPolicy


class Gathered(Value):
    """Result of stage 3: the facts, and the handling that the rules want because of them."""

    facts: Facts
    wanted: Wanted


class Reading(Value):
    """The header as it was read. Made at the end of the header, so that the body can be hashed while it arrives."""

    author: Author
    signatures: tuple[dkim.ReadSignature, ...]
    chain: arc.Chain
    body: BodyHasher
    labels: LabelBudget = field(default_factory=LabelBudget)
    """Budget of IDNA mapping for all names in the header."""


def read(
    headers: Sequence[Header],
    *,
    truncated: str = "",
    further_hashes: Collection[BodyPlan] = (),
    mta_rewrites: bool = False,
) -> Reading:
    """Read the header: its Author Domain, its signatures and its ARC chain.

    `truncated` names the limit that cut the header short: a From field may be among those that were not kept.
    `further_hashes`: body hashes to make beside those that the signatures need. `mta_rewrites`: the MTA may write the
    From field anew when it delivers the message, as Sendmail does.
    """
    labels = LabelBudget()
    with labels:
        author = author_domain(headers, rewrites=mta_rewrites)
        if truncated:
            reason = Reason.of(Code.HEADER_EXCEEDS_LIMIT, limit=truncated)
            author = Author(None, AuthorProblem.MALFORMED, author.domains, reason=reason, unread=True)
        signatures = dkim.read(headers, author.domain)
        chain = arc.read(headers)
    plans = dkim.plans(signatures) | arc.plans(chain)
    return Reading(author, signatures, chain, BodyHasher(plans.union(further_hashes)), labels)


def process(
    message: Message,
    reading: Reading,
    lookup: Lookup,
    settings: Settings,
    *,
    authserv_id: str,
    hint: Hint = no_hint,
    unaligned: Lookup | None = None,
    effort: Callable[[], Effort] = Effort,
) -> tuple[Outcome, Response]:
    """Take one message through all stages, each of them once, each with the results of those before it.

    `authserv_id` is the name in our Authentication-Results. `unaligned` looks up names that cannot change what is done
    with the message, and may give up earlier than `lookup`. `effort` tells what the evaluation has cost so far.
    """
    # The envelope's names have a label budget of their own, so that no header can use up that of the recipients. The
    # search for forged fields in stage 5 has its own limit.
    with LabelBudget():
        authenticated = authenticate(message, reading, lookup, settings, hint=hint, unaligned=unaligned or lookup)
        evaluation = evaluate(message, authenticated, settings)
        gathered = gather_facts(message, reading, authenticated.results, evaluation, lookup=lookup, settings=settings)
        decision = decide(message, gathered, settings)
        outcome = Outcome(
            message,
            None if path.is_null(message.envelope.mail_from) else spf.identity(message.envelope)[0],
            authenticated.results,
            evaluation,
            decision,
            settings.rules.mode,
            gathered.facts,
            effort(),
            message_id_hash=message_id_hash.of_message(message, settings.facts.sampling_key),
        )
    return outcome, respond(
        outcome, authserv_id=authserv_id, settings=settings.response, quarantine=settings.quarantine
    )


def authenticate(
    message: Message, reading: Reading, lookup: Lookup, settings: Settings, *, hint: Hint, unaligned: Lookup
) -> Authenticated:
    """Verify SPF, DKIM and ARC, and discover the Author Domain's policy. Makes all DNS queries except client names.

    The order protects the DNS budget: the Author Domain's policy first, then the names that could align with it, then
    the others. The sender chooses the names in signatures, seals and the SPF record, and may make each of them slow.
    Slow names must not use up the budget before the policy and all that may be aligned are known, and a message whose
    result is known need not wait for keys that do not change it. (SPF gets its time in any case: RFC 7208 4.6.4.)
    """
    now = int(message.envelope.received_at.timestamp())
    bodies = reading.body.finish()
    answers = KeptAnswers(lookup)
    discovery = _discover(reading.author.domain, answers, settings)
    own = _own_to_rules(discovery, settings)
    may_align = functools.partial(_may_align, discovery=discovery, own=own)
    identity = spf.identity(message.envelope)
    check_spf = functools.partial(
        spf.check, message.envelope, lookup, receiver=settings.host_name, hint=hint, checked=identity
    )
    spf_result = check_spf() if may_align(identity[0]) else None
    matters = functools.partial(_matters, discovery=discovery, own=own, rules=settings.rules)
    dkim_results = dkim.verify(
        reading.signatures, message.headers, bodies, lookup, now, first=matters, unaligned=unaligned
    )
    organizational: Mapping[Domain, Domain | None] = {}
    identifiers = identifiers_of(reading.author.domain, spf_result, dkim_results)
    if discovery is not None:
        organizational = organizational_domains(identifiers, discovery, lookup, suffixes=settings.discovery.suffixes)
    sealers = lookup if _chain_matters(reading.chain, settings) else unaligned
    arc_result = arc.verify(reading.chain, message.headers, bodies, sealers, now)
    if spf_result is None:
        spf_result = check_spf()
        identifiers = identifiers_of(reading.author.domain, spf_result, dkim_results)
    other = None
    if discovery is not None:
        other = other_discovery(discovery, organizational, identifiers, answers, settings.discovery.suffixes)
    return Authenticated(
        AuthResults(spf_result, dkim_results, arc_result),
        AuthorPolicy(reading.author, discovery, organizational, other),
    )


def evaluate(message: Message, authenticated: Authenticated, settings: Settings) -> Evaluation:
    """Evaluate the results against the policy: the DMARC result and the requested disposition. Pure."""
    pct_draw = functools.partial(_pct_draw, envelope=message.envelope, settings=settings)
    return evaluation.evaluate(
        authenticated.results,
        authenticated.author_policy,
        honor_pct=settings.discovery.honor_pct,
        pct_draw=pct_draw,
    )


def gather_facts(
    message: Message,
    reading: Reading,
    auth: AuthResults,
    evaluation: Evaluation,
    *,
    lookup: Lookup,
    settings: Settings,
) -> Gathered:
    """Gather the facts that the rules look at, and the handling that the rules want because of them.

    The client's names, the recipients' choices and earlier deferrals cost queries, so they are looked up only for
    messages that would not simply be delivered. A trusted client name softens the handling, so the names are looked up
    as soon as the message is known to fail a policy; with an open result, only when the message is not deferred.
    """
    rules = settings.rules
    facts = facts_of.of_message(message, auth, evaluation.author)
    if not _may_act(evaluation, rules):
        return Gathered(facts, policy.NOTHING_WANTED)
    with reading.labels:
        facts = _with_details(facts, message, auth, evaluation, settings)
    assessment = evaluation.assessment
    if evaluation.result is DmarcWord.FAIL and assessment is not None and assessment.requested is not Disposition.NONE:
        facts = _with_client_names(facts, lookup, rules)
    wanted = policy.wanted(facts, rules, evaluation)
    if not wanted.acts(rules):
        return Gathered(facts, wanted)
    facts = _with_exempt(facts, message.envelope, settings.facts.recipients)
    if wanted.deferral is Deferral.YES and settings.facts.deferrals is not None:
        facts = _with_deferral(facts, message, settings.facts.deferrals)
        wanted = policy.with_deferral(wanted, facts, rules)
    is_open = evaluation.result is DmarcWord.TEMPERROR and wanted.deferral is not Deferral.YES
    if is_open and wanted.acts(rules):
        facts = _with_client_names(facts, lookup, rules)
        wanted = policy.with_client_names(wanted, facts, rules)
    return Gathered(facts, wanted)


def decide(message: Message, gathered: Gathered, settings: Settings) -> Decision:
    """Decide how the message is handled, how it would be under full enforcement, and how it is quarantined. Pure."""
    decision = policy.decide(gathered.wanted, gathered.facts, settings.rules)
    return quarantine_method.with_method(decision, message, settings.quarantine)


def _may_act(evaluation: Evaluation, rules: Rules) -> bool:
    """Whether a rule may do anything other than deliver the message."""
    if evaluation.result is DmarcWord.NONE:
        return rules.forces
    return evaluation.result is not DmarcWord.PASS or bool(evaluation.unsigned_duplicates)


def _with_details(
    facts: Facts, message: Message, auth: AuthResults, evaluation: Evaluation, settings: Settings
) -> Facts:
    """Add the facts that need no query, only time to read, which a message that is simply delivered is spared."""
    author, discovery, suffixes = facts.author, evaluation.discovery, settings.discovery.suffixes
    organization = None
    if settings.rules.forces and author is not None:
        organization = facts_of.organization(author, discovery, suffixes)
    hops = facts_of.hops(auth.arc, author)
    return replace(
        facts,
        list_ids=facts_of.list_ids(message),
        list_traces=facts_of.list_traces(message),
        organization=organization,
        hops=hops,
        arc_origin=facts_of.arc_origin(auth.arc) if any(hop.vouches for hop in hops) else None,
        likely_aligned=facts_of.likely_aligned(author, evaluation.possibly_aligned, suffixes),
        rollout_draw=_rollout_draw(message.envelope, evaluation, settings),
    )


def _with_client_names(facts: Facts, lookup: Lookup, rules: Rules) -> Facts:
    """Add the client's confirmed names, if a rule trusts clients by name."""
    if not rules.forwarder_names or facts.client_ip is None:
        return facts
    return replace(facts, client_names=client_names.confirmed(facts.client_ip, rules.forwarder_names, lookup))


def _with_exempt(facts: Facts, envelope: Envelope, recipients: RecipientChoices) -> Facts:
    return replace(facts, exempt=recipients.exempt(envelope.recipients, incomplete=envelope.more_recipients))


def _with_deferral(facts: Facts, message: Message, deferrals: Deferrals) -> Facts:
    deferred_for = deferrals.since(message)
    if deferred_for == BROKEN:
        return replace(facts, deferral_unrecorded=True)
    return replace(facts, deferred_for=deferred_for)


def _pct_draw(discovery: Discovery, envelope: Envelope, settings: Settings) -> int:
    organization = facts_of.sampled_organization(discovery.author, discovery, settings.discovery.suffixes)
    return sampling_draws.pct_draw(organization, envelope.client_ip, envelope.received_at, settings.facts.sampling_key)


def _rollout_draw(envelope: Envelope, evaluation: Evaluation, settings: Settings) -> int:
    suffixes = settings.discovery.suffixes
    organizations = [
        facts_of.sampled_organization(author, evaluation.discovery, suffixes) for author in evaluation.author.domains
    ]
    return sampling_draws.rollout_draw(
        organizations, envelope.client_ip, envelope.received_at, settings.facts.sampling_key
    )


def _discover(author: Domain | None, lookup: Lookup, settings: Settings) -> Discovery | None:
    if author is None:
        return None
    return with_existence(
        discover(author, lookup, method=settings.discovery.method, suffixes=settings.discovery.suffixes), lookup
    )


def _own_to_rules(discovery: Discovery | None, settings: Settings) -> Domain | None:
    """The organization whose own mail an entry that forces a policy leaves alone; None: there is no such entry.

    It may be wider than the names that could align. Its keys are looked up with the budget of aligned names, so that
    slow keys of other names cannot leave open whether the message is the domain's own.
    """
    if discovery is None or not settings.rules.forces:
        return None
    return facts_of.organization(discovery.author, discovery, settings.discovery.suffixes)


def _may_align(identifier: Domain | None, discovery: Discovery | None, own: Domain | None) -> bool:
    """Whether the domain could align with the Author Domain, or is its own by an entry that forces a policy."""
    if identifier is None or discovery is None:
        return False
    return could_align(identifier, discovery) or (own is not None and is_within(identifier, own))


def _matters(identifier: Domain | None, discovery: Discovery | None, own: Domain | None, rules: Rules) -> bool:
    """Whether DMARC, or a rule of the operator, depends on whether the domain authenticates the message."""
    return _may_align(identifier, discovery, own) or (identifier is not None and rules.names_signer(identifier))


def _chain_matters(chain: arc.Chain, settings: Settings) -> bool:
    """Whether the chain's result is needed: a rule names its newest sealer, or our own ARC Set records the result."""
    return settings.seals or (bool(chain.sets) and settings.rules.names_sealer(chain.sets[-1].signer.domain))


def identifiers_of(
    author: Domain | None, spf_result: SpfResult | None, dkim_results: Iterable[DkimResult]
) -> list[Domain]:
    """Authenticated Identifiers, then the domains that a DNS error or a limit left open (RFC 9989 4.4).

    Each part begins with the names that share most labels with the Author Domain, because the number of names whose
    Organizational Domain is looked up is limited (MAX_IDENTIFIERS).
    """
    results = [result for result in (spf_result, *dkim_results) if result is not None and result.domain is not None]
    passed = [result.domain for result in results if result.result == "pass"]
    failed = [result.domain for result in results if result.result == "temperror"]
    cut_off = [result.domain for result in results if result.cut_off]
    names: dict[Domain, None] = {}
    for part in (passed, failed, cut_off):
        if len(part) > 1:
            part.sort(key=lambda name: -common_labels(name, author))
        names.update(dict.fromkeys([name for name in part if name is not None]))
    return list(names)


def names_at_mail_from(envelope: Envelope) -> list[str]:
    """TXT names to look up in advance as soon as the sender is known."""
    domain, _, _ = spf.identity(envelope)
    return [domain] if domain else []


def names_at_end_of_headers(reading: Reading, settings: Settings) -> list[str]:
    """TXT names to look up in advance while the body arrives, the most important first."""
    author = reading.author.domain
    policy_names = (
        prefetch_names(author, settings.discovery.method, settings.discovery.suffixes) if author is not None else ()
    )
    return [*policy_names, *dkim.key_names(reading.signatures, author), *arc.key_names(reading.chain)]
