"""The other way of discovery, from the answers to the one in use and without another query."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmarcmilter.dmarc import discovery_comparison
from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.dmarc.discovery_comparison import KeptAnswers, NotAskedError
from dmarcmilter.pipeline import read
from tests.support import outcomes
from tests.support.pipeline_rows import message_of
from tests.support.zone import Zone

REJECT = "v=DMARC1; p=reject"


def compared(author, zone, **found):
    evidence = outcomes.evidence(
        author, record="", zone={f"_dmarc.{name}": text for name, text in zone.items()}, **found
    )
    return outcomes.recorded(outcomes.outcome(evidence))["other_discovery"]


ROWS = {
    "the same": ("example.com", {"example.com": REJECT}, "", [], {}),
    "below, the same": ("a.b.example.com", {"example.com": REJECT}, "", [], {}),
    "no record": ("a.example.com", {}, "pass a.example.com", [], {}),
    "record below the registered domain only": (
        "mail.example.com",
        {"mail.example.com": REJECT},
        "pass example.com",
        ["organizational_domain", "result"],
        {"policy_domain": "mail.example.com", "organizational_domain": "example.com", "result": "pass"},
    ),
    "record between": (
        "a.b.example.com",
        {"b.example.com": REJECT},
        "",
        ["policy_domain", "organizational_domain", "result"],
        {"policy_domain": None, "organizational_domain": "example.com", "result": "none"},
    ),
    "psd=n of the author": (
        "mail.example.com",
        {"mail.example.com": REJECT + "; psd=n"},
        "pass mail.example.com",
        ["organizational_domain"],
        {"policy_domain": "mail.example.com", "organizational_domain": "example.com", "result": "pass"},
    ),
    "several records of the author": (
        "mail.example.com",
        {"mail.example.com": [REJECT, REJECT], "example.com": REJECT},
        "",
        ["policy_domain", "result"],
        {"policy_domain": None, "organizational_domain": "example.com", "result": "none"},
    ),
    "an identifier of an organization of its own": (
        "mail.example.com",
        {"example.com": REJECT, "lists.example.com": REJECT + "; psd=n"},
        "pass lists.example.com",
        ["result"],
        {"policy_domain": "example.com", "organizational_domain": "example.com", "result": "pass"},
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_comparison(row):
    # RFC 9989 4.10, 4.10.2; RFC 7489 6.6.3, 3.2
    author, zone, dkim, differs, values = row
    signatures = [outcomes.dkim(dkim)] if dkim else []
    assert compared(author, zone, dkim=signatures) == {"differs": differs, "method": "psl"} | values


@pytest.mark.parametrize(
    ("author", "zone", "found"),
    [
        ("a.b.example.com", {"b.example.com": REJECT + "; psd=n"}, {}),
        ("mail.example.com", {}, {"failed": ["_dmarc.example.com"]}),
        ("mail.example.com", {"mail.example.com": REJECT}, {"failed": ["_dmarc.example.com"]}),
        ("example.com", {"example.com": REJECT}, {"method": Method.PSL}),
    ],
    ids=["the walk ended below", "DNS failed", "DNS failed above a record", "the walk needs more"],
)
def test_what_another_query_would_tell_is_not_known(author, zone, found):
    assert compared(author, zone, **found) is None


def test_a_failure_of_the_top_level_domain_is_no_matter():
    assert compared("example.com", {"example.com": REJECT}, failed=["_dmarc.com"])["differs"] == []


def test_a_tree_walk_that_needs_no_more():
    found = compared("mail.example.com", {"mail.example.com": REJECT + "; psd=n"}, method=Method.PSL)
    assert (found["method"], found["differs"]) == ("treewalk", ["organizational_domain"])


def test_an_error_is_not_compared():
    """The key of the aligned signature did not come: no result to compare with."""
    zone = {"mail.example.com": REJECT}
    found = compared("mail.example.com", zone, dkim=[outcomes.dkim("temperror mail.example.com")])
    assert (found["differs"], found["result"]) == (["organizational_domain"], None)


def test_whether_the_author_exists_is_no_matter():
    zone = {"example.com": "v=DMARC1; p=reject; np=none"}
    assert compared("none.example.com", zone)["differs"] == []


@pytest.mark.parametrize("method", Method)
def test_nothing_more_is_asked(method):
    zone = Zone({"_dmarc.b.example.com": REJECT})
    mail, _ = message_of({"header": ["From: a@a.b.example.com"]})
    outcome = outcomes.processed(mail, read(mail.headers), zone, outcomes.settings(method=method))
    names = [name for name in zone.names if name.startswith("_dmarc.")]
    walked = ["a.b.example.com", "b.example.com", "example.com", "com"]
    listed = ["a.b.example.com", "example.com"]
    assert names == [f"_dmarc.{name}" for name in (walked if method is Method.TREEWALK else listed)]
    record = outcomes.recorded(outcome)["other_discovery"]
    assert (record and record["differs"]) == (
        ["policy_domain", "organizational_domain", "result"] if method is Method.TREEWALK else None
    )


def test_answers_that_were_not_asked_for_are_not_made_up():
    kept = KeptAnswers(Zone({}))
    kept("_dmarc.example.com", "TXT")
    assert kept.again("_dmarc.example.com", "TXT").missing
    with pytest.raises(NotAskedError):
        kept.again("_dmarc.example.com", "A")


NAMES = st.sampled_from(["example.com", "a.example.com", "b.example.com", "c.a.example.com", "com", "example.org"])
TEXTS = st.sampled_from(
    [REJECT, REJECT + "; psd=n", REJECT + "; psd=y", REJECT + "; adkim=s; aspf=s", "v=DMARC1; np=none", "v=spf1 -all"]
)


@given(
    author=st.sampled_from(["example.com", "a.example.com", "c.a.example.com"]),
    zone=st.dictionaries(NAMES, st.lists(TEXTS, min_size=1, max_size=2), max_size=4),
    signers=st.lists(NAMES, max_size=3),
)
def test_what_is_known_without_the_other_way_is_what_it_gives(author, zone, signers):
    found = {"dkim": [outcomes.dkim(f"pass {name}") for name in signers]}
    quick = compared(author, zone, **found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery_comparison, "_suffix_list_agrees", lambda *_: False)
        assert compared(author, zone, **found) == quick
