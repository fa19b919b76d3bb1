"""ARC sealing: what we seal we accept, and so does dkimpy; what is not ours to say does not get in."""

import base64
import hashlib
import logging
import re

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dmarcmilter.auth import authentication_results_reader
from dmarcmilter.config.load import ConfigError, parse
from dmarcmilter.mail.message import Header
from dmarcmilter.reasons import text_of
from dmarcmilter.receiver import build
from dmarcmilter.response import arc_key as sealkey
from dmarcmilter.response import arc_set
from dmarcmilter.response.actions import ChangeHeader, DeleteHeader, InsertHeader
from dmarcmilter.response.arc_key import SealKeyError
from tests.support import arc_hops, outcomes, signing
from tests.support.arc_hops import MESSAGE, Hop, dkimpy_says, fields_of, raw_of, zone

ARC_FIELDS = ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results", "Authentication-Results"]
LATER = {"client_ip": "192.0.2.20", "mail_from": b"a@author.example"}


@pytest.fixture
def hop(tmp_path):
    """Makes sites; all keys are in the one zone."""
    found = zone("fwd.example", "second.example")
    return lambda domain="fwd.example", **options: Hop(
        tmp_path, domain, **{"zone": found, "host": f"mx.{domain or 'last.example'}"} | options
    )


def arc_of(passed):
    return passed.outcome.auth.arc


# --- what is sealed is accepted


def test_a_sealed_message_is_accepted_by_us_and_by_dkimpy(hop):
    first = hop()(MESSAGE)
    assert (first.outcome.sealed, first.outcome.seal_reason) == (True, None)
    assert [field.name.decode() for field in first.headers[:4]] == ARC_FIELDS
    assert first.raw.endswith(MESSAGE)
    found = arc_of(hop("")(first.raw, **LATER))
    assert (found.result, found.oldest_pass, found.reason) == ("pass", 0, None)
    assert [(one.instance, one.sealer, one.selector) for one in found.sets] == [(1, "fwd.example", "seal")]
    assert dkimpy_says(first.raw, zone("fwd.example")) == "pass"


def test_the_set_says_what_passed_here(hop):
    first = hop()(MESSAGE)
    [recorded] = first.values("ARC-Authentication-Results")
    results = {
        found.method: found
        for found in authentication_results_reader.parse(recorded.encode().partition(b";")[2]).results
    }
    assert results["dmarc"].result == "pass"
    assert ("header.from", "author.example") in results["dmarc"].properties
    assert results["spf"].result == "pass"
    assert results["arc"].result == "none"
    assert re.search(r"i=1; a=rsa-sha256; cv=none;\s+d=fwd.example; s=seal; t=\d+;", first.values("ARC-Seal")[0])


def test_a_trusted_seal_saves_what_fails_at_the_next_hop(hop):
    """The forwarder's case: SPF passed at the first hop only, and there is no signature."""
    first = hop()(MESSAGE)
    refused = hop("")(first.raw, **LATER).outcome
    assert (refused.evaluation.result, refused.decision.action) == ("fail", "reject")
    saved = hop("", trusted_sealers=["fwd.example"])(first.raw, **LATER).outcome
    assert (saved.evaluation.result, saved.decision.action) == ("fail", "accept")


def test_a_second_hop_seals_over_the_first(hop):
    second = hop("second.example")(hop()(MESSAGE).raw, **LATER)
    # p=reject was not met here, and nobody is trusted: the message ends here.
    assert (second.outcome.decision.action, second.outcome.sealed) == ("reject", None)
    second = hop("second.example", trusted_sealers=["fwd.example"])(hop()(MESSAGE).raw, **LATER)
    assert second.outcome.sealed is True
    found = arc_of(hop("")(second.raw, **LATER))
    assert (found.result, [one.sealer for one in found.sets]) == ("pass", ["second.example", "fwd.example"])
    assert dkimpy_says(second.raw, zone("fwd.example", "second.example")) == "pass"


