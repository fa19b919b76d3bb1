import time

import pytest

from dmarcmilter.auth.results import SpfWord
from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.mail import message_file
from dmarcmilter.mail.message import Message
from dmarcmilter.pipeline import identifiers_of, names_at_end_of_headers, names_at_mail_from, read
from dmarcmilter.policy import deferral_times
from dmarcmilter.policy.deferral_times import Deferrals
from dmarcmilter.policy.rules import Action
from dmarcmilter.response import plan
from dmarcmilter.value import replace
from tests.support import outcomes, signing
from tests.support.pipeline_rows import (
    BODY,
    CUT_OFF,
    FROM,
    KEY,
    REJECT,
    ROWS,
    junk,
    message_of,
    out_of_time,
    processed,
    zone_of,
)
from tests.support.zone import Zone


@pytest.mark.parametrize(("trusted", "expected"), [(False, "fail"), (True, "pass")], ids=["stranger", "trusted"])
def test_a_chain_is_waited_for_if_its_newest_sealer_is_named(trusted, expected):
    """RFC 8617 7.2: whoever is not trusted could only delay the message."""
    headers = outcomes.fields("From: a@example.com", "Subject: x")
    sealed = signing.seal(headers, BODY)
    received_at = outcomes.datetime.fromtimestamp(signing.NOW, outcomes.UTC)
    message = Message(outcomes.envelope(received_at=received_at), (*sealed.fields, *headers), size=100)
    reading = read(message.headers)
    reading.body.feed(BODY)
    sealer = reading.chain.sets[0].signer
    zone = Zone({"_dmarc.example.com": "v=DMARC1; p=reject"})
    zone.records[sealer.key_name] = {"TXT": (signing.key_record(signing.rsa_key()),)}
    settings = outcomes.settings(rules=outcomes.rules(trusted_sealers=[sealer.domain] if trusted else []))
    outcome = outcomes.processed(message, reading, zone, settings, unaligned=out_of_time)
    assert outcome.auth.arc.result == expected


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_process(row):
    outcome, _ = processed(row)
    record = outcomes.recorded(outcome)
    assert record["spf"]["result"] == row["spf"]
    assert [found["result"] for found in record["dkim"]] == row.get("dkim", [])
    assert record["dmarc"]["result"] == row["dmarc"]
    aligned = [f"{found['mechanism']} {found['domain']}" for found in record["dmarc"]["aligned"]]
    assert aligned == row.get("aligned", [])
    assert (record["disposition"], record["action"]) == (row["disposition"], row["action"])
    assert row.get("author_problem") == record["author_problem"]
    assert (record["mail_from_domain"] or "") == row.get("mail_from_domain", "example.com")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_what_is_asked_could_be_asked_ahead(row):
    """All but what only an answer leads to: names of SPF terms, and the walk of an identifier below the author."""
    message, _ = message_of(row)
    reading = read(message.headers, truncated=row.get("truncated", ""))
    settings = outcomes.settings(method=Method(row.get("method", "treewalk")))
    _, zone = processed(row)
    ahead = {*names_at_mail_from(message.envelope), *names_at_end_of_headers(reading, settings)}
    later = {"_dmarc.mail.example.com", "_dmarc.mta.example.net"}
    assert {name for name, rdtype in zone.asked if rdtype == "TXT"} - ahead <= later


def test_pct_draws_with_the_sampling_key():
    # POL-12
    row = {"zone": {"_dmarc.example.com": "v=DMARC1; p=reject; pct=50"}}
    seen = {
        bytes([n]): [processed(row, sampling_key=bytes([n]) * 32)[0].sampled_out for _ in range(2)] for n in range(20)
    }
    assert {tuple(pair) for pair in seen.values()} == {(True, True), (False, False)}
    ignored = [processed(row, sampling_key=bytes([n]) * 32, honor_pct=False)[0] for n in range(20)]
    assert {outcome.decision.action for outcome in ignored} == {"reject"}


