import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth.results import ArcResult, ArcSet, ArcWord
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.mail.domain import Domain
from dmarcmilter.policy import facts, mitigations
from dmarcmilter.policy.rules import TrustedHops
from dmarcmilter.value import replace
from tests.support import outcomes

AUTHOR = Domain("example.com")
VOUCHING = "h.example; dmarc=pass header.from=example.com"


def ids(*values):
    return facts.list_ids(outcomes.message(*(f"List-Id:{value}" for value in values)))


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
        (" " * facts.MAX_LIST_ID + "<a.example>", ""),
        ("<" * 1000, ""),
        ("<a " * 300, ""),
    ],
)
def test_list_id(value, expected):
    assert ids(value) == ((expected,) if expected else ())


def test_several_list_ids():
    assert ids(" <a.example>", "<b.example>", " <a.example>", "not one") == ("a.example", "b.example")
    many = [f" <l{n}.example>" for n in range(100)]
    assert ids(*many) == tuple(f"l{n}.example" for n in range(facts.MAX_LIST_IDS))


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
    assert facts.list_traces(outcomes.message(*fields)) == expected


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_list_id(raw):
    mail = replace(outcomes.message(), headers=(outcomes.Header(b"List-Id", raw),))
    for name in facts.list_ids(mail):
        assert facts.domains.parse(name) == name


def chain(*results):
    return outcomes.arc("pass", [(f"h{n}.example", found) for n, found in enumerate(results)])


def test_hops_are_read_only_for_an_author():
    arc = chain(VOUCHING, "h.example; dmarc=fail header.from=example.com", "; broken")
    assert [hop.vouches for hop in facts.hops(arc, None)] == [None, None, None]
    assert [hop.vouches for hop in facts.hops(arc, AUTHOR)] == [True, False, False]
    newest = facts.hops(arc, None)[0]
    assert (newest.instance, newest.sealer, newest.selector) == (3, "h0.example", "s1")


def test_only_so_many_hops_are_read():
    found = facts.hops(chain(*[VOUCHING] * 50), AUTHOR)
    assert len(found) == 50
    assert [hop.vouches for hop in found] == [True] * facts.MAX_HOPS + [None] * (50 - facts.MAX_HOPS)


def test_only_so_many_octets_are_read():
    long = f"{VOUCHING}; spf=none ({'a' * (facts.MAX_RESULTS // 2)})"
    found = facts.hops(chain(long, VOUCHING, long, VOUCHING), AUTHOR)
    assert [hop.vouches for hop in found] == [True, True, None, None]


