"""Messages, results of authentication and whole outcomes for tests, from a few words each."""

import json
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

import msgspec

from dmarcmilter.auth.results import (
    ArcResult,
    ArcSet,
    ArcWord,
    AuthResults,
    DkimResult,
    DkimWord,
    SpfResult,
    SpfScope,
    SpfWord,
)
from dmarcmilter.config import override_entries
from dmarcmilter.dmarc.author import Author, AuthorProblem
from dmarcmilter.dmarc.discovery import (
    AuthorPolicy,
    DiscoverySettings,
    Method,
    discover,
    organizational_domains,
    with_existence,
)
from dmarcmilter.dmarc.discovery_comparison import KeptAnswers, other_discovery
from dmarcmilter.dmarc.evaluation import evaluate
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.message import Envelope, Header, Message
from dmarcmilter.outcome import Outcome
from dmarcmilter.outcome_record import decoded, encoded
from dmarcmilter.pipeline import Authenticated, FactSources, Settings, process
from dmarcmilter.policy import decision as policy
from dmarcmilter.policy import facts
from dmarcmilter.policy.quarantine_method import QuarantineSettings
from dmarcmilter.policy.recipients.registry import NOBODY_ASKED
from dmarcmilter.policy.rules import (
    Action,
    AuthorAction,
    DeferralRules,
    DuplicateAction,
    Mode,
    OnTemperror,
    QuarantineAction,
    RejectAction,
    Rules,
    TracesAction,
    TrustedHops,
)
from dmarcmilter.reasons.recorded import recognized
from dmarcmilter.receiver import MessageLimits, Receiver, SkipSettings
from dmarcmilter.response.plan import ResponseSettings
from dmarcmilter.response.reply_templates import ReplyTexts
from dmarcmilter.value import replace
from tests.support.zone import Zone

CHANNEL = QuarantineSettings(
    method=QuarantineAction.HOLD,
    header_name="X-DMARC-Quarantine",
    header_value="yes",
    subject_tag="[Suspected forgery]",
    mailbox="",
    record_recipients=False,
)


def settings(**changes):
    """Settings of the pipeline with these values, wherever in it they belong."""
    values = {"rules": RULES, "quarantine": CHANNEL, "host_name": "mx.example.net", "seals": False} | changes
    discovery = DiscoverySettings(
        values.pop("method", Method.TREEWALK), values.pop("suffixes", SUFFIXES), values.pop("honor_pct", True)
    )
    facts = FactSources(
        values.pop("sampling_key", bytes(32)),
        values.pop("recipients", NOBODY_ASKED),
        values.pop("deferrals", None),
    )
    response = ResponseSettings(values.pop("texts", ReplyTexts("", "", "", "")), values.pop("further_ids", ()))
    return Settings(discovery=discovery, facts=facts, response=response, **values)


def receiver(settings, **changes):
    """A Receiver with these settings of the pipeline; its limits are small, for hostile input."""
    values = {
        "sealer": None,
        "redaction_key": b"",
        "authserv_id": "",
        "skipping": SkipSettings(authenticated=True, networks=(), trusted_networks=()),
        "limits": MessageLimits(60, 20_000, dns_seconds=20.0, dns_queries=150, unaligned_dns_seconds=3.0),
        "on_internal_error": Action.TEMPFAIL,
    }
    return Receiver(settings, **values | changes)


SUFFIXES = Suffixes.of_text("com\nnet\norg\nexample\n")
RECEIVED_AT = datetime(2027, 1, 15, 8, 0, 0, 123456, tzinfo=UTC)


def envelope(**changes):
    defaults = {
        "queue_id": "4ABC",
        "received_at": RECEIVED_AT,
        "client_ip": ip_address("192.0.2.1"),
        "client_name": "mta.example.net",
        "helo": b"mta.example.net",
        "mail_from": b"sender@bounce.example.com",
    }
    return Envelope(**defaults | changes)


def fields(*lines):
    """Header fields from "Name: value" lines."""
    pairs = (line.encode("utf-8", "surrogateescape").partition(b":") for line in lines)
    return tuple(Header(name, value) for name, _, value in pairs)


def message(*lines, **changes):
    return Message(envelope(**changes), fields(*lines), size=1000)


RULES = Rules(
    mode=Mode.ENFORCE,
    reject_action=RejectAction.REJECT,
    quarantine_action=QuarantineAction.HOLD,
    mailing_list_traces=TracesAction.QUARANTINE,
    temperror=OnTemperror.ACCEPT,
    on_missing=AuthorAction.REJECT,
    on_multiple=AuthorAction.REJECT,
    on_malformed=AuthorAction.REJECT,
    trusted_sealers=frozenset(),
)