def test_effort_and_mode():
    outcome, _ = processed({"rules": {"mode": "monitor"}})
    assert outcome.mode == "monitor"
    assert outcome.effort.dns_queries == 0


def test_identifiers_are_those_that_may_authenticate():
    # RES-11
    found = identifiers_of(
        "a.example",
        outcomes.spf("temperror a.example"),
        map(outcomes.dkim, ["pass b.example", "fail c.example", "temperror d.example", "pass b.example", "pass"]),
    )
    assert found == ["b.example", "a.example", "d.example"]
    for word in set(SpfWord) - {SpfWord.PASS, SpfWord.TEMPERROR}:
        assert identifiers_of("a.example", outcomes.spf(f"{word} a.example"), ()) == []


def test_identifiers_nearest_to_the_author_come_first():
    # RFC 9989 4.10.2: only so many Organizational Domains are looked up.
    near, cut_off = outcomes.dkim("pass x.mail.a.example"), replace(outcomes.dkim("policy b.a.example"), cut_off=True)
    results = [*map(outcomes.dkim, ["temperror mail.a.example", "pass a.example", "pass other.example"]), near, cut_off]
    found = identifiers_of("mail.a.example", None, results)
    assert found == ["x.mail.a.example", "a.example", "other.example", "mail.a.example", "b.a.example"]


def test_names_at_mail_from():
    assert names_at_mail_from(outcomes.envelope(mail_from=b"a@B.example")) == ["b.example"]
    assert names_at_mail_from(outcomes.envelope(mail_from=b"")) == ["mta.example.net"]
    assert names_at_mail_from(outcomes.envelope(mail_from=b"a@localhost")) == []


def test_a_header_that_was_cut_short_has_no_author():
    reading = read(outcomes.fields("From: a@example.com"), truncated="max_header_fields")
    assert reading.author.domain is None
    assert reading.author.domains == ("example.com",)
    assert "max_header_fields" in str(reading.author.reason)


def test_results_within_the_body_are_no_results():
    # AR-21
    inner = b"Authentication-Results: mx.example.net; dmarc=pass header.from=example.com\r\nFrom: a@example.com\r\n"
    mail = message_file.parse(b"From: a@example.com\r\nContent-Type: message/rfc822\r\n\r\n" + inner)
    reading = read(mail.headers)
    reading.body.feed(mail.body)
    message = Message(outcomes.envelope(), mail.headers, size=100)
    zone = Zone({"_dmarc.example.com": "v=DMARC1; p=reject"})
    outcome = outcomes.processed(message, reading, zone, outcomes.settings())
    assert outcome.record().dmarc.result == "fail"
    assert plan.forged_fields(mail.headers, ["mx.example.net"]) == ()


BOMB = "v=spf1 include:a.hole.example include:b.hole.example -all"


def test_the_author_is_asked_before_anybody_whom_the_sender_chose():
    """RFC 9989 5.3.6: whoever spends the DNS budget on names of his own hides no fail of the author's (RES-11)."""
    row = {
        "header": ["From: A <a@sub.example.com>", "To: b@example.net"],
        "signed": [f"{letter}.hole.example" for letter in "abcdefgh"] + ["sub.example.com"],
        "from": "x@hole.example",
        "zone": {
            "_dmarc.example.com": "v=DMARC1; p=none; np=reject",
            "hole.example": {"TXT": [BOMB]},
            "a.hole.example": {"TXT": ["v=spf1 -all"]},
            "b.hole.example": {"TXT": ["v=spf1 -all"]},
        },
    }
    outcome, zone = processed(row)
    assert (outcome.evaluation.result, outcome.decision.action) == ("fail", "reject")
    hostile = [index for index, name in enumerate(zone.names) if name.endswith("hole.example")]
    honest = [index for index, name in enumerate(zone.names) if name.endswith("example.com")]
    assert len(hostile) >= 11
    assert {"_dmarc.sub.example.com", "sub.example.com", "sel._domainkey.sub.example.com"} <= set(zone.names)
    assert max(honest) < min(hostile)
    # What goes out ahead of need is in the same order.
    message, _ = message_of(row)
    ahead = names_at_end_of_headers(read(message.headers), outcomes.settings())
    assert "hole.example" not in "".join(ahead[:4])
    assert "sel._domainkey.sub.example.com" in ahead[:4]


