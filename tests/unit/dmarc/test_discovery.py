import pytest

from dmarcmilter.dmarc import discovery as module
from dmarcmilter.dmarc.discovery import Method, discover, organizational_domains, prefetch_names, with_existence
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.dmarc.record_lookup import PREFIX
from dmarcmilter.mail.domain import Domain
from dmarcmilter.reasons import text_of
from dmarcmilter.value import replace
from tests.support.cases import case_table
from tests.support.zone import Zone

ROWS = case_table("discovery")["row"]
SUFFIXES = Suffixes.of_text(
    "com\norg\nnet\nuk\nco.uk\ngov.uk\nexample\n// ===BEGIN PRIVATE DOMAINS===\nhosting.example\n"
)


def find(author, zone, method="treewalk"):
    return discover(Domain(author), zone, method=Method(method), suffixes=SUFFIXES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_discovery(row):
    zone = Zone(row["zone"], row.get("failed", ()))
    found = find(row["author"], zone, row.get("method", "treewalk"))
    assert found.policy_domain == row.get("record")
    assert (found.record is None) == ("record" not in row)
    assert "p" not in row or found.record.p == row["p"]
    assert found.organizational_domain == row.get("organizational")
    assert found.assumed_organization == row.get("assumed")
    assert (row["fails"] in text_of(found.failed)) if "fails" in row else not found.failed
    assert (row["incomplete"] in text_of(found.incomplete)) if "incomplete" in row else not found.incomplete
    assert "exists" not in row or found.author_exists is row["exists"]
    assert "noted" not in row or any(row["noted"] in str(note) for note in found.notes)
    assert "asked" not in row or zone.asked == [(PREFIX + name, "TXT") for name in row["asked"]]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_what_is_prefetched_is_what_may_be_asked(row):
    zone = Zone(row["zone"], row.get("failed", ()))
    method = Method(row.get("method", "treewalk"))
    discover(row["author"], zone, method=method, suffixes=SUFFIXES)
    names = prefetch_names(row["author"], method, SUFFIXES)
    if row.get("failed"):
        assert set(zone.names) <= set(names)  # past a name that does not answer, the rest is asked from the top down
    else:
        assert names[: len(zone.names)] == tuple(zone.names)
    assert len(set(names)) == len(names) <= 8


# organizational_domains

ZONE = {
    "_dmarc.example.com": "v=DMARC1; p=reject",
    "_dmarc.dept.example.com": "v=DMARC1; p=reject; psd=n",
    "_dmarc.signing.example.com": "v=DMARC1; p=none",
}


def organizations(author, identifiers, zone, method="treewalk"):
    found = find(author, zone, method)
    zone.asked.clear()
    return organizational_domains(map(Domain, identifiers), found, zone, suffixes=SUFFIXES)


def test_identifiers_below_the_organizational_domain_are_walked():
    zone = Zone(ZONE)
    found = organizations("news.example.com", ["signing.example.com", "x.dept.example.com", "y.example.com"], zone)
    assert found == {
        "signing.example.com": "example.com",
        "x.dept.example.com": "dept.example.com",
        "y.example.com": "example.com",
    }


def test_what_is_decided_is_not_asked():
    # ALIGN-05, ALIGN-06
    zone = Zone(ZONE)
    found = organizations(
        "news.example.com", ["news.example.com", "evil.com", "evilexample.com", "com", "example.com"], zone
    )
    assert found == {"example.com": "example.com"}
    assert zone.asked == []


@pytest.mark.parametrize("text", ["v=DMARC1", "v=DMARC1; p=reject; adkim=s; aspf=s"])
def test_no_walk_without_policy_or_with_strict_alignment(text):
    # ALIGN-05
    zone = Zone({"_dmarc.example.com": text})
    assert organizations("example.com", ["a.example.com"], zone) == {}
    assert zone.asked == []


def test_no_walk_without_record_or_organizational_domain():
    assert organizations("example.com", ["a.example.com"], Zone({})) == {}
    zone = Zone({"_dmarc.a.example.com": "v=DMARC1; p=reject"}, ["_dmarc.example.com"])
    assert organizations("a.example.com", ["b.a.example.com"], zone) == {}


def test_failed_walk_is_unknown():
    zone = Zone(ZONE, ["_dmarc.a.example.com"])
    assert organizations("example.com", ["a.example.com"], zone) == {"a.example.com": None}


def test_walks_are_bounded_in_the_order_given():
    # ALIGN-07
    zone = Zone(ZONE)
    names = [f"h{number}.example.com" for number in range(module.MAX_IDENTIFIERS + 5)]
    found = organizations("example.com", ["evil.com", *names, names[0]], zone)
    assert list(found) == names[: module.MAX_IDENTIFIERS]


def test_psl_asks_nothing():
    # ALIGN-09
    zone = Zone(ZONE)
    found = organizations("example.com", ["x.dept.example.com"], zone, "psl")
    assert found == {"x.dept.example.com": "example.com"}
    assert zone.asked == []


def test_psl_public_suffix_is_aligned_with_nothing_below():
    zone = Zone({"_dmarc.hosting.example": "v=DMARC1; p=reject"})
    found = organizations("hosting.example", ["someone.hosting.example"], zone, "psl")
    assert found == {"someone.hosting.example": "someone.hosting.example"}


# with_existence

NP = "v=DMARC1; p=none; sp=none; np=reject"


def existence(author, zone, method="treewalk"):
    found = find(author, zone, method)
    zone.asked.clear()
    return with_existence(found, zone)


def test_only_nxdomain_is_non_existence():
    # POL-03, AMB-14
    zone = Zone({"_dmarc.example.com": NP, "has.example.com": {"MX": [[10, "mx.example.com"]]}})
    assert existence("no.example.com", zone).author_exists is False
    assert zone.asked == [("no.example.com", "A")]
    assert existence("has.example.com", zone).author_exists is True
    assert existence("below.no.example.com", zone).author_exists is False


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize(
    ("records", "failed"),
    [
        ({"gone.example.com": {"CNAME": ["nowhere.hosting.example"]}}, []),
        ({"gone.example.com": {"CNAME": ["empty.example"]}, "x.empty.example": "text"}, []),
        ({"gone.example.com": {"CNAME": ["dead.example"]}}, ["dead.example"]),
        ({"*.example.com": {"CNAME": ["nowhere.hosting.example"]}}, []),
    ],
    ids=["NXDOMAIN", "NODATA", "no answer", "wildcard"],
)
def test_an_alias_exists_whatever_it_leads_to(records, failed, method):
    # RFC 8020 2, RFC 6604 3
    zone = Zone({"_dmarc.example.com": NP, **records}, failed)
    assert existence("gone.example.com", zone, method).author_exists is True


@pytest.mark.parametrize("failed", [[], ["vendor.example"]], ids=["NXDOMAIN", "no answer"])
def test_a_name_with_an_alias_below_it_exists(failed):
    # RFC 8020 2: `_dmarc` below the Author Domain is an alias, wherever it leads.
    zone = Zone({"_dmarc.example.com": NP, "_dmarc.a.example.com": {"CNAME": ["vendor.example"]}}, failed)
    assert existence("a.example.com", zone).author_exists is True
    assert zone.asked == []


def test_an_empty_non_terminal_exists():
    # POL-03
    zone = Zone({"_dmarc.example.com": NP, "x.ent.example.com": "hello"})
    assert existence("ent.example.com", zone).author_exists is True


def test_existence_that_dns_does_not_tell_is_unknown():
    # POL-05
    zone = Zone({"_dmarc.example.com": NP}, ["a.example.com"])
    found = existence("a.example.com", zone)
    assert found.author_exists is None
    assert "A a.example.com: timeout" in str(found.existence_failed)


@pytest.mark.parametrize(
    "text",
    [
        "v=DMARC1; p=reject",
        "v=DMARC1; p=reject; np=reject",
        "v=DMARC1; p=none; sp=reject; np=reject",
        "v=DMARC1; np=reject",
    ],
)
def test_existence_is_asked_only_when_it_decides(text):
    # POL-05
    zone = Zone({"_dmarc.example.com": text})
    assert existence("a.example.com", zone).author_exists is None
    assert zone.asked == []


def test_existence_is_not_asked_for_a_record_at_the_author():
    zone = Zone({"_dmarc.example.com": NP})
    existence("example.com", zone)
    assert zone.asked == []


def test_existence_is_not_asked_when_known():
    # POL-06
    zone = Zone({"_dmarc.example.com": NP, "_dmarc.a.example.com": "hello"})
    assert existence("a.example.com", zone).author_exists is True
    assert zone.asked == []


@pytest.mark.parametrize(
    ("records", "failed", "exists", "types"),
    [
        ({}, [], False, ["A"]),
        ({"a.example.com": "text only"}, [], False, ["A", "AAAA", "MX"]),
        ({"a.example.com": {"AAAA": ["2001:db8::1"]}}, [], True, ["A", "AAAA"]),
        ({"a.example.com": {"MX": [[0, "."]]}}, ["a.example.com A"], True, ["A", "AAAA", "MX"]),
        ({"a.example.com": "text only"}, ["a.example.com AAAA"], None, ["A", "AAAA", "MX"]),
    ],
    ids=["nxdomain", "no address", "AAAA", "one error, one found", "one error"],
)
def test_psl_existence_is_an_address_or_an_exchanger(records, failed, exists, types):
    # POL-04
    zone = Zone({"_dmarc.example.com": NP, **records}, failed)
    found = existence("a.example.com", zone, "psl")
    assert found.author_exists is exists
    assert bool(found.existence_failed) == (exists is None)
    assert [rdtype for _, rdtype in zone.asked] == types


def test_existence_without_record():
    found = replace(find("a.example.com", Zone({})), author_exists=None)
    assert with_existence(found, Zone({})) is found
