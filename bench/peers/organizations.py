"""The senders of the corpus and what they publish in DNS: SPF in all its forms, keys, DMARC policies or none.

Their addresses and names are made up and never leave the private network.
"""

import random
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from bench.peers.signing_keys import SigningKey, ed25519_key, rsa_keys
from dmarcmilter.value import Value

Records = dict[str, dict[str, list[Any]]]
"""Name to type to data, as `dmarcmilter.testing.name_server` takes it; the data of MX is (preference, host)."""

ORGANIZATIONS = 200
PROVIDERS = 6
LISTS = 4
SELECTORS = {"rsa-2048": "s2048", "rsa-1024": "old", "ed25519": "ed"}
SUFFIXES = {"com": 38, "net": 13, "co.uk": 13, "org": 6, "de": 6, "com.au": 6, "io": 6, "co.jp": 6, "fr": 6}
"""Public suffix to its share in percent."""
TRADES = ("account", "market", "garden", "river", "travel", "office", "energy", "school", "health", "design")
SPF_FORMS = {
    "ip4": 22, "ip6": 8, "a": 8, "mx": 10, "include 1": 10, "include 2": 12, "include 3": 9, "include 4": 6,
    "exists": 4, "redirect": 4, "none": 5, "permerror": 2,
}  # fmt: skip
"""Form of the SPF record to its share in percent."""
SPF_ENDS = {"-all": 50, "~all": 42, "?all": 8}
SPF_RESULTS = {"-all": "fail", "~all": "softfail", "?all": "neutral"}
POLICIES = {"": 15, "none": 40, "quarantine": 20, "reject": 25}
"""p= to its share in percent; empty: no record."""


class Relay(Value):
    """A mailing service, which signs as a third party, or a mailing list, which seals (ARC)."""

    name: str
    servers: tuple[tuple[str, str], ...]
    """Host names and addresses. The domain's SPF record authorizes them."""
    key: SigningKey


class Organization(Value):
    name: str
    weight: float
    """Share of the mail, relative to others."""
    provider: Relay
    servers: tuple[tuple[str, str], ...]
    spf_form: str
    authorized: frozenset[str]
    """Addresses that pass SPF for the domain and for bounce.NAME."""
    spf_otherwise: str
    """SPF result of other addresses."""
    keys: dict[str, SigningKey]
    """By kind, as in SELECTORS; the same keys at news.NAME."""
    policy: str
    subdomain_policy: str
    """sp=; empty: none."""
    news_policy: str
    """p= of a record of news.NAME's own; empty: it has none."""
    strict_dkim: bool
    strict_spf: bool


class Senders(Value):
    organizations: tuple[Organization, ...]
    lists: tuple[Relay, ...]
    records: Records


def senders(seed: str, organizations: int = ORGANIZATIONS) -> Senders:
    return _Publisher(seed).all(organizations)


def pick(chance: random.Random, shares: dict[str, int]) -> str:
    return chance.choices(list(shares), list(shares.values()))[0]


