import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth import arc, header_canonicalization
from dmarcmilter.auth.results import ArcResult, ArcSet, ArcWord
from dmarcmilter.auth.signature_verification import BodyHasher
from dmarcmilter.mail.message import Header
from dmarcmilter.reasons import Code, Reason
from tests.support import dkimpy_oracle, signing
from tests.support.build import counts_calls
from tests.support.cases import case_table
from tests.support.signing import NOW

CASES = case_table("arc")["case"]
HEADERS = [Header(b"From", b" joe@example.org"), Header(b"To", b" you@example.net"), Header(b"Subject", b" Hi")]
BODY = b"Hello.\r\n"


def zone(count=51, missing=(), failing=(), asked=None):
    keys = [signing.key_record(signing.rsa_key()), signing.key_record(signing.ed25519_key())]
    names = (f"arc._domainkey.hop{number}.example" for number in range(1, count + 1))
    return signing.zone({name: keys for name in names if name not in missing}, failing, asked)


def verify(headers, body=BODY, lookup=None, now=NOW):
    chain = arc.read(headers)
    hasher = BodyHasher(arc.plans(chain))
    hasher.feed(body)
    return arc.verify(chain, headers, hasher.finish(), lookup or zone(), now)


def chain_of(count, changes=None):
    """Sets one after the other; `changes` are arguments to seal() by instance."""
    sets = []
    for instance in range(1, count + 1):
        sets.append(signing.seal(HEADERS, BODY, sets, **(changes or {}).get(instance, {})))
    return sets


def message(sets):
    return [field for one in reversed(sets) for field in one.fields] + HEADERS


def tags(values):
    return {name: None if value == "-" else value for name, value in values.items()}


def received(case):
    """The header that a row describes, as it arrives."""
    at = case.get("at", case["sets"])
    changes = {"message": tags(case.get("message", {})), "seal_tags": tags(case.get("seal", {}))}
    sets = chain_of(case["sets"], {at: changes | {"results": case.get("results")}})
    fields = {name: getattr(sets[at - 1], name) for name in ("results", "message", "seal")}
    if "changed_results" in case:
        changed = Header(fields["results"].name, case["changed_results"].encode())
    headers = []
    for field in message(sets):
        names = [name for name, one in fields.items() if one is field]
        if names and names[0] in case.get("remove", []):
            continue
        is_changed = names == ["results"] and "changed_results" in case
        headers.append(changed if is_changed else field)
        headers += [field] if names and names[0] in case.get("twice", []) else []
    if "subject" in case:
        headers[-1] = Header(b"Subject", b" " + case["subject"].encode())
    return headers


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_rule(case):
    lookup = zone(missing=case.get("dns_missing", ()), failing=case.get("dns_failed", ()))
    result = verify(received(case), case.get("received_body", BODY.decode()).encode(), lookup)
    assert result.unresolved == case.get("unsettled")
    if "reason" in case:
        assert (result.result, result.sets, result.oldest_pass) == (ArcWord.FAIL, (), None)
        assert case["reason"] in str(result.reason)
    else:
        assert (result.result, result.reason, result.oldest_pass) == (ArcWord.PASS, None, case["oldest_pass"])
        assert [one.instance for one in result.sets] == list(range(case["sets"], 0, -1))


def test_no_chain():
    """RFC 8617 5.2, step 1"""
    assert arc.read(HEADERS) == arc.Chain()
    assert verify(HEADERS) == ArcResult(ArcWord.NONE)
    assert arc.plans(arc.Chain()) == set()
    assert arc.key_names(arc.Chain()) == []


def test_sets_are_newest_first_with_their_results():
    sets = chain_of(2, {1: {"results": " i=1 ; mx.one.example; dmarc=pass"}})
    result = verify(message(sets))
    assert result.sets == (
        ArcSet(2, "hop2.example", "arc", b" mx.example; spf=pass"),
        ArcSet(1, "hop1.example", "arc", b" mx.one.example; dmarc=pass"),
    )


def test_the_order_of_the_fields_has_no_meaning():
    assert verify(message(chain_of(3))[::-1]).result is ArcWord.PASS


