import functools
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth import spf
from dmarcmilter.auth.results import SpfScope, SpfWord
from dmarcmilter.auth.spf import MAX_ADDRESSES, MAX_NAME, MAX_REASON, MAX_RECORD, MAX_TERM, check, identity
from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.mail import path
from dmarcmilter.reasons import text_of
from dmarcmilter.reasons.recorded import recognized
from tests.support import outcomes
from tests.support.cases import case_table
from tests.support.zone import Zone

ROWS = case_table("spf")["row"]
MAX_QUESTIONS = 2 + 10 * 11
"""The record, ten terms with a question for each and for each of ten names (RFC 7208 4.6.4), and PTR for a macro."""


def zone_of(row):
    zone = {name: data if isinstance(data, dict) else {"TXT": data} for name, data in row.get("zone", {}).items()}
    if "record" in row:
        zone.setdefault("example.com", {})["TXT"] = [row["record"]]
    for data in zone.values():
        if isinstance(data.get("TXT"), str):
            data["TXT"] = [data["TXT"]]
    return Zone(zone, row.get("failed", ()))


def envelope_of(row):
    client = row.get("ip", "192.0.2.1")
    return outcomes.envelope(
        client_ip=ip_address(client) if client else None,
        helo=row.get("helo", "mta.example.net").encode(),
        mail_from=row.get("from", "user@example.com").encode(),
    )


def checked(row):
    zone = zone_of(row)
    return check(envelope_of(row), functools.cache(zone), receiver="mx.example.net"), zone


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_check(row):
    found, zone = checked(row)
    assert found.result == row["result"], found
    if "scope" in row:
        assert (found.domain, found.scope) == (row.get("domain"), row["scope"])
    assert found.domain == row.get("domain", found.domain)
    assert row.get("reason", "") in text_of(found.reason)
    if "asked" in row:
        assert [f"{name} {rdtype}" for name, rdtype in zone.asked] == row["asked"]


def result_of(record, zone=None, **row):
    return checked({"record": record, "zone": zone or {}} | row)[0]


def test_identity_gives_the_local_part():
    assert identity(outcomes.envelope(mail_from=b'"a@b"@example.com')) == ("example.com", SpfScope.MFROM, "a@b")
    assert identity(outcomes.envelope(mail_from=b"\xff@example.com"))[2] == "\udcff"
    assert identity(outcomes.envelope(mail_from=b"")) == ("mta.example.net", SpfScope.HELO, "postmaster")


@pytest.mark.parametrize(
    "sender", [b"a@b@example.com", b"a@example.com(c)", b"<a@example.com>", b"a\\b@example.com", b"a@[192.0.2.1]", b"a"]
)
def test_what_has_no_single_reading_has_no_identity(sender):
    """Never a domain that the MTA would not find in it."""
    assert identity(outcomes.envelope(mail_from=sender)) == (None, SpfScope.MFROM, "postmaster")
    found = check(outcomes.envelope(mail_from=sender), Zone({}), receiver="mx.example.net")
    assert (found.result, found.domain, str(found.reason)) == ("none", None, "MAIL FROM is not a plain address")


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        (["a" * 63] * 4 + ["com"], ["a" * 63] * 3 + ["com"]),
        (["x", "a" * 63, "b" * 63, "c" * 63, "d" * 61], ["a" * 63, "b" * 63, "c" * 63, "d" * 61]),  # exactly 253
        (["y" * 5, "a" * 63, "b" * 63, "c" * 63, "d" * 62], ["b" * 63, "c" * 63, "d" * 62]),
    ],
)
def test_long_names_lose_their_leftmost_labels(labels, shown):
    # SPF-12
    record = "v=spf1 exists:" + ".".join(labels) + ".com -all"
    expected = ".".join(shown) + ".com"
    while len(expected) > MAX_NAME:
        expected = expected.partition(".")[2]
    _, zone = checked({"record": record})
    assert zone.names[1] == expected


def test_a_single_label_that_is_too_long_stays_for_dns_to_refuse():
    found, zone = checked({"record": "v=spf1 exists:%{h}.%{h} -all", "helo": "h" * 250})
    assert found.result is SpfWord.FAIL
    assert zone.names[1] == "h" * 250