def test_spf_of_the_author_is_asked_before_keys_of_strangers():
    row = {
        "signed": [f"{letter}.hole.example" for letter in "abcdefgh"],
        "from": "x@example.com",
        "zone": {
            "_dmarc.example.com": "v=DMARC1; p=reject",
            "example.com": {"TXT": ["v=spf1 include:_a.example.com -all"]},
            "_a.example.com": {"TXT": ["v=spf1 -all"]},
        },
    }
    _, zone = processed(row)
    assert zone.names.index("_a.example.com") < zone.names.index("sel._domainkey.a.hole.example")


# --- what is asked of a message only when something depends on it

SPOOFED = {"from": "x@hole.example", "zone": {"_dmarc.example.com": "v=DMARC1; p=reject"}}
PTR = {"1.2.0.192.in-addr.arpa": {"PTR": ["mx.forward.example"]}, "mx.forward.example": {"A": ["192.0.2.1"]}}
FORWARDER = {"forwarder_names": ["forward.example"]}


def test_a_forwarder_is_known_by_its_confirmed_name():
    outcome, _ = processed(SPOOFED | {"zone": SPOOFED["zone"] | PTR, "rules": FORWARDER})
    record = outcomes.recorded(outcome)
    assert (record["action"], record["overrides"][0]["type"]) == ("accept", "trusted_forwarder")
    assert record["client_names"] == {"confirmed": ["mx.forward.example"], "failed": False}


@pytest.mark.parametrize(
    "row",
    [
        SPOOFED,
        SPOOFED | {"zone": {"_dmarc.example.com": "v=DMARC1; p=none"}, "rules": FORWARDER},
        {"signed": ["example.com"], "keys": ["example.com"], "zone": SPOOFED["zone"], "rules": FORWARDER},
        {"zone": {}, "rules": FORWARDER},
    ],
    ids=["no such rule", "nothing to soften", "a pass", "no policy"],
)
def test_the_client_is_not_asked_about_for_nothing(row):
    outcome, zone = processed(row)
    assert not [name for name, rdtype in zone.asked if rdtype == "PTR"]
    assert outcomes.recorded(outcome)["client_names"] is None


def test_draws_are_made_for_what_may_be_enforced():
    failed = processed(SPOOFED | {"zone": {"_dmarc.example.com": "v=DMARC1; p=reject; pct=50"}})[0]
    assert None not in (failed.evaluation.pct_draw, failed.facts.rollout_draw)
    assert processed(SPOOFED)[0].evaluation.pct_draw is None
    passed = {
        "signed": ["example.com"],
        "keys": ["example.com"],
        "zone": {"_dmarc.example.com": "v=DMARC1; p=reject; pct=0"},
    }
    for row in (passed, {}):
        delivered = processed(row)[0]
        assert (delivered.evaluation.pct_draw, delivered.facts.rollout_draw) == (None, None)


def test_a_forced_policy_where_none_is_published():
    forced = {"rules": {"overrides": [{"from_domain": "example.com", "action": "reject"}]}}
    assert processed(SPOOFED | forced | {"zone": {}})[0].decision.action == "reject"
    signed = {"signed": ["mail.example.com"], "keys": ["mail.example.com"]}
    assert processed(SPOOFED | forced | signed | {"zone": {}})[0].decision.action == "accept"


