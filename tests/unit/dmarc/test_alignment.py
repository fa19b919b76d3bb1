import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dmarc.alignment import Alignment, is_aligned
from dmarcmilter.dmarc.discovery import Discovery, Method
from dmarcmilter.dmarc.record import AlignmentMode
from dmarcmilter.mail.domain import Domain
from tests.support.cases import case_table

ROWS = case_table("alignment")["row"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_alignment(row):
    discovery = Discovery(
        Method.TREEWALK,
        row["author"],
        organizational_domain=row.get("organizational"),
        highest_possible=row.get("possible"),
    )
    found = {row["identifier"]: None if row["found"] == "?" else row["found"]} if "found" in row else {}
    aligned = is_aligned(row["identifier"], discovery, AlignmentMode(row["mode"]), found)
    assert aligned is Alignment(row["aligned"])


NAMES = st.sampled_from(["example.com", "a.example.com", "b.a.example.com", "com", "evil.com"]).map(Domain)


@given(NAMES, NAMES, st.none() | NAMES, st.none() | NAMES)
@settings(max_examples=200, deadline=None)
def test_strict_is_equality_and_implies_relaxed(author, identifier, own, found):
    discovery = Discovery(Method.TREEWALK, author, organizational_domain=own)
    strict = is_aligned(identifier, discovery, AlignmentMode.STRICT, {identifier: found})
    relaxed = is_aligned(identifier, discovery, AlignmentMode.RELAXED, {identifier: found})
    assert (strict is Alignment.YES) == (identifier == author)
    assert strict is not Alignment.YES or relaxed is Alignment.YES
