"""The plain evaluator and pyspf say the same of everything that the plain one decides."""

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth import spf, spf_plain
from dmarcmilter.auth.results import SpfWord
from dmarcmilter.dns.lookup import no_hint
from dmarcmilter.reasons import text_of
from tests.support import outcomes
from tests.support.zone import Zone

CLIENTS = [outcomes.envelope(client_ip=outcomes.ip_address(ip)).client_ip for ip in ("192.0.2.1", "2001:db8::1")]
NAMES = ["example.com", "a.example.com", "b.example.com", "c.example.com", "void.example.com"]

term = st.one_of(
    st.sampled_from(
        [
            "all",
            "a",
            "mx",
            "ip4:192.0.2.0/24",
            "ip4:198.51.100.1",
            "ip6:2001:db8::/32",
            "a/24",
            "mx//64",
            "ip4:192.0.2.1/33",
            "ip6:2001:db8::1",
            "a:1.2.3.4",
            "exists:%{i}.example.com",
            "ptr",
            "IP4:192.0.2.1",
            "exp=x.example.com",
            "foo=bar",
            "a/24//64",
            "ip4:192.0.2.1/0",
            "include:",
            "mx:",
            "a:b",
        ]
    ),
    st.builds(
        "{}{}:{}".format,
        st.sampled_from(["", "-", "~", "?", "+"]),
        st.sampled_from(["a", "mx", "include", "A"]),
        st.sampled_from(NAMES),
    ),
    st.builds("redirect={}".format, st.sampled_from(NAMES)),
)
record = st.builds(lambda terms: " ".join(["v=spf1", *terms]), st.lists(term, max_size=8))
hosts = st.lists(st.sampled_from(["192.0.2.1", "192.0.2.77", "203.0.113.5"]), max_size=3)


def both(zone, client, domain="example.com"):
    lookup = functools.cache(zone)
    plain = spf_plain.evaluate(client, domain, lookup, no_hint)
    query = spf._Query(client, domain, "user", lookup, helo=b"mta.example.net", receiver="r.example")
    word, reason = query.result()
    return plain, (word, text_of(reason))


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(
    records=st.lists(record, min_size=4, max_size=4),
    addresses=st.lists(hosts, min_size=4, max_size=4),
    client=st.sampled_from(CLIENTS),
)
def test_the_same_as_pyspf(records, addresses, client):
    zone = Zone(
        {
            name: {
                "TXT": [text],
                "A": found,
                "AAAA": ["2001:db8::1"] if found else [],
                "MX": [(n, other) for n, other in enumerate(NAMES[1 : 1 + len(found)])],
            }
            for name, text, found in zip(NAMES, records, addresses, strict=False)
        }
    )
    plain, reference = both(zone, client)
    if plain is not None:
        assert plain == reference


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v=spf1 ip4:192.0.2.0/24 -all", (SpfWord.PASS, "ip4:192.0.2.0/24")),
        ("v=spf1 -all", (SpfWord.FAIL, "-all")),
        ("v=spf1", (SpfWord.NEUTRAL, "")),
        ("v=spf1 include:a.example.com ~all", (SpfWord.PASS, "include:a.example.com")),
        ("v=spf1 redirect=a.example.com", (SpfWord.PASS, "a")),
        ("v=spf1 mx -all", (SpfWord.PASS, "mx")),
        ("no record", (SpfWord.NONE, "")),
    ],
)
def test_plain_records_are_decided_here(text, expected):
    # SPF-06, SPF-08
    zone = Zone({"example.com": {"TXT": [text], "MX": [(1, "a.example.com")]},
                 "a.example.com": {"TXT": ["v=spf1 a -all"], "A": ["192.0.2.1"]}})  # fmt: skip
    assert spf_plain.evaluate(CLIENTS[0], "example.com", zone, no_hint) == expected


@pytest.mark.parametrize(
    "text",
    [
        "v=spf1 exists:%{i}.example.com -all",
        "v=spf1 ptr -all",
        "v=spf1 ip4:300.1.1.1 -all",
        "v=spf1 a/33 -all",
        "v=spf1 include:missing.example.com -all",
        "v=spf1 redirect=missing.example.com",
        "v=spf1 redirect=a.example.com redirect=a.example.com",
        "v=spf1 include:example.com",
        "v=spf1 all include:example.com",
        "v=spf1 ip4:192.0.2.1/032",
        "v=spf1 " + "a:void.example.com " * 3 + "-all",
        "v=spf1 " + "a:other.example.com " * 11 + "-all",
        "v=spf1 \u00e4 -all",
        "v=spf1 " + "ip4:192.0.2.9 " * 100,
    ],
)
def test_the_rest_is_left_to_pyspf(text):
    # SPF-01, SPF-03, SPF-07
    zone = Zone({"example.com": {"TXT": [text]}, "other.example.com": {"A": ["192.0.2.9"]}})
    assert spf_plain.evaluate(CLIENTS[0], "example.com", zone, no_hint) is None


def test_dns_failure_is_left_to_pyspf():
    zone = Zone({"example.com": {"TXT": ["v=spf1 include:a.example.com -all"]}}, failed=["a.example.com"])
    assert spf_plain.evaluate(CLIENTS[0], "example.com", zone, no_hint) is None


def test_hints_go_out_before_the_first_answer_is_needed_and_are_bounded():
    names = [f"n{number}.example.com" for number in range(30)]
    text = "v=spf1 " + " ".join(f"include:{name}" for name in names) + " ip4:192.0.2.1 include:late.example.com -all"
    hinted = []
    zone = Zone({"example.com": {"TXT": [text]}} | {name: {"TXT": ["v=spf1 -all"]} for name in names})
    spf_plain.evaluate(CLIENTS[0], "example.com", zone, lambda name, rdtype: hinted.append((name, rdtype)))
    assert hinted[:3] == [(name, "TXT") for name in names[:3]]
    assert len(hinted) == spf_plain.MAX_LOOKUPS


def test_nothing_is_hinted_when_an_address_matches_first():
    hinted = []
    zone = Zone({"example.com": {"TXT": ["v=spf1 ip4:192.0.2.1 include:a.example.com -all"]}})
    spf_plain.evaluate(CLIENTS[0], "example.com", zone, lambda name, rdtype: hinted.append(name))
    assert not hinted


@pytest.mark.parametrize(("terms", "is_plain"), [(spf_plain.MAX_TERMS, True), (spf_plain.MAX_TERMS + 1, False)])
def test_a_record_of_many_short_terms_is_left_to_pyspf(terms, is_plain):
    """Parsed it takes a hundred times its length, and parsed records are cached."""
    zone = Zone({"example.com": {"TXT": ["v=spf1 -all" + " a" * (terms - 1)]}})
    assert (spf_plain.evaluate(CLIENTS[0], "example.com", zone, no_hint) is not None) is is_plain
    envelope = outcomes.envelope(client_ip=CLIENTS[0], mail_from=b"a@example.com")
    assert spf.check(envelope, zone, receiver="mx.example").result is SpfWord.FAIL