def test_many_labels_are_cut_in_one_step():
    # 250 000 labels, were they made: the local-part is not used, and the cut is linear.
    assert spf._cut("a." * 500_000 + "com") == "a." * 125 + "com"
    assert spf._cut("x." + "a" * 300) == "a" * 300
    assert spf._cut("a" * 300) == "a" * 300


@pytest.mark.parametrize("length", [MAX_NAME, MAX_NAME + 1])
def test_a_local_part_longer_than_a_name_matches_nothing(length):
    zone = {"*.example.com": {"A": ["127.0.0.2"]}}
    found = result_of("v=spf1 exists:%{l}.example.com -all", zone, **{"from": ("l." * 200)[:length] + "@example.com"})
    assert found.result is (SpfWord.PASS if length <= MAX_NAME else SpfWord.FAIL)


@pytest.mark.parametrize(
    ("record", "result"),
    [
        ("v=spf1 " + "ip4:192.0.2.9 " * 280 + "+all", SpfWord.PASS),
        ("v=spf1 " + "ip4:192.0.2.9 " * (MAX_RECORD // 14) + "+all", SpfWord.PERMERROR),
        ("v=spf1 a:" + "a" * (MAX_TERM - 7) + ".example.com +all", SpfWord.PERMERROR),
        ("v=spf1 x=" + "a" * (MAX_TERM - 2) + " +all", SpfWord.PASS),
        ("v=spf1 x=" + "a" * (MAX_TERM - 1) + " +all", SpfWord.PERMERROR),
        ("v=spf1 exists:" + "%%." * 20_000 + "com +all", SpfWord.PERMERROR),
    ],
    ids=["long", "too long", "long name", "long term", "too long a term", "60 kB of macros"],
)
def test_size_of_records(record, result):
    found = result_of(record)
    assert found.result is result
    assert result is SpfWord.PASS or str(found.reason) == "record or term too long"


@pytest.mark.parametrize(("count", "result"), [(MAX_ADDRESSES, "pass"), (MAX_ADDRESSES + 1, "permerror")])
def test_addresses_of_one_name(count, result):
    addresses = [f"198.51.{n >> 8}.{n & 255}" for n in range(count - 1)] + ["192.0.2.1"]
    assert result_of("v=spf1 a:x.example.com -all", {"x.example.com": {"A": addresses}}).result == result


def hostile_zone(record):
    """Every name there is has the record, ten MX, ten PTR and an address that is not the client's."""

    def lookup(name, rdtype):
        lookup.asked += 1
        data = {
            "TXT": (record,),
            "MX": tuple((n, f"m{n}.{lookup.asked}.example.com") for n in range(10)),
            "PTR": tuple(f"p{n}.{lookup.asked}.example.com" for n in range(20)),
            "A": ("192.0.2.9",),
            "AAAA": ("2001:db8::9",),
        }
        return Answer(Status.FOUND, data[rdtype])

    lookup.asked = 0
    return lookup


@pytest.mark.parametrize(
    "record",
    [
        "v=spf1 mx mx mx mx mx mx mx mx mx mx mx mx -all",
        "v=spf1 ptr ptr ptr ptr ptr ptr ptr ptr ptr ptr ptr -all",
        "v=spf1 include:a.%{d} include:b.%{d} -all",
        "v=spf1 " + "a:%{p}.%{d} " * 12 + "-all",
        "v=spf1 redirect=a.%{d}",
        "v=spf1 mx include:a.%{d} ptr redirect=b.%{d}",
        "v=spf1 exists:%{p}.%{p}.%{p} exp=%{p}.example.com -all",
    ],
)
def test_questions_of_hostile_records_are_bounded(record):
    # SPF-01, SPF-02
    lookup = hostile_zone(record.encode())
    check(outcomes.envelope(mail_from=b"user@example.com"), functools.cache(lookup), receiver="mx.example.net")
    assert lookup.asked <= MAX_QUESTIONS


TERMS = st.sampled_from(
    [
        "a",
        "mx",
        "ptr",
        "include:in.example.com",
        "redirect=in.example.com",
        "exists:%{i}.%{l}.%{d}",
        "ip4:192.0.2.0/24",
        "ip6:2001:db8::/32",
        "all",
        "-all",
        "~all",
        "?all",
        "exp=e.example.com",
        "a:%{p}.example.com",
        "a//64",
        "mx/33",
        "x=y",
        "%{",
        "%%",
        ":",
        "/",
        "=",
        "include:",
        "ip4:",
        "ip6:::/0",
        "exists:%{s99999}.example.com",
        "ptr:%{L-+}.example.com",
        "a:%{h}.example.com",
        "a:example.com.",
        "include:example.com",
    ]
)
RECORD = (
    st.lists(TERMS | st.text(st.characters(codec="latin-1"), max_size=12), max_size=14).map(
        lambda terms: ("v=spf1 " + " ".join(terms)).encode("latin-1")
    )
    | st.binary(max_size=200).map(lambda raw: b"v=spf1 " + raw)
    | st.text("%{}sldiphv0123456789r.-+,/_= :a", max_size=60).map(lambda text: f"v=spf1 exists:{text}.com".encode())
)
LOCAL = st.binary(max_size=300) | st.text("a.-+%{}@\"' é", max_size=40).map(str.encode)


@pytest.mark.slow
@given(
    st.tuples(RECORD, RECORD),
    st.tuples(LOCAL, st.binary(max_size=300)),
    st.sampled_from(["192.0.2.1", "2001:db8::1"]),
    st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_any_record_and_envelope_give_a_bounded_result(records, names, client, by_helo):
    record, other = records
    local, helo = names
    sender = b"" if by_helo else local + b"@example.com"
    zone = hostile_zone(record)

    def lookup(name, rdtype):
        assert isinstance(name, str)
        if name == "in.example.com" and rdtype == "TXT":
            return Answer(Status.FOUND, (other,))
        return zone(name, rdtype)

    envelope = outcomes.envelope(
        client_ip=ip_address(client), mail_from=sender, helo=b"mta.example.com" if by_helo else helo
    )
    found = check(envelope, lookup, receiver="mx.example.net")
    assert isinstance(found.result, SpfWord)
    read = path.read(sender)
    assert found.domain == ("mta.example.com" if by_helo else read and "example.com")
    assert len(text_of(found.reason)) <= MAX_REASON
    assert found.reason is None or (str(found.reason).isascii() and str(found.reason).isprintable())
    assert zone.asked <= MAX_QUESTIONS


@pytest.mark.parametrize("term", ["a", "mx", "ptr", "exists:x.example.com", "include:x.example.com"])
def test_dns_failures_are_temperror_but_in_ptr(term):
    # SPF-05, SPF-09
    def lookup(name, rdtype):
        if (name, rdtype) == ("example.com", "TXT"):
            return Answer(Status.FOUND, (f"v=spf1 {term} ?all".encode(),))
        return Answer(Status.FAILED, reason=recognized("test"))

    found = check(outcomes.envelope(mail_from=b"u@example.com"), lookup, receiver="r")
    assert found.result is (SpfWord.NEUTRAL if term == "ptr" else SpfWord.TEMPERROR)


def test_an_error_of_the_library_is_a_permerror(monkeypatch):
    def broken(*_):
        raise ValueError("surprise")

    monkeypatch.setattr(spf._Query, "check0", broken)
    found = result_of("v=spf1 exists:%{i}.example.com")
    assert found.result is SpfWord.PERMERROR
    assert str(found.reason) == "record that cannot be evaluated: ValueError"


def test_nothing_is_printed(capsys):
    for row in ROWS:
        checked(row)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "record", ["v=spf1 ip4:192.0.2.1 exists:x.example.com -all", "v=spf1 exists:%{i}.example.com -all"]
)
def test_a_want_of_memory_says_nothing_about_the_record(record):
    def lookup(name, rdtype):
        if rdtype == "TXT":
            return Answer(Status.FOUND, (record.encode(),))
        raise MemoryError

    envelope = outcomes.envelope(client_ip=ip_address("192.0.2.9"), mail_from=b"u@example.com")
    with pytest.raises(MemoryError):
        check(envelope, lookup, receiver="mx.example.net")