def test_the_order_of_the_fields_before_does_not_matter(hop):
    headers, body = fields_of(hop()(MESSAGE).raw)
    mixed = raw_of([*headers[4:], headers[2], headers[0], headers[3], headers[1]], body)
    second = hop("second.example", trusted_sealers=["fwd.example"])(mixed, **LATER)
    third = hop("", trusted_sealers=["fwd.example"])(second.raw, **LATER)
    assert (arc_of(third).result, arc_of(third).oldest_pass) == ("pass", 0)


@pytest.mark.parametrize("body", [b"", b"\r\n\r\n", b" \t\r\n", b"no end", b"a\tb  c \r\n" * 20_000])
def test_bodies(hop, body):
    raw = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body
    first = hop()(raw)
    assert first.outcome.sealed is True
    assert arc_of(hop("")(first.raw, **LATER)).result == "pass"
    assert dkimpy_says(first.raw, zone("fwd.example")) == "pass"


FIELD = st.tuples(
    st.sampled_from(["Subject", "subject ", "To", "CC", "List-Id", "X-Other", "DKIM-Signature", "References", "From"]),
    st.text(st.sampled_from('ab:;="<>@()\\ \t\r\0\x0b\x0cé,i1'), max_size=30),
)


@pytest.mark.slow
@given(st.lists(FIELD, max_size=6), st.binary(max_size=40))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_sealed_is_accepted(hop, fields, body):
    """Of hostile headers too; what dkimpy and we would hash differently goes on without a seal."""
    added = [Header(name.encode(), b" " + text.encode()) for name, text in fields]
    headers, _ = fields_of(MESSAGE)
    first = hop(mode="monitor")(raw_of([*added, *headers], body))
    # A CR of the text ends up before a line end, or a field cannot be told from the next.
    assert first.outcome.sealed is not None
    if first.outcome.sealed:
        # The hops' own parse of raw octets is not what is tested: the fields go on as values.
        assert arc_of(hop("", mode="monitor")(first.raw, **LATER)).result == "pass"
    else:
        assert first.outcome.seal_reason


# --- what is signed


@pytest.mark.slow
@pytest.mark.parametrize("name", [name.decode() for name in arc_set.SIGNED])
def test_each_field_is_signed(hop, name):
    first = hop()(b"%s: <some@thing.example>\r\n" % name.encode() + MESSAGE if name != "from" else MESSAGE)
    assert first.outcome.sealed is True
    changed = re.sub(rb"(?im)^(%s: ?)(?=[<A])" % re.escape(name.encode()), rb"\1x", first.raw, count=1)
    assert changed != first.raw
    assert arc_of(hop("")(changed, **LATER)).result == "fail"


@pytest.mark.parametrize("added", ["From: other@author.example", "from: b@evil.example"])
def test_no_from_can_be_added(hop, added):
    first = hop()(MESSAGE)
    assert arc_of(hop("")(added.encode() + b"\r\n" + first.raw, **LATER)).result == "fail"
    assert dkimpy_says(added.encode() + b"\r\n" + first.raw, zone("fwd.example")) == "fail"


def test_what_relays_do_breaks_nothing(hop):
    first = hop()(MESSAGE)
    relayed = b"Return-Path: <x@y.example>\r\nDelivered-To: z\r\nReceived: from c by d\r\n" + first.raw
    relayed = relayed.replace(b"Received: from a by b; Sun, 22 Nov 2026 08:00:00 +0000\r\n", b"")
    relayed = re.sub(rb"\r\nAuthentication-Results:[^\r\n]*(\r\n[ \t][^\r\n]*)*", b"", relayed, count=1)
    assert b"\r\nAuthentication-Results:" not in relayed
    refolded = relayed.replace(b"Some\r\n\tfolded  subject", b"Some folded subject")
    assert arc_of(hop("")(refolded, **LATER)).result == "pass"


def test_a_subject_that_we_tag_is_sealed_as_it_leaves():
    headers = fields_of(MESSAGE)[0]
    plan = (
        DeleteHeader("Received", 1),
        ChangeHeader("Subject", 1, "[tag] Some\n folded"),
        InsertHeader("X-A", "1"),
        InsertHeader("X-B", "2"),
    )
    assert list(arc_set.as_changed(headers, plan)) == arc_hops.edited(headers, plan)


