import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth.results import ArcResult, ArcWord, AuthResults, DkimResult, DkimWord, SpfResult, SpfScope, SpfWord
from dmarcmilter.dmarc.author import Author, AuthorProblem
from dmarcmilter.dmarc.discovery import (
    AuthorPolicy,
    Discovery,
    Method,
    discover,
    organizational_domains,
    with_existence,
)
from dmarcmilter.dmarc.evaluation import DmarcWord, assessment_policy, evaluate
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.dmarc.record import Disposition, parse
from dmarcmilter.mail.domain import Domain
from dmarcmilter.reasons import Code, Reason, text_of
from dmarcmilter.value import replace
from tests.support.paths import CASES
from tests.support.zone import Zone

ASSESSMENTS = tomllib.loads((CASES / "assessment.toml").read_text(encoding="utf-8"))["row"]
EVALUATIONS = tomllib.loads((CASES / "evaluation.toml").read_text(encoding="utf-8"))["row"]
SUFFIXES = Suffixes.of_text("com\nnet\nexample\n")


def spf(text):
    word, name, scope = [*text.split(), "", ""][:3] if text else ("none", "", "")
    return SpfResult(SpfWord(word), Domain(name) if name else None, SpfScope(scope or "mfrom"))


def dkim(text):
    word, _, name = text.partition(" ")
    return DkimResult(DkimWord(word), Domain(name) if name else None)


def gather(row, zone):
    """As the pipeline does it."""
    results = spf(row.get("spf", "")), tuple(map(dkim, row.get("dkim", ())))
    identifiers = [result.domain for result in (results[0], *results[1]) if result.domain]
    discovery, organizational = None, {}
    if "author" in row:
        method = Method(row.get("method", "treewalk"))
        discovery = discover(row["author"], zone, method=method, suffixes=SUFFIXES)
        organizational = organizational_domains(identifiers, discovery, zone, suffixes=SUFFIXES)
    author = (
        Author(row["author"], None)
        if "author" in row
        else Author(None, AuthorProblem.MISSING, reason=Reason.of(Code.FROM_MISSING))
    )
    return AuthResults(*results, ArcResult(ArcWord.NONE)), AuthorPolicy(author, discovery, organizational)


def evaluated(row, zone):
    auth, policy = gather(row, zone)
    return evaluate(auth, policy, honor_pct=True, pct_draw=lambda _discovery: 0)


@pytest.mark.parametrize("row", EVALUATIONS, ids=lambda row: row["name"])
def test_evaluation(row):
    zone = Zone(row.get("zone", {}), row.get("failed", ()))
    auth, policy = gather(row, zone)
    if policy.discovery:
        policy = replace(policy, discovery=with_existence(policy.discovery, zone))
    evaluation = evaluate(auth, policy, honor_pct=True, pct_draw=lambda _discovery: 0)
    assert evaluation.result == row["result"]
    aligned = [f"{found.mechanism} {found.domain} {found.mode}" for found in evaluation.aligned]
    assert aligned == row.get("aligned", [])
    assert row.get("reason", "") in text_of(evaluation.reason)
    if "troubles" in row:
        assert evaluation.dns_failures == tuple(row["troubles"])
    assert bool(evaluation.dns_failures) is (evaluation.result is DmarcWord.TEMPERROR)
    if "requested" in row:
        assert evaluation.assessment.requested == row["requested"]


def test_nothing_is_guessed_while_existence_is_unknown():
    # POL-05, AMB-13
    zone = Zone({"_dmarc.example.com": "v=DMARC1; p=none; np=reject"})
    passing = evaluated({"author": "a.example.com", "spf": "pass a.example.com"}, zone)
    assert passing.result is DmarcWord.PASS
    failing = evaluated({"author": "a.example.com", "spf": "fail a.example.com"}, zone)
    assert failing.result is DmarcWord.TEMPERROR


def test_spf_without_a_name_is_no_identifier():
    row = {"author": "example.com", "spf": "pass"}
    zone = Zone({"_dmarc.example.com": "v=DMARC1; p=none"})
    assert evaluated(row, zone).result is DmarcWord.FAIL


def discovery_of(row):
    at = Domain("example.com")
    return Discovery(
        Method.TREEWALK,
        row["author"],
        record=parse(row["record"].encode()),
        policy_domain=at,
        organizational_domain=at,
        author_exists=row.get("exists"),
    )


@pytest.mark.parametrize("row", ASSESSMENTS, ids=lambda row: row["name"])
def test_assessment(row):
    found = assessment_policy(discovery_of(row), honor_pct=row.get("pct", True), draw=row.get("draw", 0))
    if row.get("none", False):
        assert found is None
        return
    assert (found.tag, found.policy, found.requested) == (row["tag"], row["policy"], row["requested"])
    assert found.test_mode is row.get("test_mode", False)
    assert found.sampled_out is row.get("sampled_out", False)
    assert bool(found.unknown) is row.get("unknown", False)


def test_assessment_without_record():
    assert assessment_policy(Discovery(Method.PSL, Domain("example.com")), honor_pct=True, draw=0) is None


@given(st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_pct_is_the_share_that_is_selected(pct):
    # POL-08
    discovery = discovery_of({"author": "example.com", "record": f"v=DMARC1; p=reject; pct={pct}"})
    found = [assessment_policy(discovery, honor_pct=True, draw=draw) for draw in range(100)]
    assert sum(assessment.requested is Disposition.REJECT for assessment in found) == pct
    assert all(assessment.sampled_out is (assessment.requested is Disposition.QUARANTINE) for assessment in found)


NAMES = st.sampled_from(["example.com", "a.example.com", "evil.com", "evil.net"])
SPF = st.tuples(st.sampled_from(list(SpfWord)), NAMES).map(" ".join)
DKIM = st.lists(st.tuples(st.sampled_from(list(DkimWord)), NAMES).map(" ".join), max_size=4)


@given(
    SPF, DKIM, st.sampled_from(["temperror evil.com", "temperror x.evil.net", "permerror evil.net", "fail evil.com"])
)
@settings(max_examples=150, deadline=None)
def test_a_strangers_signature_never_changes_the_result(spf_text, signatures, added):
    # RES-11
    zone = Zone({"_dmarc.example.com": "v=DMARC1; p=reject"})
    row = {"author": "example.com", "spf": spf_text, "dkim": signatures}
    before = evaluated(row, zone)
    after = evaluated(row | {"dkim": [*signatures, added]}, zone)
    assert (after.result, after.reason, after.dns_failures) == (before.result, before.reason, before.dns_failures)