_RULE_TYPES = {
    "mode": Mode,
    "reject_action": RejectAction,
    "quarantine_action": QuarantineAction,
    "mailing_list_traces": TracesAction,
    "temperror": OnTemperror,
    "on_missing": AuthorAction,
    "on_multiple": AuthorAction,
    "on_malformed": AuthorAction,
    "on_unsigned_duplicate": DuplicateAction,
    "trusted_sealers": lambda names: frozenset(map(Domain, names)),
    "trusted_hops": TrustedHops,
    "forwarder_networks": lambda texts: tuple(map(ip_network, texts)),
    "forwarder_names": lambda names: tuple(map(Domain, names)),
    "mailing_lists": lambda names: tuple(map(Domain, names)),
    "rollout_percent": int,
    "rollout_domains": lambda names: tuple(map(Domain, names)),
    "overrides": lambda found: override_entries.parsed(
        [msgspec.convert(entry, override_entries.OverrideEntry) for entry in found]
    ),
    "defer": lambda words: DeferralRules(**{k: v if k == "cap" else OnTemperror(v) for k, v in words.items()}),
}


def rules(**words):
    """Differences from RULES, in the words of the conf file."""
    typed = {name: _RULE_TYPES[name](word) for name, word in words.items()}
    return replace(RULES, **typed)


def spf(text="none"):
    """`result [domain [scope]]`"""
    word, name, scope = [*text.split(), "", ""][:3]
    return SpfResult(SpfWord(word), Domain(name) if name else None, SpfScope(scope or "mfrom"))


def dkim(text):
    """`result domain [unsigned,duplicates]`"""
    word, name, names = [*text.split(), "", ""][:3]
    duplicates = tuple(names.split(",")) if names else ()
    return DkimResult(DkimWord(word), Domain(name) if name else None, unsigned_duplicates=duplicates)


def arc(word, sets=()):
    """sets: (sealer, results) newest first."""
    found = tuple(
        ArcSet(len(sets) - number, Domain(sealer), "s1", results.encode())
        for number, (sealer, results) in enumerate(sets)
    )
    reason = recognized("seal mismatch") if word == "fail" else None
    return ArcResult(ArcWord(word), found, 0 if found else None, reason)


def evidence(author="example.com", problem="", record="v=DMARC1; p=reject", zone=None, **found):
    """As the pipeline gathers it, from results instead of a message. `author=None` with a problem."""
    spf_result = found.get("spf") or spf()
    dkim_results = tuple(found.get("dkim", ()))
    arc_result = found.get("arc") or arc("none")
    results = AuthResults(spf_result, dkim_results, arc_result)
    if problem:
        domains = tuple(map(Domain, found.get("domains", ())))
        reason = recognized(f"{problem} From field")
        who = Author(None, AuthorProblem(problem), domains, reason=reason, unread=found.get("unread", False))
        return Authenticated(results, AuthorPolicy(who, None, {}))
    records = {"_dmarc.example.com": record} if record else {}
    lookup = KeptAnswers(Zone(records | (zone or {}), found.get("failed", ())))
    discovery = discover(Domain(author), lookup, method=found.get("method", Method.TREEWALK), suffixes=SUFFIXES)
    discovery = with_existence(discovery, lookup)
    names = [result.domain for result in (spf_result, *dkim_results) if result.domain]
    organizational = organizational_domains(names, discovery, lookup, suffixes=SUFFIXES)
    other = other_discovery(discovery, organizational, names, lookup, SUFFIXES)
    who = Author(Domain(author), None)
    return Authenticated(results, AuthorPolicy(who, discovery, organizational, other))


def outcome(found=None, mail=None, rules=RULES, *, draw=0, mail_from_domain="bounce.example.com", **changes):
    """From authentication to the decision, as pipeline.process goes. `changes`: facts beside those of the message."""
    found = found or evidence()
    mail = mail or message()
    evaluation = evaluated(found, draw=draw)
    likely = facts.likely_aligned(evaluation.author.domain, evaluation.possibly_aligned, SUFFIXES)
    known = facts_about(mail, found, **{"likely_aligned": likely} | changes)
    decision = policy.decide(policy.wanted(known, rules, evaluation), known, rules)
    domain = Domain(mail_from_domain) if mail_from_domain else None
    return Outcome(mail, domain, found.results, evaluation, decision, rules.mode, known)


def processed(mail, reading, lookup, settings, **options):
    """The outcome of a message that goes through the whole pipeline."""
    made, _ = process(mail, reading, lookup, settings, authserv_id="mx.example.net", **options)
    return made


def recorded(made):
    """The record of an outcome as plain JSON values, as a line of the journal holds them."""
    return json.loads(encoded(made.record()))


def read(values):
    """A record from plain JSON values, as a reader of the journal has it."""
    return decoded(json.dumps(values).encode())


def evaluated(found, draw=0):
    return evaluate(found.results, found.author_policy, honor_pct=True, pct_draw=lambda _discovery: draw)


def facts_about(mail, found, **changes):
    """The facts of a message that fails, and `changes`: what else the pipeline may have gathered."""
    author, discovery, arc_result = found.author_policy.author, found.author_policy.discovery, found.results.arc
    known = facts.of_message(mail, found.results, author)
    return replace(
        known,
        **{
            "list_ids": facts.list_ids(mail),
            "list_traces": facts.list_traces(mail),
            "organization": facts.organization(author.domain, discovery, SUFFIXES) if author.domain else None,
            "hops": facts.hops(arc_result, author.domain),
            "arc_origin": facts.arc_origin(arc_result),
        }
        | changes,
    )
