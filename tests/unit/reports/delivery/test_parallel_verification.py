import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dmarc.discovery import Method, discover
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.dmarc.report_uri import address_of
from dmarcmilter.mail.domain import Domain
from dmarcmilter.reports.delivery.destination_verification import (
    MAX_DESTINATIONS,
    DestinationVerification,
    excluded,
    size_limit,
    verify,
)
from tests.support.cases import case_table
from tests.support.zone import Zone

CASES = case_table("destinations")["verify"]
SUFFIXES = Suffixes.of_text("com\nnet\norg\nexample\n")


def verified(domain, uri, lookup):
    def organization(name):
        return discover(name, lookup, method=Method.TREEWALK, suffixes=SUFFIXES).organizational_domain

    return verify(Domain(domain), uri, lookup, organization)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_verification(case):
    lookup = Zone(case.get("zone", {}), case.get("failed", ()))
    found = verified(case["domain"], case["uri"], lookup)
    assert found.verification is DestinationVerification(case["expect"])
    assert list(found.addresses) == case.get("to", [])
    assert found.reason if case["expect"] != "allowed" else not found.reason
    if "asked" in case:
        assert [name for name in lookup.names if "._report." in name] == case["asked"]


def test_overrides_are_limited():
    many = ",".join(f"mailto:a{n}@example.net" for n in range(16))
    lookup = Zone({"example.com._report._dmarc.example.net": f"v=DMARC1; rua={many}"})
    assert len(verified("example.com", "mailto:a@example.net", lookup).addresses) == MAX_DESTINATIONS


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_uri(text):
    for uri in (text, f"mailto:{text}", f"mailto:{text}@example.com"):
        address = address_of(uri)
        assert address is None or (address.isascii() and not set(address) & set(' \r\n\t,;<>"()\\'))


@pytest.mark.parametrize(
    ("domain", "address", "entry"),
    [
        ("example.org", "a@example.net", ""),
        ("sub.example.com", "a@example.net", "example.com"),
        ("other.org", "a@deep.example.com", "example.com"),
        ("notexample.com", "a@notexample.com", ""),
        ("other.org", "Abuse@rua.example", "abuse@rua.example"),
        ("other.org", "b@rua.example", ""),
    ],
)
def test_exclusions(domain, address, entry):
    assert excluded(domain, address, ("example.com", "abuse@rua.example", "no domain")) == entry


@pytest.mark.parametrize(
    ("record", "limit"),
    [
        ("v=DMARC1; p=none; rua=mailto:a@example.com!10m", 10 << 20),
        ("v=DMARC1; p=none; rua=mailto:b@example.com!1k, mailto:a@example.com!2K", 2048),
        ("v=DMARC1; p=none; rua=mailto:a@example.com!500", 500),
        ("v=DMARC1; p=none; rua=mailto:a@example.com", None),
        ("v=DMARC1; p=none; rua=mailto:a@example.com!x", None),
        ("v=DMARC1; p=none", None),
    ],
)
def test_size_limits(record, limit):
    # AGG-04
    assert size_limit(record, "mailto:a@example.com") == limit
