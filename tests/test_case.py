from dataclasses import replace

import outcomes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter import case
from dmarcmilter.dmarc.domain import Domain
from dmarcmilter.evidence import ArcResult, ArcSet, ArcWord

AUTHOR = Domain("example.com")
VOUCHING = "h.example; dmarc=pass header.from=example.com"


def ids(*values):
    return case.list_ids(outcomes.message(*(f"List-Id:{value}" for value in values)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (" <users.lists.example.net>", "users.lists.example.net"),
        (' "Users, all <of them>" <Users.Lists.Example.net> ', "users.lists.example.net"),
        ("\r\n Users\r\n\t< users.lists.example.net >", "users.lists.example.net"),
        (" users.lists.example.net", "users.lists.example.net"),
        (" Users <bücher.example>", "xn--bcher-kva.example"),
        (" <users.lists.example.net> (the users)", ""),
        (" <a@lists.example.net>", ""),
        (" Users of lists", ""),
        (" <>", ""),
        ("", ""),
        (" <a.example> <b.example>", "b.example"),
        (" " * case.MAX_LIST_ID + "<a.example>", ""),
        ("<" * 1000, ""),
        ("<a " * 300, ""),
    ],
)
def test_list_id(value, expected):
    assert ids(value) == ((expected,) if expected else ())


def test_several_list_ids():
    assert ids(" <a.example>", "<b.example>", " <a.example>", "not one") == ("a.example", "b.example")
    many = [f" <l{n}.example>" for n in range(100)]
    assert ids(*many) == tuple(f"l{n}.example" for n in range(case.MAX_LIST_IDS))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["Subject: List-Id"], ()),
        (["LIST-id:"], ("List-Id",)),
        (["List-Post: NO", "List-Id: a", "List-Id: b"], ("List-Id", "List-Post")),
        (["Precedence: list"], ("Precedence",)),
        (["Precedence: bulk", "precedence:\r\n LIST"], ("Precedence",)),
        (["Precedence: list, bulk"], ()),
    ],
)
def test_list_traces(fields, expected):
    assert case.list_traces(outcomes.message(*fields)) == expected


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_list_id(raw):
    mail = replace(outcomes.message(), headers=(outcomes.Header(b"List-Id", raw),))
    for name in case.list_ids(mail):
        assert case.domains.parse(name) == name


def chain(*results):
    return outcomes.arc("pass", [(f"h{n}.example", found) for n, found in enumerate(results)])


def test_hops_are_read_only_for_an_author():
    arc = chain(VOUCHING, "h.example; dmarc=fail header.from=example.com", "; broken")
    assert [hop.vouches for hop in case.hops(arc, None)] == [None, None, None]
    assert [hop.vouches for hop in case.hops(arc, AUTHOR)] == [True, False, False]
    newest = case.hops(arc, None)[0]
    assert (newest.instance, newest.sealer, newest.selector) == (3, "h0.example", "s1")


def test_only_so_many_hops_are_read():
    found = case.hops(chain(*[VOUCHING] * 50), AUTHOR)
    assert len(found) == 50
    assert [hop.vouches for hop in found] == [True] * case.MAX_HOPS + [None] * (50 - case.MAX_HOPS)


def test_only_so_many_octets_are_read():
    long = f"{VOUCHING}; spf=none ({'a' * (case.MAX_RESULTS // 2)})"
    found = case.hops(chain(long, VOUCHING, long, VOUCHING), AUTHOR)
    assert [hop.vouches for hop in found] == [True, True, None, None]


@pytest.mark.parametrize("word", ["none", "fail"])
def test_no_hops_without_a_passing_chain(word):
    arc = ArcResult(ArcWord(word), (ArcSet(1, Domain("h.example"), "s", VOUCHING.encode()),))
    assert case.hops(arc, AUTHOR) == ()
    assert case.arc_origin(arc) is None


@pytest.mark.parametrize(
    ("author", "record", "expected"),
    [
        ("example.com", "", "example.com"),
        ("a.b.example.com", "", "example.com"),
        ("com", "", "com"),
        ("a.example.com", "v=DMARC1; p=none; psd=n", "example.com"),
    ],
)
def test_organization(author, record, expected):
    found = outcomes.evidence(author=author, record=record)
    assert case.organization(Domain(author), found.discovery, outcomes.SUFFIXES) == expected
    assert case.organization(Domain(author), None, outcomes.SUFFIXES) == expected


def test_organization_is_never_narrower_than_what_the_records_say():
    """A suffix list that does not know the registry's names must not make strangers of siblings."""
    records = {"_dmarc.a.corp.test": "v=DMARC1; p=none; psd=n", "_dmarc.corp.test": "v=DMARC1; p=none"}
    found = outcomes.evidence(author="a.corp.test", record="", zone=records)
    assert found.discovery.organizational_domain == "a.corp.test"
    assert case.organization(Domain("a.corp.test"), found.discovery, outcomes.SUFFIXES) == "corp.test"


def test_of_message():
    found = outcomes.evidence(
        spf=outcomes.spf("temperror a.example"),
        dkim=[
            outcomes.dkim(text)
            for text in ("pass b.example", "fail c.example", "pass b.example", "temperror d.example")
        ],
    )
    known = case.of_message(outcomes.message(mail_from=b"", recipients=(b"r@example.net",)), found)
    assert (known.author, known.author_problem, known.null_reverse_path) == (AUTHOR, None, True)
    assert (known.spf_domain, known.dkim_domains) == (None, ("b.example",))
    assert known.unsettled == ("d.example", "a.example")
    assert known.authenticated == ("b.example",)
    assert (str(known.day), known.recipients) == ("2027-01-15", (b"r@example.net",))


def test_the_day_is_that_of_utc():
    late = outcomes.datetime.fromisoformat("2027-01-15T23:30:00-05:00")
    assert str(case.of_message(outcomes.message(received_at=late), outcomes.evidence()).day) == "2027-01-16"