# --- what is not ours does not get in


@pytest.mark.parametrize(
    "forged",
    [
        "Authentication-Results: mx.fwd.example; dmarc=pass header.from=bank.example",
        "authentication-results: MX.fwd.example; arc=pass; dmarc=pass header.from=bank.example",
        "Authentication-Results: mx.fwd.example (x)\r\n\t1; arc=fail",
        "Authentication-Results: other.example; dmarc=pass header.from=bank.example; arc=pass",
        "Authentication-Results: dmarc=pass header.from=bank.example",
    ],
)
def test_forged_results_are_not_recorded(hop, forged):
    first = hop()(forged.encode() + b"\r\n" + MESSAGE)
    assert first.outcome.sealed is True
    [recorded] = first.values("ARC-Authentication-Results")
    assert "bank.example" not in recorded
    assert [
        found.method for found in authentication_results_reader.parse(recorded.encode().partition(b";")[2]).results
    ] == [
        "spf",
        "dkim",
        "arc",
        "dmarc",
    ]
    assert arc_of(hop("")(first.raw, **LATER)).result == "pass"


def test_quoted_values_stay_quoted(hop):
    """authres writes our results anew; an IPv6 client and a hostile signature must come out as they went in."""
    raw = (
        b'DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=x; i="; dmarc=pass x@a.example; h=from; bh=AA==; b=AA==\r\n'
    )
    first = hop(mode="monitor")(raw + MESSAGE, client_ip="2001:db8::7")
    assert first.outcome.sealed is True
    [recorded], [ours] = first.values("ARC-Authentication-Results"), first.values("Authentication-Results")
    assert '"2001:db8::7"' in recorded
    assert authentication_results_reader.parse(
        recorded.encode().partition(b";")[2]
    ) == authentication_results_reader.parse(ours.encode())


# --- chains that have failed


def failed_chain(hop):
    first = hop()(MESSAGE)
    return hop("second.example", mode="monitor")(first.raw.replace(b"world", b"World"), **LATER)


def test_a_failed_chain_is_sealed_once(hop):
    second = failed_chain(hop)
    assert (arc_of(second).result, second.outcome.sealed) == ("fail", True)
    assert re.match(r" i=2; a=rsa-sha256; cv=fail;", second.values("ARC-Seal")[0])
    third = hop("third.example", mode="monitor")(second.raw, **LATER)
    assert (third.outcome.sealed, text_of(third.outcome.seal_reason)) == (None, "the chain has ended")
    assert third.values("ARC-Seal") == second.values("ARC-Seal")
    assert dkimpy_says(second.raw, zone("fwd.example", "second.example")) in ("", "fail")


def test_the_seal_of_a_failed_chain_covers_its_own_set_alone(hop):
    """RFC 8617 5.1.2, by plain reference code."""
    second = failed_chain(hop)
    seal, message, results = second.headers[:3]
    value, _, signature = seal.value.rpartition(b"b=")
    data = b"".join(signing.canonical_header(field.name, field.value, relaxed=True) for field in (results, message))
    data += signing.canonical_header(seal.name, value + b"b=", relaxed=True)[:-2]
    octets = base64.b64decode(re.sub(rb"\s", b"", signature))
    signing.rsa_key().public_key().verify(octets, data, PKCS1v15(), SHA256())
    body = base64.b64encode(hashlib.sha256(signing.canonical_body(second.raw.partition(b"\r\n\r\n")[2], True)).digest())
    assert b"bh=" + body in message.value


