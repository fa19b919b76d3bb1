import random
import re
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth import dkim, header_canonicalization
from dmarcmilter.auth.results import DkimWord
from dmarcmilter.auth.signature_fault import SignatureFault
from dmarcmilter.auth.signature_verification import BodyHasher
from dmarcmilter.mail import domain as domains
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.message import Header
from tests.support import dkimpy_oracle, signing
from tests.support.build import counts_calls
from tests.support.paths import CASES
from tests.support.signing import NOW

CASES_DIR = CASES
CASES = tomllib.loads((CASES_DIR / "dkim.toml").read_text())["case"]
HEADERS = [Header(b"From", b" joe@example.org"), Header(b"To", b" you@example.net"), Header(b"Subject", b" Hi")]
BODY = b"Hello.\r\n"


def verify(headers, body, lookup, author=None, now=NOW):
    signatures = dkim.read(headers, author)
    hasher = BodyHasher(dkim.plans(signatures))
    hasher.feed(body)
    return dkim.verify(signatures, headers, hasher.finish(), lookup, now)


def records(case, algorithm):
    key = signing.key_for(algorithm)
    named = {
        "{key}": signing.key_record(key),
        "{rsa}": signing.key_record(signing.rsa_key()),
        "{ed25519}": signing.key_record(signing.ed25519_key()),
        "{weak}": signing.key_record(signing.odd_modulus(512)),
    }
    if "records" in case:
        return [named.get(text, text.encode()) for text in case["records"]]
    return [signing.key_record(key, **case.get("key", {}))]


def zone_for(headers, case, algorithm):
    names = dkim.key_names(dkim.read(headers, None))
    found = records(case, algorithm)
    failing = names if case.get("dns") == "failed" else ()
    return signing.zone(dict.fromkeys(names, found) if found else {}, failing)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_rule(case):
    tags = case.get("tags", {}) | dict.fromkeys(case.get("drop", []))
    body = case["body"].encode() if "body" in case else BODY
    field = signing.dkim(HEADERS, body, **tags)
    if "raw" in case:
        field = Header(b"DKIM-Signature", case["raw"].encode())
    received = [Header(name.encode("latin-1"), value.encode()) for name, value in case.get("added", [])]
    received += [field, *HEADERS]
    if "subject" in case:
        received[-1] = Header(b"Subject", b" " + case["subject"].encode())
    lookup = zone_for(received, case, tags.get("a") or "rsa-sha256")
    (result,) = verify(received, case.get("received_body", body.decode()).encode(), lookup)
    fault = SignatureFault[case["fault"]] if "fault" in case else None
    assert (result.result, result.reason) == ((fault.word, fault.reason) if fault else (DkimWord.PASS, None))
    assert result.testing is case.get("testing", False)


def test_the_example_of_rfc_8463():
    """The message of its appendix A.3 with the keys of A.2: signatures that are not of our making."""
    headers, body = dkimpy_oracle.split((CASES_DIR / "rfc8463.eml").read_bytes().replace(b"\n", b"\r\n"))
    rsa = (
        "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb"
        "3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
    )
    keys = {
        "brisbane._domainkey.football.example.com": [
            b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
        ],
        "test._domainkey.football.example.com": [b"v=DKIM1; k=rsa; p=" + rsa.encode()],
    }
    results = verify(headers, body, signing.zone(keys))
    assert [result.result for result in results] == [DkimWord.PASS, DkimWord.PASS]


def test_facts_are_reported():
    # ALIGN-31
    field = signing.dkim(HEADERS, BODY, a="RSA-sha256", d="Example.ORG", s="Sel", i="jo=3De@Mail.example.org")
    lookup = signing.zone({"sel._domainkey.example.org": [signing.key_record(signing.rsa_key())]})
    (result,) = verify([field, *HEADERS], BODY, lookup)
    assert (result.domain, result.selector, result.algorithm) == ("example.org", "sel", "rsa-sha256")
    assert result.identity == "@mail.example.org"
    assert re.fullmatch("[A-Za-z0-9+/]{342}==", result.signature)