class _Publisher:
    def __init__(self, seed: str) -> None:
        self.seed, self.records = seed, Records()
        self.chance = random.Random(f"{seed} organizations")  # noqa: S311  no secret
        self.rsa = {bits: rsa_keys(seed, bits, SELECTORS[f"rsa-{bits}"]) for bits in (1024, 2048)}

    def all(self, count: int) -> Senders:
        providers = [self._relay(f"provider{number}-mailer.net", 400 + number, 12) for number in range(PROVIDERS)]
        lists = [self._relay(f"list{number}-relay.org", 420 + number, 4) for number in range(LISTS)]
        organizations = [self._organization(number, providers) for number in range(count)]
        return Senders(tuple(organizations), tuple(lists), self.records)

    def _add(self, name: str, rdtype: str, data: Any) -> None:
        self.records.setdefault(name, {}).setdefault(rdtype, []).append(data)

    def _servers(self, name: str, network: int, count: int) -> tuple[tuple[str, str], ...]:
        servers = [(f"mail{number}.{name}", f"{_network(network)}.{number}") for number in range(1, count + 1)]
        for host, address in servers:
            self._publish_server(host, address)
        return tuple(servers)

    def _publish_server(self, host: str, address: str) -> None:
        self._add(host, "A" if ip_address(address).version == 4 else "AAAA", address)
        self._add(host, "TXT", "v=spf1 a -all")

    def _relay(self, name: str, network: int, count: int) -> Relay:
        servers = self._servers(name, network, count)
        spf = f"v=spf1 ip4:{_network(network)}.0/25 ip4:193.{network - 390}.0.0/20 ~all"
        for own in (name, f"bounces.{name}"):
            self._add(own, "TXT", f"v=spf1 include:spf.{name} ~all")
        self._add(f"spf.{name}", "TXT", spf)
        self._add(f"_dmarc.{name}", "TXT", f"v=DMARC1; p=reject; rua=mailto:dmarc@{name}")
        key = next(self.rsa[2048])
        self._add(f"{key.selector}._domainkey.{name}", "TXT", key.record)
        return Relay(name, servers, key)

    def _organization(self, number: int, providers: list[Relay]) -> Organization:
        chance = self.chance
        name = f"{chance.choice(TRADES)}-{chance.choice(TRADES)}{number}.{pick(chance, SUFFIXES)}"
        servers = self._servers(name, number, chance.randint(1, 8))
        form, end = pick(chance, SPF_FORMS), pick(chance, SPF_ENDS)
        if form == "ip6":
            servers = (*servers, (f"mail-v6.{name}", f"2a05:d014:{number + 1:x}::25"))
            self._publish_server(*servers[-1])
        if form in ("a", "mx"):
            servers = servers[:3]
        provider = chance.choice(providers)
        policy = pick(chance, POLICIES)
        organization = Organization(
            name=name,
            weight=1 / (1 + number % 97) ** 0.7,
            provider=provider,
            servers=servers,
            spf_form=form,
            authorized=frozenset(address for _, address in servers if form not in ("none", "permerror")),
            spf_otherwise=form if form in ("none", "permerror") else SPF_RESULTS[end],
            keys=dict(self._keys(name)),
            policy=policy,
            subdomain_policy=chance.choice(["", "", "", "", "none", "quarantine", "reject"]) if policy else "",
            news_policy=chance.choice(["none", "quarantine", "reject"]) if policy and chance.random() < 0.15 else "",
            strict_dkim=chance.random() < 0.08,
            strict_spf=chance.random() < 0.06,
        )
        self._publish_hosts(organization)
        self._publish_spf(organization, number, end)
        self._publish_policy(organization)
        return organization

    def _keys(self, name: str) -> Iterator[tuple[str, SigningKey]]:
        keys = {"rsa-2048": next(self.rsa[2048])}
        if self.chance.random() < 0.15:
            keys["rsa-1024"] = next(self.rsa[1024])
        if self.chance.random() < 0.15:
            keys["ed25519"] = ed25519_key(self.seed, name, SELECTORS["ed25519"])
        for kind, key in keys.items():
            for domain in (name, f"news.{name}"):
                self._add(f"{key.selector}._domainkey.{domain}", "TXT", key.record)
            yield kind, key

    def _publish_hosts(self, organization: Organization) -> None:
        name = organization.name
        self._add(name, "A", organization.servers[0][1])
        for preference, (host, _) in enumerate(organization.servers[:3]):
            self._add(name, "MX", (10 + preference, host))
        for subdomain in (f"bounce.{name}", f"news.{name}"):
            self._add(subdomain, "MX", (10, organization.servers[0][0]))

    def _publish_spf(self, organization: Organization, number: int, end: str) -> None:
        name, provider = organization.name, organization.provider.name
        network = f"ip4:{_network(number)}.0/28"
        self._add(name, "TXT", f"site-verification={self.chance.getrandbits(96):x}")
        form, _, depth = organization.spf_form.partition(" ")
        records = {
            "ip4": f"{network} {end}",
            "ip6": f"ip6:2a05:d014:{number + 1:x}::/64 {network} {end}",
            "a": " ".join(["a", *(f"a:{host}" for host, _ in organization.servers[1:]), end]),
            "mx": f"mx {end}",
            "include": f"include:_spf1.{name} include:spf.{provider} {end}",
            "exists": f"exists:%{{i}}._allowed.{name} {end}",
            "redirect": f"redirect=_spf.{name}",
            "permerror": f"include:missing.{name} {end}",
        }
        if form == "none":
            return
        self._add(name, "TXT", f"v=spf1 {records[form]}")
        self._add(f"bounce.{name}", "TXT", f"v=spf1 redirect={name}")
        for level in range(1, int(depth or 0) + 1):
            inner = network if level == int(depth) else f"include:_spf{level + 1}.{name}"
            self._add(f"_spf{level}.{name}", "TXT", f"v=spf1 ip4:194.{level}.{number}.0/24 {inner} ~all")
        if form == "exists":
            for _, address in organization.servers:
                self._add(f"{address}._allowed.{name}", "A", "127.0.0.2")
        if form == "redirect":
            self._add(f"_spf.{name}", "TXT", f"v=spf1 {network} include:spf.{provider} {end}")

    def _publish_policy(self, organization: Organization) -> None:
        name = organization.name
        if not organization.policy:
            return
        tags = [f"v=DMARC1; p={organization.policy}"]
        tags += [f"sp={organization.subdomain_policy}"] * bool(organization.subdomain_policy)
        tags += ["adkim=s"] * organization.strict_dkim + ["aspf=s"] * organization.strict_spf
        self._add(f"_dmarc.{name}", "TXT", "; ".join([*tags, f"rua=mailto:dmarc@{name}"]))
        if organization.news_policy:
            self._add(f"_dmarc.news.{name}", "TXT", f"v=DMARC1; p={organization.news_policy}")


def _network(number: int) -> str:
    """The first three bytes of a network's addresses."""
    return f"185.{20 + number // 200}.{number % 200 + 1}"