@pytest.mark.parametrize(
    ("fields", "sealed", "reason"),
    [
        (["ARC-Seal: i=1; cv=none; a=rsa-sha256; d=x.example; s=s; b=AA=="], True, ""),
        (["ARC-Seal: i=49; cv=pass; a=rsa-sha256; d=x.example; s=s; b=AA=="], True, ""),
        (["ARC-Seal: i=50; cv=pass; a=rsa-sha256; d=x.example; s=s; b=AA=="], False, "no room for another ARC Set"),
        (["ARC-Seal: i=99; cv=pass"], False, "no room for another ARC Set"),
        (["ARC-Seal: i=0; cv=pass"], False, "the chain has no instance to follow"),
        (["ARC-Message-Signature: nothing"], False, "the chain has no instance to follow"),
        (["ARC-Seal: i=3; cv=FAIL; a=x"], None, "the chain has ended"),
        (["ARC-Seal: i=2; cv=fail", "ARC-Seal: i=3; cv=pass"], True, ""),
        (["ARC-Seal: i=1"] * 151, False, "no room for another ARC Set"),
        (["ARC-Authentication-Results: i=50; a; none"], False, "no room for another ARC Set"),
    ],
)
def test_chains_that_are_none(hop, fields, sealed, reason):
    passed = hop()("".join(f"{field}\r\n" for field in fields).encode() + MESSAGE)
    assert arc_of(passed).result == "fail"
    assert (passed.outcome.sealed, text_of(passed.outcome.seal_reason)) == (sealed, reason)
    assert passed.values("ARC-Message-Signature")[:1] != [] or not sealed


@pytest.mark.parametrize(("count", "sealed"), [(49, True), (50, False)])
def test_the_fiftieth_set_is_the_last(hop, count, sealed):
    headers, body = fields_of(MESSAGE)
    sets = []
    for _ in range(count):
        sets.append(signing.seal(list(headers), body, sets, message={"t": None}))
    keys = {
        f"arc._domainkey.hop{number}.example": signing.key_record(signing.rsa_key()).decode() for number in range(1, 51)
    }
    lookup = zone("fwd.example", more=keys)
    raw = raw_of([field for one in reversed(sets) for field in one.fields] + list(headers), body)
    passed = hop(zone=lookup)(raw)
    assert arc_of(passed).reason is None
    assert passed.outcome.sealed is sealed
    assert arc_of(hop("", zone=lookup)(passed.raw, **LATER)).result == "pass"


@pytest.mark.parametrize(
    ("results", "reason"),
    [(" (i=30) i=1; x; none", "wrong instance"), (" (i=70) i=1; x; none", "dkimpy refuses it: ParameterError")],
)
def test_an_instance_that_dkimpy_reads_otherwise(hop, results, reason):
    """A chain that passes, with a second i= where only a lenient reader sees it: no set with a wrong number."""
    headers, body = fields_of(MESSAGE)
    first = signing.seal(list(headers), body, message={"t": None}, results=results)
    lookup = zone("fwd.example", more={"arc._domainkey.hop1.example": signing.key_record(signing.rsa_key()).decode()})
    passed = hop(zone=lookup)(raw_of([*first.fields, *headers], body))
    assert arc_of(passed).result == "pass"
    assert (passed.outcome.sealed, text_of(passed.outcome.seal_reason)) == (False, reason)
    assert arc_of(hop("", zone=lookup)(passed.raw, **LATER)).result == "pass"


def test_a_chain_that_dns_kept_from_us_is_left_alone(hop):
    first = hop()(MESSAGE)
    silent = zone("second.example", failed=["seal._domainkey.fwd.example"])
    second = hop("second.example", zone=silent, mode="monitor")(first.raw, **LATER)
    assert arc_of(second).result == "fail"
    assert (second.outcome.sealed, text_of(second.outcome.seal_reason)) == (
        False,
        "a key of the chain could not be asked for",
    )
    assert arc_of(hop("")(second.raw, **LATER)).result == "pass"


# --- what is not sealed


def test_refused_mail_is_not_sealed(hop):
    passed = hop()(MESSAGE, client_ip="192.0.2.66")
    assert (passed.outcome.decision.action, passed.outcome.sealed) == ("reject", None)
    assert text_of(passed.outcome.seal_reason) == "not accepted"
    assert passed.raw == MESSAGE


