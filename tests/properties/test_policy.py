"""What holds for all mail and all settings, not only for the rows of cases/policy.toml and cases/overrides.toml."""

from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.dmarc.evaluation import DmarcWord
from dmarcmilter.dmarc.record import Disposition
from dmarcmilter.mail.domain import Domain
from dmarcmilter.policy.facts import ClientNames
from dmarcmilter.policy.rules import Action, EntryAction, Exempt, Mode, QuarantineAction, RejectAction
from dmarcmilter.value import replace
from tests.support import outcomes

OURS, THEIRS = "example.com", "attacker.example"
NAMES = st.sampled_from([OURS, "a.example.com", THEIRS, "l.example", "x.l.example", "com"])
AUTHENTICATED = ("dkim_domain", "spf_domain", "client", "arc_sealer")


@st.composite
def entries(draw):
    """Entries that the conf file may have."""
    entry = {
        key: draw(NAMES) for key in ("from_domain", "dkim_domain", "spf_domain", "list_id", "arc_sealer") if draw(TOSS)
    }
    if draw(TOSS):
        entry["client"] = draw(st.sampled_from(["192.0.2.0/24", "198.51.100.1"]))
    entry["action"] = str(draw(st.sampled_from(EntryAction)))
    entry["require_auth"] = draw(st.sampled_from([True, True, False]))
    if entry["action"] in ("accept", "none") and not set(entry) & set(AUTHENTICATED):
        entry["require_auth"] = False
    if len(entry) == 2:
        entry["from_domain"] = OURS
    return entry


TOSS = st.booleans()
RULES = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["enforce", "enforce", "monitor"]),
        "reject_action": st.sampled_from(list(RejectAction)),
        "quarantine_action": st.sampled_from(["hold", "header", "none"]),
        "mailing_list_traces": st.sampled_from(["quarantine", "ignore"]),
        "on_unsigned_duplicate": st.sampled_from(["accept", "quarantine"]),
        "temperror": st.sampled_from(["accept", "tempfail"]),
        "trusted_sealers": st.lists(NAMES, max_size=2),
        "trusted_hops": st.sampled_from(["newest", "all"]),
        "forwarder_networks": st.sampled_from([[], ["198.51.100.0/24"]]),
        "forwarder_names": st.lists(NAMES, max_size=1),
        "mailing_lists": st.lists(NAMES, max_size=2),
        "rollout_percent": st.integers(0, 100),
        "rollout_domains": st.lists(NAMES, max_size=1),
        "overrides": st.lists(entries(), max_size=4),
    }
)
FIELDS = st.lists(
    st.sampled_from(["List-Id: <x.l.example>", "List-Id: l.example", "List-Post: NO", "Precedence: list"]), max_size=3
)
FACTS = st.fixed_dictionaries(
    {
        "exempt": st.sampled_from([Exempt.NOBODY, Exempt.NOBODY, Exempt.SOME, Exempt.ALL]),
        "deferred_for": st.sampled_from([None, 0.0, 1e6]),
        "rollout_draw": st.integers(0, 99),
        "client_ip": st.sampled_from([None, ip_address("192.0.2.1"), ip_address("198.51.100.1")]),
        "client_names": st.sampled_from([None, ClientNames(), ClientNames((Domain("x.l.example"),))]),
    }
)
POLICIES = st.sampled_from(["none", "quarantine", "reject"])


@st.composite
def evidence(draw):
    """What SPF, DKIM and ARC may have found."""
    word = st.sampled_from(["pass", "fail", "temperror"])
    sealed = st.tuples(NAMES, st.just(f"h.example; dmarc=pass header.from={OURS}") | st.just("h.example; none"))
    return outcomes.evidence(
        record=f"v=DMARC1; p={draw(POLICIES)}" if draw(st.integers(0, 3)) else "",
        spf=outcomes.spf(f"{draw(word)} {draw(NAMES)}"),
        dkim=[outcomes.dkim(f"{draw(word)} {draw(NAMES)}") for _ in range(draw(st.integers(0, 2)))],
        arc=outcomes.arc(draw(st.sampled_from(["pass", "fail"])), draw(st.lists(sealed, max_size=3))),
    )


def decided(found, header, rules, facts):
    return outcomes.outcome(found, outcomes.message(*header), rules, **facts)


EXAMPLES = settings(max_examples=150, deadline=None)


@given(RULES, FIELDS, POLICIES, st.sampled_from([QuarantineAction.HOLD, QuarantineAction.HEADER]), FACTS)
@EXAMPLES
def test_nothing_that_anyone_can_write_lets_a_forgery_through(words, header, published, quarantine, facts):
    """Without an authenticated identifier, seal, network or confirmed name: at most from reject to quarantine."""
    entries = [entry | {"require_auth": True} for entry in words["overrides"]]
    entries = [
        entry for entry in entries if entry["action"] in ("quarantine", "reject") or set(entry) & set(AUTHENTICATED)
    ]
    rules = outcomes.rules(
        **words | {"mode": "enforce", "reject_action": "reject", "rollout_percent": 100, "rollout_domains": []},
    )
    known = replace(rules, quarantine_action=quarantine, overrides=outcomes.rules(overrides=entries).overrides)
    stranger = {"exempt": Exempt.NOBODY, "client_ip": ip_address("203.0.113.9"), "client_names": ClientNames()}
    found = outcomes.evidence(
        record=f"v=DMARC1; p={published}",
        spf=outcomes.spf(f"fail {OURS}"),
        dkim=[outcomes.dkim(f"fail {OURS}")],
        arc=outcomes.arc("fail", [("l.example", f"l.example; dmarc=pass header.from={OURS}")]),
    )
    decision = decided(found, header, known, facts | stranger).decision
    if published != "none":
        assert decision.disposition is not Disposition.NONE


