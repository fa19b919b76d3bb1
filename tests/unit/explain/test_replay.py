"""Records judged again: by the same rules the same, by others as those rules say."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.explain import replay, replay_comparison
from dmarcmilter.explain.replay import Effect, Gap, Terms
from dmarcmilter.explain.replay_comparison import ReplayTally, Span
from dmarcmilter.policy.rules import (
    Action,
    AuthorAction,
    DuplicateAction,
    Mode,
    OnTemperror,
    QuarantineAction,
    RejectAction,
    TracesAction,
)
from dmarcmilter.value import replace
from tests.support import journals, outcomes, pipeline_rows, policy_rows

SPAN = Span(datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 2, 1, tzinfo=UTC))
SEALED = [("hop.example", "hop.example; dmarc=pass header.from=example.com")]


def terms(rules=outcomes.RULES, **changes):
    return replace(Terms(rules, Method.TREEWALK, honor_pct=True, suffixes=outcomes.SUFFIXES), **changes)


def written(record):
    """As it comes out of the journal."""
    return json.loads(json.dumps(record))


def judged_again(record, of_terms):
    """Of a record as plain JSON values."""
    return replay.decide_again(outcomes.read(record), of_terms)


def words(decision):
    return [str(w) for w in (decision.action, decision.disposition, decision.would_action, decision.would_disposition)]


def recorded(record):
    return [record[name] for name in ("action", "disposition", "would", "would_disposition")]


def drawn(outcome, draw):
    """The number drawn for pct stands in the record, as the pipeline puts it there."""
    return replace(outcome, evaluation=replace(outcome.evaluation, pct_draw=draw))


@pytest.mark.parametrize("row", policy_rows.ROWS, ids=lambda row: row["name"])
def test_the_same_rules_decide_the_same(row):
    outcome = drawn(policy_rows.judged(row), row.get("draw", 0))
    record = written(outcomes.recorded(outcome))
    # The rows put some facts into the case alone, not into the message and its SPF result as the pipeline does.
    record["spf"]["scope"] = "mfrom" if outcome.message.envelope.mail_from else "helo"
    record["client_ip"] = str(outcome.facts.client_ip) if outcome.facts.client_ip else None
    rules = outcomes.rules(**row.get("rules", {}))
    judgement = judged_again(record, terms(rules))
    if "recipients" in row and words(judgement.decision) != recorded(record):
        assert Gap.RECIPIENTS in judgement.gaps
        return
    assert words(judgement.decision) == recorded(record)
    # Where a chain began is told in the comment and recorded nowhere else.
    comments = [found["comment"].partition(" remote-ip")[0] for found in record["overrides"]]
    assert [str(found.reason) for found in judgement.decision.overrides] == comments


@pytest.mark.parametrize("row", pipeline_rows.ROWS, ids=lambda row: row["name"])
def test_the_same_rules_decide_the_same_about_whole_messages(row):
    outcome, _ = pipeline_rows.processed(row)
    record = written(outcomes.recorded(outcome))
    rules, method = outcomes.rules(**row.get("rules", {})), Method(row.get("method", "treewalk"))
    judgement = judged_again(record, terms(rules, method=method))
    assert words(judgement.decision) == recorded(record)
    assert judgement.gaps == ()


@pytest.mark.parametrize("lines", pipeline_rows.CUT_OFF.values(), ids=pipeline_rows.CUT_OFF)
@pytest.mark.parametrize("entries", [[], [{"action": "reject", "from_domain": "example.com"}]], ids=["policy", "entry"])
def test_the_same_rules_decide_the_same_beyond_a_limit(lines, entries):
    zone = {} if entries else pipeline_rows.REJECT
    row = {"header": [*lines, *pipeline_rows.FROM], "zone": zone, "rules": {"overrides": entries}}
    record = written(outcomes.recorded(pipeline_rows.processed(row)[0]))
    judgement = judged_again(record, terms(outcomes.rules(**row["rules"])))
    assert words(judgement.decision) == recorded(record)


RULES = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(list(Mode)),
        "reject_action": st.sampled_from(list(RejectAction)),
        "quarantine_action": st.sampled_from([QuarantineAction.HOLD, QuarantineAction.HEADER, QuarantineAction.NONE]),
        "mailing_list_traces": st.sampled_from(list(TracesAction)),
        "temperror": st.sampled_from(list(OnTemperror)),
        "on_missing": st.sampled_from(list(AuthorAction)),
        "on_unsigned_duplicate": st.sampled_from(list(DuplicateAction)),
        "rollout_percent": st.integers(0, 100),
        "trusted_sealers": st.sampled_from([[], ["hop.example"]]),
        "mailing_lists": st.sampled_from([[], ["list.example"]]),
        "forwarder_networks": st.sampled_from([[], ["192.0.2.0/24"]]),
    }
)
RECORDS = [f"v=DMARC1; p={p}{t}" for p in ("none", "quarantine", "reject") for t in ("", "; pct=40", "; t=y")]
SIGNATURES = ["pass list.example", "fail example.com", "temperror example.com", "pass example.com subject,to"]
FOUND = st.fixed_dictionaries(
    {
        "record": st.sampled_from(
            ["", *(f"v=DMARC1; p={p}{t}" for p in ("none", "quarantine", "reject") for t in ("", "; pct=40", "; t=y"))]
        ),
        "spf": st.sampled_from(["none", "pass example.com", "pass list.example", "temperror example.com"]),
        "dkim": st.lists(st.sampled_from(SIGNATURES), max_size=2),
        "sealed": st.booleans(),
        "listed": st.booleans(),
    }
)


@settings(max_examples=150, deadline=None)
@given(before=RULES, after=RULES, found=FOUND, pct=st.integers(0, 99), rollout=st.integers(0, 99))
def test_other_rules_decide_as_they_would_have_then(before, after, found, pct, rollout):
    """What is recorded under one conf and replayed under another is what the other would have recorded."""

    def judged(rules):
        evidence = outcomes.evidence(
            record=found["record"],
            spf=outcomes.spf(found["spf"]),
            dkim=map(outcomes.dkim, found["dkim"]),
            arc=outcomes.arc("pass", SEALED) if found["sealed"] else outcomes.arc("none"),
        )
        mail = outcomes.message(*(["List-Id: <a.list.example>"] if found["listed"] else []))
        made = outcomes.outcome(evidence, mail, outcomes.rules(**rules), draw=pct, rollout_draw=rollout)
        return written(outcomes.recorded(drawn(made, pct)))

    judgement = judged_again(judged(before), terms(outcomes.rules(**after)))
    assert words(judgement.decision) == recorded(judged(after))


def test_pct_can_be_switched_off_and_on():
    evidence = outcomes.evidence(record="v=DMARC1; p=reject; pct=40")
    record = written(outcomes.recorded(drawn(outcomes.outcome(evidence, draw=60), 60)))
    assert record["action"] == "quarantine"
    assert judged_again(record, terms(honor_pct=False)).decision.action is Action.REJECT
    assert judged_again(record, terms()).decision.action is Action.QUARANTINE


def gaps(record, rules=outcomes.RULES, **changes):
    return judged_again(written(record), terms(rules, **changes)).gaps


def test_gaps():
    failing = outcomes.recorded(outcomes.outcome())
    assert gaps(failing) == ()
    assert gaps(failing, method=Method.PSL) == (Gap.DISCOVERY,)
    assert gaps(failing, outcomes.rules(forwarder_names=["a.example"])) == (Gap.CLIENT_NAME,)
    assert gaps({name: value for name, value in failing.items() if name != "draws"}) == (Gap.OLDER_VERSION,)
    none = outcomes.recorded(outcomes.outcome(outcomes.evidence(record="v=DMARC1; p=none")))
    assert gaps(none, outcomes.rules(forwarder_names=["a.example"])) == ()


def test_an_entry_for_recipients_is_named_where_it_matters():
    entry = {"name": "n", "action": "reject", "from_domain": ["example.com"], "recipient": ["b@example.net"]}
    rules = outcomes.rules(overrides=[entry])
    quarantine = outcomes.recorded(outcomes.outcome(outcomes.evidence(record="v=DMARC1; p=quarantine")))
    assert gaps(quarantine, rules) == (Gap.RECIPIENTS,)
    assert gaps(outcomes.recorded(outcomes.outcome()), rules) == ()


def test_opted_out_recipients_are_as_they_were_or_unknown():
    exempt = replay.Exempt("all")
    record = outcomes.recorded(outcomes.outcome(rules=outcomes.rules(), exempt=exempt))
    assert record["action"] == "accept"
    assert judged_again(written(record), terms()).decision.action is Action.ACCEPT
    trusted = outcomes.rules(trusted_sealers=["hop.example"])
    let_through = outcomes.recorded(
        outcomes.outcome(outcomes.evidence(arc=outcomes.arc("pass", SEALED)), rules=trusted)
    )
    assert gaps(let_through, asks_recipients=True) == (Gap.OPT_OUT,)
    assert gaps(let_through, trusted, asks_recipients=True) == ()


def test_no_policy_and_an_entry_that_forces_one():
    entry = {"name": "n", "action": "reject", "from_domain": ["example.com"], "list_id": ["a.example"]}
    record = outcomes.recorded(outcomes.outcome(outcomes.evidence(record=""), rollout_draw=None))
    assert gaps(record, outcomes.rules(overrides=[entry])) == (Gap.DETAILS,)
    del entry["list_id"]
    judgement = judged_again(written(record), terms(outcomes.rules(overrides=[entry])))
    assert (judgement.decision.action, judgement.gaps) == (Action.REJECT, ())


@pytest.mark.parametrize(
    ("action", "disposition", "word"),
    [
        ("accept", "none", "delivered"),
        ("accept", "quarantine", "marked"),
        ("quarantine", "quarantine", "held"),
        ("reject", "reject", "refused"),
        ("tempfail", "none", "deferred"),
    ],
)
def test_effect(action, disposition, word):
    assert replay.effect(action, disposition) is Effect(word)


MONITOR = outcomes.rules(mode="monitor")


def tally_of(records, rules=MONITOR):
    tally = ReplayTally(terms(rules))
    for record in records:
        tally.add(outcomes.read(record))
    return tally


def test_tally_counts_what_was_and_what_would_be():
    tally = tally_of(journals.some(30))
    assert (tally.messages, tally.unreadable) == (30, 0)
    assert tally.done[Effect.REFUSED, Effect.DELIVERED] == tally.domains["example.com"].messages[
        Effect.REFUSED, Effect.DELIVERED
    ] + sum(tally.domains["missing"].messages.values())
    assert tally.changed == sum(found.total for found in tally.domains.values())
    # Only what a trusted sealer had let through is judged otherwise: monitor changes nothing of what would be.
    assert tally.changed_would == tally.would[Effect.DELIVERED, Effect.REFUSED] == 3
    examples = tally.domains["example.com"].examples[Effect.REFUSED, Effect.DELIVERED]
    assert len(examples) == replay_comparison.MAX_EXAMPLES
    assert len(set(examples)) == len(examples)


def test_tally_is_bounded(monkeypatch):
    monkeypatch.setattr(replay_comparison, "MAX_DOMAINS", 2)
    tally = tally_of(journals.record(author_domain=f"d{n}.example") for n in range(5))
    assert {name: found.total for name, found in tally.domains.items()} == {
        "d0.example": 1,
        "d1.example": 1,
        replay_comparison.OTHERS: 3,
    }


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"dmarc": None},
        journals.record() | {"spf": []},
        journals.record() | {"client_ip": "nowhere"},
        journals.record() | {"exempt": "maybe"},
        journals.record() | {"action": "explode"},
        journals.record() | {"policy": {"p": "reject"}},
    ],
)
def test_what_is_no_outcome_is_counted(broken, tmp_path):
    journals.append(tmp_path / "j", [{"queue_id": "A", "time": journals.at(0)} | broken, journals.record()])
    tally = ReplayTally(terms(MONITOR))
    replay_comparison.of_journal([tmp_path / "j" / journals.NAME], SPAN, tally, lambda _: None)
    assert (tally.unreadable, tally.messages) == (1, 1)


def test_settled_mail_is_counted_without_being_judged():
    found = journals.record("pass")
    assert replay.is_settled(outcomes.read(found))
    assert not replay.is_settled(outcomes.read(found | {"truncated": "max_header_bytes"}))
    assert not replay.is_settled(outcomes.read(found | {"unsigned_duplicates": ["subject"]}))
    tally = ReplayTally(terms(method=Method.PSL))
    tally.add(outcomes.read(found))
    assert (tally.messages, tally.changed, tally.gaps) == (1, 0, {Gap.DISCOVERY: 1})


def test_journal_files_are_read_whole_and_within_the_span(tmp_path):
    inside, outside = journals.some(20), [journals.record(time="2027-02-01T00:00:00.000Z")]
    journals.append(tmp_path / "j", inside + outside)
    path = tmp_path / "j" / journals.NAME
    with path.open("ab") as file:
        file.write(b'{"torn\n[1]\nnull\n{"no": "time"}\n{"never ended')
    octets = []
    tally = ReplayTally(terms())
    replay_comparison.of_journal([path], SPAN, tally, octets.append)
    assert (tally.messages, tally.unreadable) == (20, 4)
    assert sum(octets) == path.stat().st_size - len(b'{"never ended')


def test_the_store_gives_what_the_journal_gives(store, tmp_path):
    from dmarcmilter.history.ingest import Ingest

    journals.append(tmp_path / "j", journals.some(40))
    Ingest(tmp_path / "j", store).once()
    from_store, from_journal = ReplayTally(terms(MONITOR)), ReplayTally(terms(MONITOR))
    with store.reading() as connection:
        replay_comparison.of_store(connection, SPAN, from_store, lambda _: None)
    replay_comparison.of_journal([tmp_path / "j" / journals.NAME], SPAN, from_journal, lambda _: None)
    assert from_store.done == from_journal.done
    assert from_store.would == from_journal.would
    assert from_store.messages == 40
    late = Span(SPAN.until, SPAN.until + timedelta(days=1))
    empty = ReplayTally(terms())
    with store.reading() as connection:
        replay_comparison.of_store(connection, late, empty, lambda _: None)
    assert empty.messages == 0
