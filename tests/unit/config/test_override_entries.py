"""[[override]] in the conf file."""

import re
from datetime import date
from ipaddress import ip_network
from pathlib import Path

import pytest

from dmarcmilter import receiver
from dmarcmilter.cli import main
from dmarcmilter.config import load, override_entries
from dmarcmilter.config.load import ConfigError
from dmarcmilter.policy.rules import EntryAction, NamePattern, OverrideRule, ReasonType, RecipientPattern
from tests.support.paths import PROJECT

DOCS = (PROJECT / "docs" / "overrides.md").read_text(encoding="utf-8")
FULL = """
[[override]]
action = "none"
name = "newsletter"
from_domain = ["Example.com", "=example.org"]
dkim_domain = "esp.example"
spf_domain = "bücher.example"
client = ["192.0.2.7/24", "2001:db8::1"]
list_id = "l.example"
arc_sealer = "=hop.example"
recipient = ["Joe@Example.net", "@a.example", "=b.example", "c.example"]
require_auth = false
reason = "trusted_forwarder"
comment = "ticket 4711"
expires = 2027-06-30
"""


def entries(text):
    return override_entries.parsed(load.parse(text).override)


def name(text, *, exact=False):
    return NamePattern(text, exact)


def test_all_keys():
    assert entries(FULL) == (
        OverrideRule(
            name="newsletter",
            action=EntryAction.NONE,
            from_domain=(name("example.com"), name("example.org", exact=True)),
            dkim_domain=(name("esp.example"),),
            spf_domain=(name("xn--bcher-kva.example"),),
            client=(ip_network("192.0.2.0/24"), ip_network("2001:db8::1")),
            list_id=(name("l.example"),),
            arc_sealer=(name("hop.example", exact=True),),
            recipient=(
                RecipientPattern(name("example.net", exact=True), "joe"),
                RecipientPattern(name("a.example")),
                RecipientPattern(name("b.example", exact=True)),
                RecipientPattern(name("c.example")),
            ),
            require_auth=False,
            reason=ReasonType.TRUSTED_FORWARDER,
            comment="ticket 4711",
            expires=date(2027, 6, 30),
        ),
    )


def test_entries_without_a_name_have_their_number():
    text = '[[override]]\naction = "reject"\nfrom_domain = "a.example"\n'
    assert [entry.name for entry in entries(text * 3)] == ["1", "2", "3"]


