"""Which [[override]] entry decides when criteria and recipients match, may match, or do not. (Rows: test_decision.)"""

from datetime import date, timedelta
from ipaddress import ip_address

import msgspec
import pytest

from dmarcmilter.config import override_entries
from dmarcmilter.dmarc.record import Disposition
from dmarcmilter.mail.domain import Domain
from dmarcmilter.policy import overrides
from dmarcmilter.policy.facts import ArcHop, Facts
from dmarcmilter.policy.rules import EntryAction, ReasonType, TrustedHops
from dmarcmilter.value import replace
from tests.support import outcomes

TODAY = date(2027, 1, 15)
FACTS = Facts(
    author=Domain("example.com"),
    author_problem=None,
    day=TODAY,
    client_ip=ip_address("192.0.2.1"),
    dkim_domains=(Domain("esp.example"),),
    organization=Domain("example.com"),
    recipients=(b"joe@example.net",),
)
BY_ESP = {"dkim_domain": "esp.example"}


def entry(action, **criteria):
    [parsed] = override_entries.parsed([msgspec.convert({"action": action} | criteria, override_entries.OverrideEntry)])
    return parsed


def rules(*entries):
    numbered = tuple(replace(each, name=str(number)) for number, each in enumerate(entries, start=1))
    return replace(outcomes.RULES, overrides=numbered)


def deciding(*entries, requested=Disposition.REJECT, **changes):
    entry = overrides.deciding(replace(FACTS, **changes), rules(*entries), requested)
    return entry.name if entry else None


def test_the_first_matching_entry_decides():
    other = {"dkim_domain": "other.example"}
    assert deciding(entry("accept", **other), entry("none", **BY_ESP), entry("accept", **BY_ESP)) == "2"
    assert deciding(entry("accept", **other)) is None
    assert deciding() is None


def test_all_criteria_must_match_and_one_value_of_each():
    assert deciding(entry("none", dkim_domain=["a.example", "esp.example"], client=["192.0.2.0/24"])) == "1"
    assert deciding(entry("none", dkim_domain="esp.example", client="198.51.100.0/24")) is None


def test_a_client_without_an_address_is_in_no_network():
    assert deciding(entry("none", client="0.0.0.0/0"), client_ip=None) is None


@pytest.mark.parametrize(("days", "name"), [(1, "1"), (0, None), (-1, None)])
def test_an_entry_ends_on_the_day_that_it_names(days, name):
    assert deciding(entry("none", **BY_ESP, expires=TODAY + timedelta(days=days))) == name


# --- who may decide


@pytest.mark.parametrize("action", ["reject", "quarantine"])
@pytest.mark.parametrize("where", ["dkim_domains", "unresolved", "cut_off"])
def test_a_stricter_entry_spares_mail_that_is_or_may_be_the_domains_own(action, where):
    strict = entry(action, from_domain="example.com")
    assert deciding(strict, requested=Disposition.NONE) == "1"
    assert deciding(strict, requested=Disposition.NONE, **{where: (Domain("mail.example.com"),)}) is None


def test_a_stricter_entry_needs_an_organization_and_an_author():
    assert deciding(entry("reject", from_domain="example.com"), requested=Disposition.NONE, organization=None) is None
    assert deciding(entry("reject", client="192.0.2.1"), requested=Disposition.NONE) is None


def test_a_strict_word_that_is_milder_than_the_policy_needs_what_a_sender_cannot_write():
    """quarantine softens p=reject, so it is no entry for everybody who writes that From."""
    assert deciding(entry("quarantine", from_domain="example.com")) is None
    assert deciding(entry("quarantine", **BY_ESP)) == "1"


def test_only_what_is_written_so_softens_for_anyone():
    assert deciding(entry("none", from_domain="example.com", require_auth=False)) == "1"


# --- recipients


JOE = {"recipient": "joe@example.net"}
BOTH = (b"joe@example.net", b"ann@example.net")


@pytest.mark.parametrize(
    ("recipients", "matches"),
    [
        ((b"joe@example.net",), True),
        ((b"JOE@EXAMPLE.net",), True),
        ((b"joe+shop@example.net",), True),
        ((b"joe@sub.example.net",), False),
        ((b"ann@example.net",), False),
        ((b"joey@example.net",), False),
        ((), False),
    ],
)
def test_the_recipient_of_an_address(recipients, matches):
    assert deciding(entry("none", **BY_ESP, **JOE), recipients=recipients) == ("1" if matches else None)