def test_held_mail_is_sealed_with_what_was_found(hop):
    passed = hop(reject_action="quarantine")(MESSAGE, client_ip="192.0.2.66")
    assert (passed.outcome.decision.action, passed.outcome.sealed) == ("quarantine", True)
    assert "dmarc=fail" in passed.values("ARC-Authentication-Results")[0]


@pytest.mark.parametrize(
    ("rcpt", "sealed"),
    [
        ((b"you@fwd.example",), None),
        ((b"you@other.example", b"Members@Fwd.Example"), True),
        ((b"any@lists.example",), True),
        ((b"any@sub.lists.example",), None),
        ((b"\xff@lists.example",), True),
        ((), None),
    ],
)
def test_recipients(hop, rcpt, sealed):
    passed = hop(recipients=["members@fwd.example", "lists.example"])(MESSAGE, rcpt=rcpt)
    assert passed.outcome.sealed is sealed
    assert bool(passed.values("ARC-Seal")) == bool(sealed)


def test_a_header_cut_short_is_not_sealed(hop):
    passed = hop()(MESSAGE, truncated="max_header_fields")
    assert (passed.outcome.sealed, text_of(passed.outcome.seal_reason)) == (False, "header exceeds max_header_fields")


def test_fields_too_large_to_sign(hop, caplog):
    passed = hop()(b"References: " + b" <x@y.example>\r\n" * 20_000 + MESSAGE)
    assert (passed.outcome.sealed, text_of(passed.outcome.seal_reason)) == (
        False,
        "the fields to be signed are too large",
    )
    assert "4ABC: not sealed: the fields to be signed are too large" in caplog.text


def test_many_fields_of_one_name(hop):
    first = hop(mode="monitor")(b"List-Id: x\r\n" * 2000 + MESSAGE)
    assert first.outcome.sealed is True
    assert first.values("ARC-Message-Signature")[0].count(":") < arc_set.MAX_NAMES
    assert arc_of(hop("", mode="monitor")(first.raw, **LATER)).result == "pass"


def test_lines_stay_short(hop):
    first = hop()(b"DKIM-Signature: x\r\n" * 30 + MESSAGE)
    for field in first.headers[:2]:
        assert max(len(line) for line in (field.name + b":" + field.value).split(b"\r\n")) <= 100
        assert len(field.value.split(b"\r\n")) > 5


def test_a_fault_in_the_making_harms_nothing(hop, monkeypatch, caplog):
    """Any exception of the libraries: the message goes on, without a seal."""
    monkeypatch.setattr(arc_set._Signer, "sign", lambda *_: {}["none"])
    passed = hop()(MESSAGE)
    assert (passed.outcome.sealed, text_of(passed.outcome.seal_reason)) == (False, "internal error")
    assert passed.raw.endswith(MESSAGE)
    assert "ARC sealing failed" in caplog.text


@pytest.mark.parametrize(
    ("index", "change", "reason"),
    [
        (2, (b"dmarc=pass", b"dmarc=fail"), "the recorded results differ from ours"),
        (2, (b"i=1", b"i=2"), "wrong instance"),
        (1, (b"bh=", b"bh=AAAA"), "it would not verify: body hash mismatch"),
        (1, (b"t=1", b"t=0"), "it would not verify: signature mismatch"),
        (0, (b"cv=none", b"cv=pass"), "it would not verify: ARC-Seal 1: wrong chain validation status"),
        (2, (b"spf=pass", b"spf=pass " + b"x" * 1000), "a line would be too long"),
    ],
)
def test_a_set_that_would_not_verify_is_not_put_in(hop, monkeypatch, index, change, reason):
    """Whatever a later dkimpy makes of it."""
    sign = arc_set._Signer.sign

    def spoilt(*given):
        made = sign(*given)
        made[index] = made[index].replace(*change, 1)
        return made

    monkeypatch.setattr(arc_set._Signer, "sign", spoilt)
    passed = hop()(MESSAGE)
    assert passed.outcome.sealed is False
    assert text_of(passed.outcome.seal_reason) == reason