def test_field_names_in_any_case():
    headers = [Header(header.name.upper(), header.value) for header in message(chain_of(2))]
    assert verify(headers).result is ArcWord.PASS


def test_a_structural_fault_asks_no_dns():
    asked = []
    headers = message(chain_of(3))[1:]
    assert verify(headers, lookup=zone(asked=asked)).result is ArcWord.FAIL
    assert asked == []
    chain = arc.read(headers)
    assert (arc.key_names(chain), arc.plans(chain)) == ([], set())


def test_a_broken_message_asks_no_dns():
    asked = []
    assert verify(message(chain_of(3)), b"other\r\n", zone(asked=asked)).result is ArcWord.FAIL
    assert asked == []


def test_lookups_are_bounded():
    asked = []
    headers = message(chain_of(50))
    assert verify(headers, lookup=zone(asked=asked)).result is ArcWord.PASS
    assert len(asked) == 1 + 50 + arc.MAX_OLDER
    assert set(asked) == set(arc.key_names(arc.read(headers)))


def test_too_many_fields_are_not_read():
    headers = [Header(b"ARC-Seal", b" i=1")] * 10_000
    assert verify(headers) == ArcResult(ArcWord.FAIL, reason=Reason.of(Code.ARC_TOO_MANY_FIELDS))


def test_an_older_message_signature_needs_a_body_hash_that_is_made_anyway():
    sets = chain_of(2, {1: {"message": {"c": "relaxed/simple"}}})
    chain = arc.read(message(sets))
    assert {plan.relaxed for plan in arc.plans(chain)} == {True}
    assert verify(message(sets)).oldest_pass == 2


def test_a_seal_over_the_limit_is_not_read():
    sets = chain_of(1, {1: {"seal_tags": {"zz": "x" * 16384}}})
    assert verify(message(sets)).result is ArcWord.FAIL


@counts_calls
def test_every_field_is_canonicalized_once(monkeypatch):
    """Fifty seals that each sign all before them cost one pass over the fields (counted, not timed)."""
    done = []
    original = header_canonicalization.relaxed_field
    headers = message(chain_of(50))
    monkeypatch.setattr(
        header_canonicalization, "relaxed_field", lambda header: done.append(header) or original(header)
    )
    assert verify(headers).result is ArcWord.PASS
    own_fields = 50 + 1 + arc.MAX_OLDER  # with b= emptied
    assert len(done) == len(headers) + own_fields


def test_agrees_with_dkimpy():
    """A chain that dkimpy sealed passes, and fails where it does for dkimpy."""
    sealed = dkimpy_oracle.sealed_message()
    for whole in (
        sealed,
        sealed.replace(b"Hi", b"Ho"),
        sealed.replace(b"Hello", b"Hullo"),
        sealed[sealed.index(b"From") :],
    ):
        assert verify(*dkimpy_oracle.split(whole)).result == dkimpy_oracle.chain_status(whole)


NAMES = st.sampled_from([b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results", b"From"])
PARTS = st.sampled_from(
    [b"i=1", b"i=2", b";", b" ", b"(", b")", b"\\", b"a=rsa-sha256", b"cv=none", b"b=AAAA", b"d=a.b"]
)
VALUES = st.lists(PARTS, max_size=12).map(b"".join) | st.binary(max_size=60)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.builds(Header, NAMES, VALUES), max_size=8))
def test_any_header_gives_a_result(headers):
    result = verify(headers)
    assert result.result is (
        ArcWord.FAIL if any(header.key.startswith(b"arc-") for header in headers) else ArcWord.NONE
    )


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_chain_never_raises_nor_passes(data):
    headers = message(chain_of(2))
    which = data.draw(st.integers(0, 5))
    value = headers[which].value
    at = data.draw(st.integers(0, len(value) - 1))
    octet = bytes([data.draw(st.integers(33, 255))])
    headers[which] = Header(headers[which].name, value[:at] + octet + value[at + 1 :])
    # The last octets of b= may hold bits that mean nothing in base64.
    harmless = value[at : at + 1] == octet or at >= len(value) - 3 or octet.lower() == value[at : at + 1].lower()
    assert harmless or verify(headers).result is not ArcWord.PASS
