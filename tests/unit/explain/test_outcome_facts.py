"""What advice takes from a record: own domains, unaligned identifiers, the name that did not answer."""

import pytest

from dmarcmilter.explain import outcome_facts
from dmarcmilter.reasons import Code, Reason
from tests.support.reasons import reason_values
from tests.support.report_outcomes import outcome, passed


def signature(domain, result="pass", **changes):
    return {"domain": domain, "result": result} | changes


def unaligned(record):
    return [(each.mechanism, each.domain, each.strict) for each in outcome_facts.unaligned(record)]


PASSING_SPF = {"result": "pass", "domain": "esp.example"}


def test_each_unaligned_identifier_once_spf_first():
    record = outcome(spf=PASSING_SPF, dkim=[signature("esp.example"), signature("esp.example"), signature("a.example")])
    assert unaligned(record) == [
        ("spf", "esp.example", False),
        ("dkim", "esp.example", False),
        ("dkim", "a.example", False),
    ]


def test_what_did_not_pass_or_is_aligned_is_not_unaligned():
    assert unaligned(outcome(dkim=[signature("esp.example", "fail")])) == []
    assert unaligned(passed()) == []


def test_only_strict_alignment_keeps_the_organizations_own_name_out():
    own = outcome(spf={"result": "pass", "domain": "bounce.example.com"}, dkim=[signature("mail.example.com")])
    assert unaligned(own) == [("spf", "bounce.example.com", False), ("dkim", "mail.example.com", False)]
    strict = outcome(
        spf={"result": "pass", "domain": "bounce.example.com"},
        dkim=[signature("other.example")],
        policy={"aspf": "s", "adkim": "s"},
    )
    assert unaligned(strict) == [("spf", "bounce.example.com", True), ("dkim", "other.example", False)]


def test_without_a_policy_or_author_nothing_is_unaligned():
    assert unaligned(outcome(policy=None, spf=PASSING_SPF)) == []
    assert unaligned(outcome(author_domain=None, spf=PASSING_SPF)) == []


@pytest.mark.parametrize(
    ("name", "own"),
    [("example.com", True), ("a.b.example.com", True), ("EXAMPLE.com", True), ("notexample.com", False), ("com", False),
     ("", False), (None, False), ("a b", False)],
)  # fmt: skip
def test_domains_of_the_authors_organization(name, own):
    record = outcome(author_domain="mail.example.com")
    assert outcome_facts.is_own(record, name) is own


def test_the_author_domain_stands_in_for_an_unknown_organization():
    record = outcome(author_domain="mail.example.com", policy={"organizational_domain": None})
    assert outcome_facts.is_own(record, "mail.example.com")
    assert not outcome_facts.is_own(record, "example.com")


@pytest.mark.parametrize(
    ("ip", "term"), [("192.0.2.1", "ip4:192.0.2.1"), ("2001:db8::1", "ip6:2001:db8::1"), (None, ""), ("junk", "")]
)
def test_the_spf_term_of_the_client(ip, term):
    assert outcome_facts.client_term(outcome(client_ip=ip)) == term


@pytest.mark.parametrize(
    ("changes", "touched"),
    [
        ({}, True),
        ({"would": "accept", "disposition": "none"}, False),
        ({"would": "accept", "disposition": "quarantine"}, True),
        ({"would": "accept", "disposition": "none", "would_disposition": "quarantine"}, True),
        ({"would": "quarantine", "disposition": "none"}, True),
    ],
)
def test_what_would_happen_counts_also_while_monitoring(changes, touched):
    assert outcome_facts.is_touched(outcome(**changes)) is touched


def test_signs_of_a_forwarder():
    assert not outcome_facts.may_be_forwarded(outcome())
    assert outcome_facts.may_be_forwarded(outcome(dkim=[signature("mail.example.com", "fail")]))
    assert not outcome_facts.may_be_forwarded(outcome(dkim=[signature("other.example", "fail")]))
    assert outcome_facts.may_be_forwarded(outcome(lists={"ids": ["l.example"], "traces": []}))
    assert outcome_facts.may_be_forwarded(outcome(lists={"ids": [], "traces": ["Precedence"]}))


def temperror(reason, **changes):
    return outcome(dmarc={"result": "temperror"} | reason_values("reason", reason), **changes)


def test_the_name_that_did_not_answer():
    policy = Reason.of(
        Code.DNS_LOOKUP_FAILED, rdtype="TXT", name="_dmarc.example.com", reason=Reason.of(Code.DNS_TIMEOUT)
    )
    assert outcome_facts.unanswered(temperror(policy)) == "_dmarc.example.com"
    identifier = Reason.of(Code.IDENTIFIER_NOT_CHECKED, mechanism="dkim", domain="example.com")
    key = signature("example.com", "temperror", selector="s1")
    assert outcome_facts.unanswered(temperror(identifier, dkim=[key])) == "s1._domainkey.example.com"
    assert outcome_facts.unanswered(temperror(identifier)) == "example.com"


def test_a_limit_of_ours_names_nobody():
    assert outcome_facts.unanswered(temperror(Reason.of(Code.RESULT_OPEN))) == ""
    assert outcome_facts.unanswered(outcome(dmarc={"result": "temperror", "reason": "words of another version"})) == ""