@pytest.mark.parametrize(
    ("identity", "shown"),
    [
        (b"@example.org", "@example.org"),
        ("jos\u00e9@m.example.org".encode(), "@m.example.org"),
        (b'"dmarc=pass"@example.org', "@example.org"),
        (b"x" * 400 + b"@example.org", "@example.org"),
        ("a@b\u00fccher.example".encode(), "@xn--bcher-kva.example"),
        (b"a@exam ple.org", None),
        (b"a@\xff.org", None),
        (b"example.org", None),
    ],
)
def test_of_an_identity_only_the_domain_is_shown(identity, shown):
    field = Header(b"DKIM-Signature", b"v=1; a=x; d=example.org; i=" + identity)
    assert dkim.read([field], None)[0].facts.identity == shown


def test_what_cannot_be_read_is_none():
    field = Header(b"DKIM-Signature", b" v=1; a=<script>; d=a..b; s=/; b=*; h=from; bh=AAAA")
    (read,) = dkim.read([field], None)
    facts = read.facts
    assert (facts.domain, facts.selector, facts.algorithm, facts.identity, facts.signature) == (None,) * 4 + ("",)


def test_no_signature_no_result():
    assert dkim.read(HEADERS, Domain("example.org")) == ()
    assert verify(HEADERS, BODY, signing.zone({})) == ()
    assert dkim.plans(()) == set()
    assert dkim.key_names(()) == []


def test_a_field_over_the_limit_is_not_parsed():
    field = signing.dkim(HEADERS, BODY, zz="x" * 16384)
    (result,) = verify([field, *HEADERS], BODY, signing.zone({}))
    assert (result.result, result.reason) == (SignatureFault.TOO_LONG.word, SignatureFault.TOO_LONG.reason)


def test_a_body_that_was_not_hashed_never_passes():
    headers = [signing.dkim(HEADERS, BODY), *HEADERS]
    (result,) = dkim.verify(dkim.read(headers, None), headers, {}, signing.zone({}), NOW)
    assert result.reason == SignatureFault.NO_BODY.reason


def test_the_own_field_is_not_among_the_signed():
    """RFC 6376 5.4: naming DKIM-Signature means the signatures that were there before."""
    first = signing.dkim(HEADERS, BODY)
    second = signing.dkim([first, *HEADERS], BODY, h="from:dkim-signature:dkim-signature")
    lookup = signing.zone({"sel._domainkey.example.org": [signing.key_record(signing.rsa_key())]})
    results = verify([second, first, *HEADERS], BODY, lookup)
    assert [result.result for result in results] == [DkimWord.PASS, DkimWord.PASS]


def unsigned(domain, selector="s"):
    value = f"v=1; a=rsa-sha256; d={domain}; s={selector}; h=from; bh=AAAA; b=AAAA"
    return Header(b"DKIM-Signature", value.encode())


@pytest.mark.parametrize("author", ["sub.author.example", "author.example", "a.sub.author.example"])
def test_those_that_could_align_are_verified_first(author):
    """RFC 6376 6.1: the number may be limited, and the order has no meaning."""
    # DKIM-09
    headers = [unsigned(f"d{number}.example") for number in range(30)]
    headers += [unsigned("sub.author.example")]
    read = dkim.read(headers, Domain(author))
    usable = [one.facts.domain for one in read if one.signature]
    assert usable == [f"d{number}.example" for number in range(9)] + ["sub.author.example"]
    dropped = [one.facts for one in read if not one.signature]
    assert len(dropped) == dkim.MAX_UNVERIFIED
    assert {fact.reason for fact in dropped} == {SignatureFault.TOO_MANY.reason}
    assert [one.facts.domain for one in read] == [f"d{number}.example" for number in range(19)] + ["sub.author.example"]


def test_a_thousand_signatures_are_bounded():
    asked = []
    headers = [unsigned(f"d{number}.example") for number in range(1000)] + HEADERS
    assert len(dkim.key_names(dkim.read(headers, None))) == dkim.MAX_SIGNATURES
    results = verify(headers, BODY, signing.zone({}, asked=asked))
    assert len(results) == dkim.MAX_SIGNATURES + dkim.MAX_UNVERIFIED
    assert asked == []  # all the body hashes are wrong, which needs no key