FORGERIES = {
    "junk signature": {"signed": ["example.com"], "failed": ["sel._domainkey.example.com"]},
    "junk signature of a name below": {"signed": ["old.example.com"], "failed": ["sel._domainkey.old.example.com"]},
    "MAIL FROM below a lame delegation": {"from": "a@lame.example.com", "failed": ["lame.example.com"]},
    "From below a lame delegation": {
        "header": ["From: a@x.lame.example.com"],
        "failed": ["_dmarc.x.lame.example.com", "_dmarc.lame.example.com", "x.lame.example.com", "lame.example.com"],
    },
    "From a lame name, and MAIL FROM too": {
        "header": ["From: a@lame.example.com"],
        "from": "a@lame.example.com",
        "failed": ["_dmarc.lame.example.com", "lame.example.com"],
    },
}
METHODS = list(Method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("published", ["quarantine", "reject"])
@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_a_failed_lookup_holds_a_forgery(forgery, published, method, tmp_path):
    row = forgery | {"zone": {"_dmarc.example.com": f"v=DMARC1; p={published}"}, "method": method}
    deferred_first = row | {"rules": {"temperror": "tempfail", "defer": {"cap": 14_400.0}}}
    assert processed(row)[0].decision.action is Action.QUARANTINE
    deferrals = Deferrals(str(tmp_path), bytes(32))
    assert processed(deferred_first, deferrals=deferrals)[0].decision.action is Action.TEMPFAIL
    deferrals.record(message_of(row)[0])
    assert processed(deferred_first, deferrals=deferrals)[0].decision.action is Action.TEMPFAIL
    later = Deferrals(str(tmp_path), bytes(32), now=lambda: time.time() + 14_401)
    assert processed(deferred_first, deferrals=later)[0].decision.action is Action.QUARANTINE
    none = row | {"zone": {"_dmarc.example.com": "v=DMARC1; p=none"}}
    assert processed(none)[0].decision.action is Action.ACCEPT


@pytest.fixture(params=["full", "no directory"])
def useless_deferrals(request, tmp_path, monkeypatch):
    """Deferrals that cannot record one more message of the client's network."""
    if request.param == "no directory":
        (tmp_path / "file").write_text("")
        return Deferrals(str(tmp_path / "file" / "deferred"), bytes(32))
    monkeypatch.setattr(deferral_times, "MAX_OF_SUBNET", 3)
    deferrals = Deferrals(str(tmp_path), bytes(32))
    for number in range(3):
        deferrals.record(outcomes.message(f"Message-ID: <{number}@flood.example>"))
    return deferrals


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_a_full_memory_of_deferrals_lets_no_forgery_through(forgery, useless_deferrals):
    row = forgery | {"zone": {"_dmarc.example.com": "v=DMARC1; p=reject"}, "rules": {"temperror": "tempfail"}}
    outcome, _ = processed(row, deferrals=useless_deferrals)
    assert outcome.decision.action is Action.QUARANTINE
    assert outcomes.recorded(outcome)["deferral_unrecorded"] is True
    assert outcomes.recorded(outcome)["deferred_for"] is None
    assert [str(found.reason) for found in outcome.decision.overrides] == [
        "a DNS error left the DMARC result open: at most quarantined"
    ]


def test_without_a_known_policy_what_cannot_be_recorded_is_accepted(useless_deferrals):
    row = {"failed": ["_dmarc.example.com"], "rules": {"temperror": "tempfail"}}
    outcome, _ = processed(row, deferrals=useless_deferrals)
    assert outcome.decision.action is Action.ACCEPT
    comment = "accepted without a DMARC result, because its deferral could not be recorded"
    assert [str(found.reason) for found in outcome.decision.overrides] == [comment]


@pytest.mark.parametrize("method", METHODS)
def test_a_client_name_is_asked_for_before_a_message_is_held_for_a_failed_lookup(method):
    row = FORGERIES["junk signature"] | {
        "zone": {
            "_dmarc.example.com": "v=DMARC1; p=reject",
            "1.2.0.192.in-addr.arpa": {"PTR": ["mx.relay.example"]},
            "mx.relay.example": {"A": ["192.0.2.1"]},
        },
        "rules": {"forwarder_names": ["relay.example"]},
        "method": method,
    }
    outcome, zone = processed(row)
    assert outcome.decision.action is Action.ACCEPT
    assert [str(found.type) for found in outcome.decision.overrides] == ["trusted_forwarder"]
    # Deferred mail is asked about when it comes again.
    _, zone = processed(row | {"rules": row["rules"] | {"temperror": "tempfail"}})
    assert ("1.2.0.192.in-addr.arpa", "PTR") not in zone.asked


def test_an_aligned_signature_among_many_strangers_is_verified():
    # RFC 9989 5.3.5
    header = [*junk("other.example", 30), *junk("sibling.example.com", 30), *FROM]
    for name in ("sub.example.com", "below.sub.example.com"):
        zone = REJECT | {f"sel._domainkey.{name}": KEY}
        assert processed({"header": header, "signed": [name], "zone": zone})[0].evaluation.result == "pass"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("lines", CUT_OFF.values(), ids=CUT_OFF)
def test_what_is_beyond_a_limit_leaves_the_result_open(lines, method):
    """RFC 6376 6.1 lets us limit them, and an aligned one may be among them: held, never refused nor deferred."""
    row = {"header": [*lines, *FROM], "zone": REJECT, "method": method, "rules": {"temperror": "tempfail"}}
    outcome, _ = processed(row)
    assert (outcome.evaluation.result, outcome.evaluation.dns_failures) == ("temperror", ("limit",))
    assert outcome.decision.action is Action.QUARANTINE
    assert outcome.decision.overrides[-1].reason.text() == "a limit left the DMARC result open: at most quarantined"
    none = row | {"zone": {"_dmarc.example.com": "v=DMARC1; p=none"}}
    assert processed(none)[0].decision.action is Action.ACCEPT


@pytest.mark.parametrize(
    "lines",
    [junk("other.example", 40), junk("sub.example.com", 40, a="rsa-sha1"), junk("other.example", zz="x" * 20_000)],
    ids=["strangers", "rsa-sha1", "a stranger's field that is too long"],
)
def test_what_could_not_align_or_pass_leaves_fail_as_it_is(lines):
    outcome, _ = processed({"header": [*lines, *FROM], "zone": REJECT})
    assert (outcome.evaluation.result, outcome.decision.action) == ("fail", "reject")


def test_a_stricter_entry_holds_what_a_limit_leaves_open():
    rules = {"overrides": [{"action": "reject", "from_domain": "example.com"}]}
    outcome, _ = processed({"header": [*junk("sub.example.com", 11), *FROM], "rules": rules})
    assert (outcome.evaluation.result, outcome.decision.action) == ("none", "quarantine")
    assert "a limit left open whether it is the domain's own mail" in str(outcome.decision.overrides[-1].reason)


def test_an_spf_record_that_is_too_long_leaves_the_result_open():
    record = "v=spf1 " + " ".join(f"ip4:198.51.100.{n % 256}" for n in range(400)) + " -all"
    row = {"header": FROM, "from": "a@sub.example.com", "zone": REJECT | {"sub.example.com": record}}
    outcome, _ = processed(row)
    assert (outcome.auth.spf.result, outcome.evaluation.result) == ("permerror", "temperror")
    assert outcome.decision.action is Action.QUARANTINE
    # RFC 7208 4.6.4 itself asks for permerror where its own limits are passed.
    record = "v=spf1 " + " ".join(f"include:i{n}.example" for n in range(11)) + " -all"
    zone = REJECT | {"sub.example.com": record} | {f"i{n}.example": "v=spf1 ?all" for n in range(11)}
    assert processed(row | {"zone": zone})[0].decision.action is Action.REJECT


def test_identifiers_beyond_the_limit_leave_the_result_open():
    # RFC 9989 4.10.2: each of the ten nearest is an organization of its own; of the last nobody asked.
    names = [f"s{n}.example.com" for n in range(11)]
    keys = {f"sel._domainkey.{name}": KEY for name in names}
    own = {f"_dmarc.{name}": "v=DMARC1; p=none; psd=n" for name in names}
    outcome, _ = processed({"header": FROM, "signed": names, "zone": REJECT | keys | own})
    assert (outcome.evaluation.result, outcome.evaluation.dns_failures) == ("temperror", ("limit",))
    assert outcome.decision.action is Action.QUARANTINE
    fewer, _ = processed({"header": FROM, "signed": names[:10], "zone": REJECT | keys | own})
    assert fewer.decision.action is Action.REJECT


def test_one_budget_for_all_names_of_a_header():
    """However many fields of any kind have names in U-labels, the time is that of one budget (RFC 9989 11.5)."""

    def name(number):
        return ".".join("".join("\u00e9\u00c9"[number >> bit & 1] for bit in range(12)) for _ in range(8))

    tags = [f"a=rsa-sha256; d={name(n)}; s={name(n + 1000)}; b=AAAA; bh=AAAA; h=from" for n in range(100)]
    headers = outcomes.fields(
        "From: " + ",".join(f"a@{name(n + 2000)}" for n in range(300)),
        *(f"DKIM-Signature: v=1; {text}" for text in tags),
        *(f"ARC-Seal: i={n}; cv=pass; {text}" for n, text in enumerate(tags[:50], 1)),
    )
    start = time.process_time()
    reading = read(headers)
    assert time.process_time() - start < 1.5
    assert reading.labels.is_spent
    assert reading.author.problem == "malformed"


def test_an_author_of_too_many_labels():
    spelled = ("".join("\u00e9\u00c9"[number >> bit & 1] for bit in range(12)) for number in range(900))
    author = read(outcomes.fields("From: " + ",".join(f"a@{label}.example" for label in spelled))).author
    assert (author.problem, str(author.reason)) == ("malformed", "too many international labels")


def test_the_author_comes_first_in_the_budget():
    names = [f"b\u00fccher{number}.example" for number in range(900)]
    signatures = [f"DKIM-Signature: v=1; d={name}; s={name}; i=@{name}" for name in names]
    assert read(outcomes.fields(*signatures, "From: a@b\u00fccher.example")).author.domain == "xn--bcher-kva.example"


SIGNED = {
    "signed": ["example.com"],
    "zone": {"_dmarc.example.com": "v=DMARC1; p=reject", "sel._domainkey.example.com": KEY},
    "header": ["From: A <a@example.com>", "Subject: x"],
}


def with_fields_on_top(row, *lines):
    message, body = message_of(row)
    message = replace(message, headers=(*outcomes.fields(*lines), *message.headers))
    reading = read(message.headers)
    reading.body.feed(body)
    settings = outcomes.settings(rules=outcomes.rules(**row.get("rules", {})))
    return outcomes.processed(message, reading, zone_of(row), settings)


def test_a_second_subject_above_the_signed_one():
    # RFC 6376 8.15
    outcome = with_fields_on_top(SIGNED, "Subject: another")
    assert (outcome.evaluation.result, outcome.decision.action) == ("pass", Action.ACCEPT)
    assert outcomes.recorded(outcome)["unsigned_duplicates"] == ["subject"]
    assert "unsigned=subject" in outcome.log_line()
    held = with_fields_on_top(SIGNED | {"rules": {"on_unsigned_duplicate": "quarantine"}}, "Subject: another")
    assert (held.evaluation.result, held.decision.action) == ("pass", Action.QUARANTINE)
    # The draw for the rollout is made for it as for what fails.
    assert held.facts.rollout_draw is not None
    assert outcomes.recorded(with_fields_on_top(SIGNED, "X-Any: another"))["unsigned_duplicates"] == []
    spf = SIGNED["zone"] | {"example.com": "v=spf1 ip4:192.0.2.1 -all"}
    rules = {"on_unsigned_duplicate": "quarantine"}
    accepted = with_fields_on_top(
        SIGNED | {"rules": rules, "zone": spf, "from": "a@example.com"}, "Subject: another", "Subject: third"
    )
    assert (accepted.decision.action, accepted.evaluation.unsigned_duplicates) == (Action.ACCEPT, ("subject",))


def test_a_second_from_above_the_signed_one_is_no_pass():
    outcome = with_fields_on_top(SIGNED, "From: ceo@example.com")
    assert (outcome.evaluation.result, outcome.decision.action) == ("permerror", Action.REJECT)