def test_the_record_says_so(hop):
    record = outcomes.recorded(hop()(MESSAGE).outcome)
    assert (record["sealed"], record["seal_reason"]) == (True, None)
    assert " sealed=yes " in hop()(MESSAGE).outcome.log_line()
    record = outcomes.recorded(hop("")(MESSAGE).outcome)
    assert (record["sealed"], record["seal_reason"]) == (None, None)
    assert "sealed=" not in hop("")(MESSAGE).outcome.log_line()


# --- the key


def load(path):
    return sealkey.load(str(path), domain="fwd.example", selector="seal")


@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
def test_keys_in_both_forms(tmp_path, form):
    found = load(arc_hops.pem_file(tmp_path / "k", form=form))
    assert found.record == signing.key_record(signing.rsa_key())


def encrypted():
    return signing.rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


def other(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, arc_hops.NoEncryption())


SHORT = b"""\
-----BEGIN RSA PRIVATE KEY-----
MIIBOgIBAAJBAM+r4tTfOLx7+t5VuLSu8CGPucFbDBKH1A9U8qOrnv3eF4qaliMi
MFt2XDlv6vux8DZKu3cQqnxiiWLQ87pcIaUCAwEAAQJAT5Y0DBiwCawJ7IM1kiko
5fPK4IsgCUn8vxNzGb5/5BIzx14NmJBDytgYP5xW6PYgLIUbJ8uuMY5prIM6oIlf
UQIhAPxonr0EuhzKud0jRPJJODgIA6PrxcG7KYbY1I+Lh5sLAiEA0qBQWzEZ9LYA
guwLrK/ldxVk+vRe8rskQ/JEukClpA8CIQDPVvWGmbp0akdxk0ZQrLrktBihb8zc
Dm3XWoiJffmf7wIgQ1Li3IMxXLrgJvj0Mlp26j14bY622rdevCkwNqh7SZkCIFpG
Q58hwAXxtUpRniRIxRFux1L6qDUHIedBAWKPS8v+
-----END RSA PRIVATE KEY-----
"""
UNUSABLE = {
    "empty": (b"", "not a private key in PEM form"),
    "no key": (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a private key in PEM form"),
    "too large": (b"x" * 1_000_000, "not a private key in PEM form"),
    "encrypted": (encrypted(), "the key is encrypted"),
    "Ed25519": (other(signing.ed25519_key()), "not an RSA key"),
    "elliptic curve": (other(ec.generate_private_key(ec.SECP256R1())), "not an RSA key"),
    "too short": (SHORT, "key too short: no verifier would accept it"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_keys_that_cannot_be_used(tmp_path, name):
    text, reason = UNUSABLE[name]
    (tmp_path / "k").write_bytes(text)
    with pytest.raises(SealKeyError, match=rf"^{tmp_path}/k: {reason}"):
        load(tmp_path / "k")


def test_a_key_that_is_not_there(tmp_path):
    with pytest.raises(SealKeyError, match="No such file or directory"):
        load(tmp_path / "k")


def test_a_key_that_all_can_read(tmp_path, caplog):
    path = arc_hops.pem_file(tmp_path / "k")
    (tmp_path / "k").chmod(0o644)
    with caplog.at_level(logging.WARNING):
        load(path)
    assert "anyone on this machine can read this private key" in caplog.text


def test_the_daemon_reads_the_key_and_the_check_of_a_file_does_not(tmp_path):
    conf = (
        f'[policy]\nsampling_key = "{tmp_path}/s"\n'
        '[arc.seal]\ndomain = "Fwd.example"\nselector = "Seal"\nrecipients = ["A@Fwd.example"]\n'
        f'key_file = "{tmp_path}/k"\n'
    )
    with pytest.raises(ConfigError, match=rf"^\[arc\.seal\] key_file: {tmp_path}/k: No such file"):
        build(parse(conf))
    assert build(parse(conf), keep_key=False).sealer is None
    arc_hops.pem_file(tmp_path / "k")
    sealer = build(parse(conf)).sealer
    assert (sealer.key.domain, sealer.key.selector, sealer.recipients) == ("fwd.example", "seal", {"a@fwd.example"})