@st.composite
def lookups_that_the_sender_chose(draw):
    """A forgery From the victim's organization, with failed lookups, and authentication of strangers' names alone."""
    author = draw(st.sampled_from([OURS, "lame.example.com", "x.lame.example.com"]))
    ours = st.sampled_from([OURS, author, "old.example.com", "lame.example.com"])
    words = st.one_of(
        st.builds("temperror {}".format, ours),
        st.builds("fail {}".format, ours),
        st.builds("{} {}".format, st.sampled_from(["pass", "temperror"]), st.just(THEIRS)),
    )
    names = [f"_dmarc.{name}" for name in (author, "lame.example.com", "old.example.com") if name != OURS]
    return outcomes.evidence(
        author=author,
        record=f"v=DMARC1; p={draw(st.sampled_from(['quarantine', 'reject']))}",
        failed=[name for name in [*names, author] if draw(TOSS)],
        spf=outcomes.spf(draw(words)),
        dkim=[outcomes.dkim(draw(words)) for _ in range(draw(st.integers(0, 3)))],
        method=draw(st.sampled_from(list(Method))),
    )


@given(
    lookups_that_the_sender_chose(),
    FIELDS,
    st.sampled_from(["accept", "tempfail"]),
    st.sampled_from([None, 0.0, 1e6]),
    TOSS,
)
@EXAMPLES
def test_no_failed_lookup_lets_a_forgery_through(found, header, temperror, deferred_for, unrecorded):
    """With p=quarantine or p=reject: held or deferred; refused only where no lookup that matters failed."""
    rules = outcomes.rules(temperror=temperror, defer={"cap": 3600.0})
    facts = {"client_ip": None, "deferred_for": deferred_for, "deferral_unrecorded": unrecorded}
    outcome = decided(found, header, rules, facts)
    decision = outcome.decision
    assert decision.action is not Action.ACCEPT
    if outcome.evaluation.result is DmarcWord.TEMPERROR:
        over = unrecorded or (deferred_for is not None and deferred_for >= 3600)
        deferred = temperror == "tempfail" and not over
        assert decision.action is (Action.TEMPFAIL if deferred else Action.QUARANTINE)


@given(RULES, FIELDS, evidence(), FACTS)
@EXAMPLES
def test_a_pass_is_delivered(words, header, found, facts):
    outcome = decided(found, header, outcomes.rules(**words), facts)
    if outcome.evaluation.result is DmarcWord.PASS:
        assert (outcome.decision.action, outcome.decision.would_action) == (Action.ACCEPT, Action.ACCEPT)
        assert outcome.decision.overrides == ()


@given(RULES, FIELDS, evidence(), FACTS)
@EXAMPLES
def test_monitor_never_acts_and_says_what_it_would_have_done(words, header, found, facts):
    rules = outcomes.rules(**words | {"rollout_percent": 100, "rollout_domains": []})
    facts = facts | {"exempt": Exempt.NOBODY}
    enforced = decided(found, header, replace(rules, mode=Mode.ENFORCE), facts).decision
    monitored = decided(found, header, replace(rules, mode=Mode.MONITOR), facts).decision
    assert (monitored.disposition, monitored.action) == (Disposition.NONE, Action.ACCEPT)
    assert (monitored.would_action, monitored.would_disposition) == (enforced.action, enforced.disposition)


@given(RULES, FIELDS, evidence(), FACTS, st.tuples(st.integers(0, 100), st.integers(0, 100)))
@EXAMPLES
def test_raising_rollout_percent_only_adds_enforced_messages(words, header, found, facts, percents):
    rules = outcomes.rules(**words)
    lower, higher = (
        decided(found, header, replace(rules, rollout_percent=percent), facts).decision for percent in sorted(percents)
    )
    if (lower.action, lower.disposition) != (Action.ACCEPT, Disposition.NONE):
        assert higher == lower
    assert (lower.would_action, lower.would_disposition) == (higher.would_action, higher.would_disposition)


@given(RULES, FIELDS, evidence(), FACTS)
@EXAMPLES
def test_the_first_matching_entry_decides(words, header, found, facts):
    """Alone it decides the same, whatever stands before and after it."""
    outcome = decided(found, header, outcomes.rules(**words), facts)
    hits = [override.entry for override in outcome.decision.overrides if override.entry]
    assert len(hits) <= 1
    for name in hits:
        alone = outcomes.rules(**words | {"overrides": [words["overrides"][int(name) - 1] | {"name": name}]})
        assert decided(found, header, alone, facts).decision == outcome.decision


@given(RULES, FIELDS, evidence(), FACTS)
@EXAMPLES
def test_what_is_done_and_what_would_be_differ_only_with_a_reason(words, header, found, facts):
    decision = decided(found, header, outcomes.rules(**words), facts).decision
    done, would = (decision.action, decision.disposition), (decision.would_action, decision.would_disposition)
    if done != would:
        assert done == (Action.ACCEPT, Disposition.NONE)
        assert decision.overrides[-1].reason.get("disposition")


@given(RULES, FIELDS, evidence(), FACTS)
@EXAMPLES
def test_nothing_is_stricter_than_published_but_by_a_named_domain(words, header, found, facts):
    outcome = decided(found, header, outcomes.rules(**words), facts)
    severity = list(Disposition)
    requested = outcome.evaluation.assessment.requested if outcome.evaluation.assessment else Disposition.NONE
    if severity.index(outcome.decision.would_disposition) > severity.index(requested):
        hits = [override.entry for override in outcome.decision.overrides if override.entry]
        assert "from_domain" in words["overrides"][int(hits[0]) - 1]
        assert not any(name == OURS or name.endswith("." + OURS) for name in outcome.facts.authenticated)