WRONG = [
    ('from_domain = "a.example"', r"^conf: line 1, column 1: \[\[override\]\] action: is missing; write one of "),
    ('action = "drop"', r"^conf: line 2, column 1: \[\[override\]\] action: \"drop\" is not allowed; "),
    (
        'action = "none"',
        r"^conf: line \d, column 1: \[\[override\]\] 1: it needs at least one of from_domain, dkim_domain",
    ),
    ('action = "reject"\nfrom_domian = "a.example"', r"unknown key from_domian; the nearest known is from_domain"),
    ('action = "reject"\nfrom_domain = "*.a.example"', r"\] 1: from_domain: '\*\.a\.example' is not a domain name"),
    ('action = "reject"\nfrom_domain = "a@b.example"', r"is not a domain name"),
    ('action = "none"\nclient = "192.0.2.0/33"', r"\[\[override\]\] 1: client: '192.0.2.0/33'"),
    ('action = "none"\nclient = "mx.a.example"', r"\[\[override\]\] 1: client: 'mx.a.example'"),
    ('action = "none"\nclient = 5', r"^conf: line \d, column 1: \[\[override\]\] client: "),
    ('action = "none"\nclient = "192.0.2.1"\nrecipient = "a@b@"', r"'a@b@' is neither an address nor a domain name"),
    (
        'action = "none"\nclient = "192.0.2.1"\nreason = "forwarded"',
        r"^conf: line \d, column 1: \[\[override\]\] reason: ",
    ),
    ('action = "none"\nclient = "192.0.2.1"\nreason = "policy_test_mode"', r"reason: \"policy_test_mode\" is for t=y"),
    ('action = "none"\nclient = "192.0.2.1"\ncomment = "a\\nb"', r"comment: one line of at most 200 ASCII"),
    ('action = "none"\nclient = "192.0.2.1"\nname = "ä"', r"name: at most 64 plain characters"),
    (
        'action = "none"\nclient = "192.0.2.1"\nexpires = "soon"',
        r"^conf: line \d, column 1: \[\[override\]\] expires: ",
    ),
    ('action = "none"\nfrom_domain = "a.example"', r'1: action "none" needs something that a sender cannot just write'),
    ('action = "accept"\nlist_id = "a.example"\nrecipient = "b.example"', r'action "accept" needs something'),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_wrong(text, message):
    with pytest.raises(ConfigError, match=message):
        load.parse(f"[[override]]\n{text}\n")


def test_the_message_names_the_entry():
    good = 'action = "reject"\nfrom_domain = "a.example"\n'
    with pytest.raises(ConfigError, match=r"\[\[override\]\] second: it needs"):
        load.parse(f'[[override]]\n{good}[[override]]\nname = "second"\naction = "none"\n')


def test_names_tell_entries_apart():
    entry = 'action = "reject"\nfrom_domain = "a.example"\n'
    with pytest.raises(ConfigError, match="several entries are called '2'"):
        load.parse(f'[[override]]\nname = "2"\n{entry}[[override]]\n{entry}')


def test_too_many():
    found = tuple(
        override_entries.OverrideEntry(EntryAction.REJECT, from_domain=f"d{n}.example")
        for n in range(override_entries.MAX_ENTRIES + 1)
    )
    assert len(override_entries.parsed(found[:-1])) == override_entries.MAX_ENTRIES
    with pytest.raises(ValueError, match="more than 1000 entries"):
        override_entries.parsed(found)


def test_the_site_has_them(tmp_path):
    conf = load.parse(
        f'[policy]\nrollout_percent = 5\nrollout_domains = ["A.example"]\nmailing_lists = ["l.example"]\n'
        f'sampling_key = "{tmp_path}/key"\n[arc]\ntrusted_sealers = ["h.example"]\ntrusted_hops = "all"\n'
        f'[forwarders]\nnetworks = ["192.0.2.1/24"]\nnames = ["f.example"]\n{FULL}'
    )
    rules = receiver.build(conf).pipeline.rules
    assert (rules.rollout_percent, rules.rollout_domains, rules.mailing_lists) == (5, ("a.example",), ("l.example",))
    assert (rules.trusted_hops, rules.trusted_sealers) == ("all", {"h.example"})
    assert (rules.forwarder_networks, rules.forwarder_names) == ((ip_network("192.0.2.0/24"),), ("f.example",))
    assert [entry.name for entry in rules.overrides] == ["newsletter"]
    assert (rules.needs_recipients, rules.forces) == (True, False)


def test_shown_as_it_can_be_read_again(tmp_path: Path):
    from click.testing import CliRunner

    (tmp_path / "a.toml").write_text(FULL, encoding="utf-8")
    shown = CliRunner().invoke(main, ["config", "show", "-n", str(tmp_path / "a.toml")]).output
    assert shown.startswith("[[override]]\n")
    assert entries(shown) == entries(FULL)


def test_the_example_in_the_sample_conf_can_be_used():
    sample = (PROJECT / "conf" / "dmarcmilter.toml").read_text(encoding="utf-8")
    block = sample[sample.index("# [[override]]") :].partition("\n\n")[0]
    [entry] = entries("\n".join(line.removeprefix("# ") for line in block.splitlines()))
    assert (entry.name, entry.action, entry.require_auth) == ("newsletter service", EntryAction.NONE, True)


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL))
def test_the_examples_of_the_page_can_be_used(block):
    load.parse(block)