def test_key_names_and_plans():
    headers = [unsigned("a.example"), unsigned("B.example", "T"), unsigned("a.example"), *HEADERS]
    read = dkim.read(headers, None)
    assert dkim.key_names(read) == ["s._domainkey.a.example", "t._domainkey.b.example"]
    assert len(dkim.plans(read)) == 1


@counts_calls
def test_header_work_is_shared_by_the_signatures(monkeypatch):
    done = []
    original = header_canonicalization.relaxed_field
    monkeypatch.setattr(
        header_canonicalization, "relaxed_field", lambda header: done.append(header) or original(header)
    )
    more = [Header(b"X", b" %d" % number) for number in range(5000)]
    names = "from:" + ":".join(["x"] * 299)
    headers = [signing.dkim([*HEADERS, *more], BODY, h=names) for _ in range(2)] * 5 + HEADERS + more
    lookup = signing.zone({"sel._domainkey.example.org": [signing.key_record(signing.rsa_key())]})
    results = verify(headers, BODY, lookup)
    assert [result.result for result in results] == [DkimWord.PASS] * 10
    assert len(done) == 300 + 10


@pytest.mark.slow
@pytest.mark.parametrize("ways", ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"])
def test_agrees_with_dkimpy(ways):
    """A signature of dkimpy's over a random message, then the body or the Subject is damaged at random."""
    rng = random.Random(ways)
    lookup = signing.zone({"sel._domainkey.example.org": [signing.key_record(signing.rsa_key())]})
    words = set()
    for _ in range(60):
        message = dkimpy_oracle.random_message(rng, ways)
        (result,) = verify(*dkimpy_oracle.split(message), lookup)
        assert (result.result is DkimWord.PASS) == dkimpy_oracle.passes(message), message
        words.add(result.result)
    assert words == {DkimWord.PASS, DkimWord.FAIL}


TAG_VALUES = st.sampled_from(
    ["1", "rsa-sha256", "example.org", "sel", "from:to", "AAAA", "relaxed", "relaxed/simple", "5", "99999999999", ""]
) | st.text(max_size=12)
TAG_LISTS = st.dictionaries(
    st.sampled_from(["v", "a", "d", "s", "h", "bh", "b", "c", "l", "t", "x", "i", "q", "z"]), TAG_VALUES
).map(lambda tags: "; ".join(f"{name}={value}" for name, value in tags.items()).encode())
FIELDS = st.builds(Header, st.sampled_from([b"DKIM-Signature", b"From"]) | st.binary(max_size=9), TAG_LISTS)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(FIELDS | st.builds(Header, st.just(b"dkim-signature"), st.binary(max_size=80)), max_size=6))
def test_any_header_gives_results(headers):
    results = verify(headers, BODY, signing.zone({}), author=domains.parse(b"example.org"))
    assert all(result.result is not DkimWord.PASS for result in results)
    assert len(results) == sum(header.key == b"dkim-signature" for header in headers)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_signature_field_never_raises_nor_passes_by_luck(data):
    field = signing.dkim(HEADERS, BODY, c="simple/simple")
    at = data.draw(st.integers(0, len(field.value) - 1))
    octet = bytes([data.draw(st.integers(0, 255))])
    value = field.value[:at] + octet + field.value[at + 1 :]
    lookup = signing.zone({"sel._domainkey.example.org": [signing.key_record(signing.rsa_key())]})
    (result,) = verify([Header(field.name, value), *HEADERS], BODY, lookup)
    same = value == field.value or at >= field.value.index(b"; b=") + 4
    assert same or result.result is not DkimWord.PASS


def test_fields_are_read_from_the_top_up_to_a_limit():
    headers = [unsigned(f"d{number}.example") for number in range(dkim.MAX_READ)]
    last = dkim.read([*headers[1:], unsigned("author.example")], Domain("author.example"))
    assert "author.example" in {one.facts.domain for one in last if one.signature}
    beyond = dkim.read([*headers, unsigned("author.example")], Domain("author.example"))
    assert "author.example" not in {one.facts.domain for one in beyond}