def test_one_of_several_recipients_gets_all_the_stricter_choice():
    """One message gets one answer: an additional recipient must not help a sender."""
    assert deciding(entry("none", **BY_ESP, **JOE), recipients=BOTH) is None
    strict = entry("reject", from_domain="example.com", **JOE)
    assert deciding(strict, requested=Disposition.NONE, recipients=BOTH) == "1"
    assert deciding(strict, requested=Disposition.NONE, more_recipients=True) == "1"


def test_a_recipient_with_several_readings_cannot_evade_a_strict_entry():
    odd = (b"@relay.example:joe@example.net",)
    assert deciding(entry("none", **BY_ESP, **JOE), recipients=odd) is None
    assert (
        deciding(entry("reject", from_domain="example.com", **JOE), requested=Disposition.NONE, recipients=odd) == "1"
    )


def test_a_possible_match_is_weighed_against_the_entry_that_matches_for_sure():
    strict = entry("reject", from_domain="example.com", **JOE)
    assert deciding(strict, entry("none", **BY_ESP), recipients=BOTH) == "1"
    milder = entry("quarantine", from_domain="example.com", **JOE)
    assert deciding(milder, strict, requested=Disposition.NONE, recipients=BOTH) == "2"
    assert deciding(strict, milder, requested=Disposition.NONE, recipients=BOTH) == "1"


# --- ARC


def hops(*sealers):
    return tuple(ArcHop(1, Domain(name), "s", None) for name in sealers)


@pytest.mark.parametrize(
    ("sealers", "newest", "all_hops"),
    [
        (("list.example",), True, True),
        (("trusted.example", "list.example"), True, True),
        (("list.example", "unknown.example"), True, False),
        (("unknown.example", "list.example"), False, False),
        (("trusted.example",), False, False),
        ((), False, False),
    ],
)
def test_a_sealer_counts_with_only_trusted_ones_after_it(sealers, newest, all_hops):
    trusting = rules(entry("none", arc_sealer="list.example"))
    for trusted_hops, matches in ((TrustedHops.NEWEST, newest), (TrustedHops.ALL, all_hops)):
        trusting = replace(trusting, trusted_sealers=frozenset({Domain("trusted.example")}), trusted_hops=trusted_hops)
        facts = replace(FACTS, hops=hops(*sealers))
        assert bool(overrides.deciding(facts, trusting, Disposition.REJECT)) is matches


# --- without a policy, and what is recorded


def test_without_a_policy_only_an_entry_that_accepts_for_sure_counts():
    def accepting(*entries, **changes):
        return overrides.accepting(replace(FACTS, **changes), rules(*entries))

    assert accepting(entry("none", **BY_ESP)) is None
    assert accepting(entry("none", **BY_ESP), entry("accept", **BY_ESP)).name == "2"
    assert accepting(entry("accept", from_domain="example.com", require_auth=False)).name == "1"
    assert accepting(entry("accept", **BY_ESP, **JOE), recipients=BOTH) is None


def test_what_is_recorded_of_an_entry():
    strict = overrides.override(entry("reject", name="n", from_domain="a.example"))
    assert (strict.type, strict.entry) == (ReasonType.LOCAL_POLICY, "n")
    assert strict.reason != overrides.override(entry("accept", **BY_ESP)).reason
    commented = overrides.override(entry("accept", **BY_ESP, reason="trusted_forwarder", comment="ticket 4711"))
    assert (commented.type, str(commented.reason)) == (ReasonType.TRUSTED_FORWARDER, "ticket 4711")


@pytest.mark.parametrize("key", override_entries.CRITERIA)
def test_what_a_sender_cannot_write(key):
    value = "192.0.2.1" if key == "client" else "a.example"
    [parsed] = override_entries.parsed([override_entries.OverrideEntry(EntryAction.QUARANTINE, **{key: value})])
    assert overrides.is_authenticated(parsed) is (key in {"dkim_domain", "spf_domain", "client", "arc_sealer"})
