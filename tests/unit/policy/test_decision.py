import itertools

import pytest

from dmarcmilter.dmarc.record import Disposition
from dmarcmilter.policy.rules import (
    Action,
    AuthorAction,
    Mode,
    QuarantineAction,
    ReasonType,
    RejectAction,
    TracesAction,
)
from tests.support import outcomes
from tests.support.policy_rows import ROWS, judged

HARSHNESS = [Disposition.NONE, Disposition.QUARANTINE, Disposition.REJECT]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_decision(row):
    outcome = judged(row)
    decision = outcome.decision
    assert (decision.disposition, decision.action) == (row["disposition"], row["action"])
    assert decision.would_action == row.get("would", row["action"])
    types = [f"{o.type}/{o.type_rfc7489}".removesuffix("/") for o in decision.overrides]
    assert types == row.get("overrides", [])
    assert row.get("comment", "") in {"", *(str(o.reason) for o in decision.overrides)}
    assert row.get("entries", []) == [o.entry for o in decision.overrides if o.entry]
    done = {"quarantine": "quarantine", "reject": "reject"}.get(decision.would_action, row["disposition"])
    assert decision.would_disposition == row.get("would_disposition", done)


def test_every_deviation_is_reported_and_nothing_else():
    # RES-23: where the disposition is not the published policy there is a reason; where it is, there is none.
    for p, mode, reject, quarantine, header in itertools.product(
        ("none", "quarantine", "reject"), Mode, RejectAction, QuarantineAction, ((), ("List-Id: a",))
    ):
        rules = outcomes.rules(mode=mode, reject_action=reject, quarantine_action=quarantine)
        found = outcomes.evidence(record=f"v=DMARC1; p={p}")
        decision = outcomes.outcome(found, outcomes.message(*header), rules).decision
        assert bool(decision.overrides) is (decision.disposition != p), (p, mode, reject, quarantine, header)


def test_list_traces_never_make_it_worse_and_never_let_it_through():
    # RES-20: whatever else is set.
    for p, reject, quarantine, traces in itertools.product(
        ("none", "quarantine", "reject"), RejectAction, QuarantineAction, TracesAction
    ):
        rules = outcomes.rules(reject_action=reject, quarantine_action=quarantine, mailing_list_traces=traces)
        found = outcomes.evidence(record=f"v=DMARC1; p={p}")
        without = outcomes.outcome(found, outcomes.message(), rules).decision
        seen = outcomes.outcome(found, outcomes.message("List-Id: <a.example>"), rules).decision
        assert HARSHNESS.index(seen.disposition) <= HARSHNESS.index(without.disposition)
        if without.disposition is not Disposition.NONE:
            assert seen.disposition is not Disposition.NONE


@pytest.mark.parametrize("action", AuthorAction)
@pytest.mark.parametrize(
    ("problem", "key"),
    [
        ("missing", "on_missing"),
        ("no-domain", "on_missing"),
        ("several-fields", "on_multiple"),
        ("several-domains", "on_multiple"),
        ("malformed", "on_malformed"),
    ],
)
def test_each_author_problem_obeys_its_own_key(problem, key, action):
    # FROM-40: the other two keys say something else.
    other = AuthorAction.ACCEPT if action is AuthorAction.REJECT else AuthorAction.REJECT
    words = dict.fromkeys(("on_missing", "on_multiple", "on_malformed"), other) | {key: action}
    decision = outcomes.outcome(outcomes.evidence(problem=problem), rules=outcomes.rules(**words)).decision
    assert decision.action == action
    assert decision.overrides == ()


def test_monitor_never_acts():
    words = {"mode": "monitor", "temperror": "tempfail"}
    for row in ROWS:
        if "truncated" in row:
            continue  # forged results that cannot be taken out are delivered in no mode
        decision = judged(row | {"rules": row.get("rules", {}) | words}).decision
        assert (decision.disposition, decision.action) == (Disposition.NONE, Action.ACCEPT)


def test_reason_types_are_those_of_the_report_schema():
    # RES-30
    assert {str(word) for word in ReasonType} == {
        "local_policy",
        "mailing_list",
        "other",
        "policy_test_mode",
        "trusted_forwarder",
    }