# What sites record for a message that passed.
SITES = {
    "Google": "mx.google.com; dkim=pass header.i=@example.com header.s=s1 header.b=abcd1234; spf=pass (google.com: "
    "domain of b@example.com designates 192.0.2.1 as permitted sender) smtp.mailfrom=b@example.com; dmarc=pass "
    "(p=REJECT sp=REJECT dis=NONE) header.from=example.com; dara=pass header.i=@rcpt.example",
    "Google, an earlier chain": "mx.google.com; arc=pass (i=1 spf=pass spfdomain=example.com dkim=pass "
    "dkdomain=example.com dmarc=pass fromdomain=example.com); dmarc=pass (p=NONE sp=NONE dis=NONE arc=pass) "
    "header.from=example.com",
    "Microsoft": "mx.microsoft.com 1; spf=pass (sender ip is 192.0.2.1) smtp.rcpttodomain=x.example "
    "smtp.mailfrom=example.com; dmarc=pass (p=reject sp=reject pct=100) action=none header.from=example.com; "
    "dkim=pass (signature was verified) header.d=example.com; arc=pass (0 oda=1 ltdi=1 "
    "spf=[1,1,smtp.mailfrom=example.com] dkim=[1,1,header.d=example.com] dmarc=[1,1,header.from=example.com])",
    "Microsoft, without a server": "spf=pass (sender IP is 192.0.2.1)\r\n smtp.mailfrom=example.com; dkim=pass "
    "(signature was verified)\r\n header.d=example.com;dmarc=pass action=none\r\n "
    "header.from=example.com;compauth=pass reason=100",
    "Fastmail": "mx1.fastmail.example; x-me-sender=none; x-return-mx=pass header.domain=example.com "
    "policy.is_org=yes (MX Records found: mx.example.com); dmarc=pass policy.published-domain-policy=reject "
    "policy.applied-disposition=none (p=reject,d=none,d.eval=none) policy.policy-from=p header.from=example.com",
    "rspamd": "rspamd.example; dkim=pass header.d=example.com header.s=s1 header.b=abcd; arc=pass "
    '("google.com:s=arc-20160816:i=1"); dmarc=pass (policy=reject) header.from=example.com; '
    'spf=pass (rspamd.example: domain of "b c"@example.com designates 192.0.2.1) smtp.mailfrom="b c"@example.com',
    "OpenARC": "mail.example; dkim=pass (2048-bit key; unprotected) header.d=example.com header.b=0vPzhS0n; "
    "dmarc=pass (p=reject dis=none) header.from=example.com; (null)=pass; smtp.mailfrom=",
    "Mailman": 'mail.lists.example; dkim=pass reason="2048-bit key; unprotected key" header.d=example.com '
    "header.i=@example.com header.b=abcd; dkim-adsp=pass; dkim-atps=neutral; dmarc=pass header.from=example.com",
    "Amazon SES": "amazonses.com; spf=pass (spfCheck: domain of example.com designates 192.0.2.1 as permitted "
    "sender) client-ip=192.0.2.1; envelope-from=dmarc@example.com; helo=mail.example.com; dkim=pass "
    "header.i=@example.com; dmarc=pass header.from=example.com;",
    "Yahoo": "atlas-production.yahoo.example; dkim=pass header.i=@example.com header.s=s1; spf=pass "
    "smtp.mailfrom=example.com; dmarc=pass(p=REJECT) header.from=example.com;",
    "IIJ": "mx.iij.example; dkim=pass (good signature) header.i=@example.com; spf=Pass (mx.iij.example: domain of "
    "b@example.com designates 192.0.2.1) smtp.mailfrom=b@example.com; dmarc=Pass (p=reject, d=none) "
    "header.from=example.com",
    "Zoho": "mx.zohomail.example;\tdkim=pass  header.i=example.com;\tspf=pass  smtp.mailfrom=b@example.com;\t"
    "dmarc=pass header.from=<a@example.com>",
    "Exim": "mx.example; iprev=pass (mail.example.com) smtp.remote-ip=192.0.2.1; spf=pass smtp.mailfrom=example.com; "
    "dkim=pass header.d=example.com header.s=s1 header.a=rsa-sha256; dmarc=pass header.from=example.com; arc=none",
    "OpenDMARC": "mx.example; dmarc=pass (p=reject dis=none) header.from=example.com",
    "one of ours": "mx.example; spf=pass smtp.mailfrom=example.com; dmarc=pass (p=reject dis=none) "
    "header.from=example.com policy.dmarc=reject",
}


@pytest.mark.parametrize("site", SITES)
def test_results_of_large_sites_vouch(site):
    assert [(hop.vouches, hop.unvouched) for hop in facts.hops(chain(SITES[site]), AUTHOR)] == [(True, None)]
    other = SITES[site].replace("header.from=", "header.from=x.").replace("from=x.<a@", "from=<a@x.")
    assert facts.hops(chain(other), AUTHOR)[0].unvouched is facts.Unvouched.OTHER_AUTHOR


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ("", "unreadable"),
        ("h.example 2; dmarc=pass header.from=example.com", "unreadable"),
        ("h.example; none", "no_dmarc"),
        ("h.example; spf=pass, header.from=example.com", "no_dmarc"),
        ("h.example; dmarc=pass header.from=example.com,", "dmarc_unreadable"),
        ("h.example; dmarc=fail header.from=example.com", "dmarc_not_pass"),
        ("h.example; dmarc=pass", "other_author"),
        ("h.example; dmarc=pass header.from=example.net", "other_author"),
        ("h.example; dmarc=pass header.from=", "other_author"),
        (f"{VOUCHING}; spf=none ({'a' * facts.MAX_RESULTS})", "not_read"),
        (VOUCHING, None),
    ],
)
def test_why_a_hop_does_not_vouch(results, expected):
    hop = facts.hops(chain(results), AUTHOR)[0]
    assert hop.unvouched == expected
    assert bool(hop.vouches) is (expected is None)


HOPS = [facts.ArcHop(2, Domain("b.example"), "s", False, facts.Unvouched.DMARC_NOT_PASS)]
HOPS += [facts.ArcHop(1, Domain("a.example"), "s", False, facts.Unvouched.DMARC_UNREADABLE)]


@pytest.mark.parametrize(
    ("trusted", "trusted_hops", "expected"),
    [
        ((), "newest", None),
        (("a.example",), "newest", None),
        (("b.example",), "newest", "dmarc_not_pass"),
        (("a.example", "b.example"), "newest", "dmarc_unreadable"),
        (("b.example",), "all", "untrusted_hop"),
        (("a.example", "b.example"), "all", "dmarc_unreadable"),
    ],
)
def test_why_a_trusted_chain_does_not_vouch(trusted, trusted_hops, expected):
    known = outcomes.facts_about(outcomes.message(), outcomes.evidence(), hops=tuple(HOPS))
    rules = replace(outcomes.RULES, trusted_sealers=frozenset(trusted), trusted_hops=TrustedHops(trusted_hops))
    assert mitigations.why_unvouched(known, rules) == expected
    vouching = replace(known, hops=(replace(HOPS[0], vouches=True, unvouched=None), HOPS[1]))
    assert mitigations.why_unvouched(vouching, rules) == ("untrusted_hop" if expected == "untrusted_hop" else None)


@pytest.mark.parametrize("word", ["none", "fail"])
def test_no_hops_without_a_passing_chain(word):
    arc = ArcResult(ArcWord(word), (ArcSet(1, Domain("h.example"), "s", VOUCHING.encode()),))
    assert facts.hops(arc, AUTHOR) == ()
    assert facts.arc_origin(arc) is None


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
    assert facts.organization(Domain(author), found.author_policy.discovery, outcomes.SUFFIXES) == expected
    assert facts.organization(Domain(author), None, outcomes.SUFFIXES) == expected


def test_organization_is_never_narrower_than_what_the_records_say():
    """A suffix list that does not know the registry's names must not make strangers of siblings."""
    records = {"_dmarc.a.corp.test": "v=DMARC1; p=none; psd=n", "_dmarc.corp.test": "v=DMARC1; p=none"}
    found = outcomes.evidence(author="a.corp.test", record="", zone=records)
    assert found.author_policy.discovery.organizational_domain == "a.corp.test"
    assert facts.organization(Domain("a.corp.test"), found.author_policy.discovery, outcomes.SUFFIXES) == "corp.test"


def test_of_message():
    found = outcomes.evidence(
        spf=outcomes.spf("temperror a.example"),
        dkim=[
            outcomes.dkim(text)
            for text in ("pass b.example", "fail c.example", "pass b.example", "temperror d.example")
        ],
    )
    mail = outcomes.message(mail_from=b"", recipients=(b"r@example.net",))
    known = facts.of_message(mail, found.results, found.author_policy.author)
    assert (known.author, known.author_problem, known.null_reverse_path) == (AUTHOR, None, True)
    assert (known.spf_domain, known.dkim_domains) == (None, ("b.example",))
    assert known.unresolved == ("d.example", "a.example")
    assert known.authenticated == ("b.example",)
    assert (str(known.day), known.recipients) == ("2027-01-15", (b"r@example.net",))


def test_the_day_is_that_of_utc():
    late = outcomes.datetime.fromisoformat("2027-01-15T23:30:00-05:00")
    found = outcomes.evidence()
    known = facts.of_message(outcomes.message(received_at=late), found.results, found.author_policy.author)
    assert str(known.day) == "2027-01-16"


@pytest.mark.parametrize(
    ("author", "possibly_aligned", "expected"),
    [
        ("a.example.com", ["example.com"], True),
        ("a.example.com", ["other.example", "b.example.com"], True),
        ("a.example.com", ["other.example"], False),
        ("a.example.com", [], False),
        ("shop.hosting.example", ["thief.hosting.example"], False),
        ("shop.hosting.example", ["mail.shop.hosting.example"], True),
        ("hosting.example", ["thief.hosting.example"], False),
        (None, ["example.com"], False),
    ],
)
def test_customers_of_one_provider_are_not_one_organization(author, possibly_aligned, expected):
    # RFC 7489 3.2, by the whole public suffix list
    suffixes = Suffixes.of_text("com\nexample\n// ===BEGIN PRIVATE DOMAINS===\nhosting.example\n")
    assert facts.likely_aligned(author, possibly_aligned, suffixes) is expected
