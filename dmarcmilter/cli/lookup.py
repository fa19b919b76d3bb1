"""`dmarcmilter lookup`: the policy that applies to mail From a domain, and the faults of its record."""

import json

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dmarcmilter.cli.command_setup import config_option, fail, json_option, load, resolver
from dmarcmilter.cli.domain_in_argument import NoDomainError, domain_in
from dmarcmilter.config.schema import Config, Pct
from dmarcmilter.dmarc import record as records
from dmarcmilter.dmarc.discovery import Discovery, Method, discover, prefetch_names, with_existence
from dmarcmilter.dmarc.evaluation import assessment_policy
from dmarcmilter.dmarc.public_suffix import Suffixes, SuffixListError
from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.dns.message_lookup import MessageLookup
from dmarcmilter.mail.domain import Domain
from dmarcmilter.reasons import text_of
from dmarcmilter.value import Value

SELECTED, NOT_SELECTED = 0, 99
"""Draws for pct (0 to 99): any pct above 0 selects the first, only pct=100 the second."""


class NearMiss(Value):
    """TXT data that was meant as a DMARC record but is none."""

    name: str
    problem: str
    advice: str


class ShownFault(Value):
    """A fault of the record, with advice for the Domain Owner."""

    tag: str
    problem: str
    advice: str


class DiscoveredPolicy(Value):
    """What one way of discovery leads to. Field names are keys of `lookup --json`."""

    policy_domain: str | None
    organizational_domain: str | None
    record: str | None
    usable: bool | None
    tag: str | None
    published: str | None
    requested: str | None
    when_not_selected: str | None
    """The policy that pct asks for where it does not select the message; None: the same."""
    author_exists: bool | None
    failed: str | None
    """Which lookup failed."""
    notes: list[str]
    faults: list[ShownFault]
    near_misses: list[NearMiss]


class LookupReport(Value):
    """The answer of the command. Field names are keys of `lookup --json`."""

    domain: str
    asked: str
    """The argument of the command."""
    exists: bool | None
    """None: DNS did not answer."""
    existence_failed: str | None
    discovery: str
    """The way in force: treewalk or psl."""
    differ: bool
    treewalk: DiscoveredPolicy
    psl: DiscoveredPolicy

    def policy_by(self, method: Method) -> DiscoveredPolicy:
        return self.treewalk if method is Method.TREEWALK else self.psl


@click.command()
@config_option
@json_option
@click.argument("domain")
def lookup(path: str, domain: str, *, as_json: bool) -> None:
    """Show the policy that applies to mail From DOMAIN.

    By both ways of discovery, with every fault of the record and what to write instead. DOMAIN may also be an address,
    a URL, or the name of a record such as _dmarc.example.com.
    Exit status: 0 a policy applies, 1 none does, 2 for an error.
    """
    config = load(path)
    try:
        author = domain_in(domain)
    except NoDomainError as error:
        fail(str(error))
    try:
        suffixes = Suffixes.load(config.dmarc.psl_file)
    except SuffixListError as error:
        fail(str(error))
    asked = {method: _discover(author, method, suffixes, config) for method in Method}
    discoveries = {method: discovery for method, (discovery, _) in asked.items()}
    in_force = config.dmarc.discovery
    own = _own_name(author, config)
    report = LookupReport(
        domain=author,
        asked=domain,
        exists=True if own.proves_existence else False if own.status is Status.NXDOMAIN else None,
        existence_failed=text_of(own.reason) or None if own.status is Status.FAILED and not own.is_alias else None,
        discovery=str(in_force),
        differ=_differ(discoveries[Method.TREEWALK], discoveries[Method.PSL]),
        treewalk=_described(*asked[Method.TREEWALK], config),
        psl=_described(*asked[Method.PSL], config),
    )
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(report)))
    else:
        _print(report, in_force)
    chosen = discoveries[in_force]
    raise SystemExit(2 if chosen.failed else 0 if chosen.record and chosen.record.usable else 1)


def _own_name(author: Domain, config: Config) -> Answer:
    """Look up the domain itself; NXDOMAIN means that neither the name nor anything below it exists (RFC 8020)."""
    session = MessageLookup(resolver(config), config.dns.message_budget, config.dns.message_queries)
    answer = session(author, "A")
    session.close()
    return answer


def _discover(author: Domain, method: Method, suffixes: Suffixes, config: Config) -> tuple[Discovery, list[NearMiss]]:
    """Discover the policy, and list TXT data on the way to it that was meant as a DMARC record but is none."""
    session = MessageLookup(resolver(config), config.dns.message_budget, config.dns.message_queries)
    discovery = with_existence(discover(author, session, method=method, suffixes=suffixes), session)
    misses = [
        NearMiss(name, fault.problem, fault.advice)
        for name in prefetch_names(author, method, suffixes)
        for text in session(name, "TXT").texts
        if (fault := records.near_miss(text))
    ]
    session.close()
    return discovery, misses


def _differ(one: Discovery, other: Discovery) -> bool:
    """Whether both ways lead to another policy; False where a lookup failed."""
    return not (one.failed or other.failed) and _effective_parts(one) != _effective_parts(other)


def _effective_parts(discovery: Discovery) -> tuple[object, ...]:
    """The parts of a discovery that make a difference to a message."""
    return discovery.policy_domain, discovery.record and discovery.record.text, discovery.organizational_domain


def _described(discovery: Discovery, near_misses: list[NearMiss], config: Config) -> DiscoveredPolicy:
    assessed = assessment_policy(discovery, honor_pct=config.dmarc.pct is Pct.RFC7489, draw=SELECTED)
    left_out = assessment_policy(discovery, honor_pct=config.dmarc.pct is Pct.RFC7489, draw=NOT_SELECTED)
    record = discovery.record
    return DiscoveredPolicy(
        policy_domain=discovery.policy_domain,
        organizational_domain=discovery.organizational_domain,
        record=record.text if record else None,
        usable=record.usable if record else None,
        tag=str(assessed.tag) if assessed else None,
        published=str(assessed.policy) if assessed else None,
        requested=str(assessed.requested) if assessed else None,
        when_not_selected=str(left_out.requested) if left_out and left_out.sampled_out else None,
        author_exists=discovery.author_exists,
        failed=text_of(discovery.failed) or None,
        notes=[note.text() for note in discovery.notes],
        faults=[ShownFault(fault.tag, fault.problem, fault.advice) for fault in (record.faults if record else ())],
        near_misses=near_misses,
    )


def _rows(policy: DiscoveredPolicy) -> dict[str, str | None]:
    """The cells of one column of the table, by the title of their row."""
    return {
        "policy found at": policy.policy_domain,
        "Organizational Domain": policy.organizational_domain,
        "record": policy.record,
        "tag that applies": policy.tag,
        "published policy": policy.published,
        "asked for a failing message": policy.requested,
        "if pct leaves it out": policy.when_not_selected,
        "DNS failure": policy.failed,
    }


def _print(report: LookupReport, in_force: Method) -> None:
    console = Console()
    table = Table(title=f"DMARC policy for mail From {report.domain}", title_justify="left")
    table.add_column("")
    for method in Method:
        rfc = "RFC 9989 tree walk" if method is Method.TREEWALK else "RFC 7489 public suffix list"
        table.add_column(rfc + (" (in force)" if method is in_force else ""), overflow="fold")
    columns = [_rows(report.policy_by(method)) for method in Method]
    for title in columns[0]:
        values = [column[title] for column in columns]
        if any(value is not None for value in values):
            table.add_row(title, *(_plain(value) for value in values))
    console.print(table)
    if report.differ:
        console.print("The two ways of discovery differ for this domain.")
    chosen = report.policy_by(in_force)
    for line in _existence_lines(report, chosen):
        console.print(line, markup=False)
    if chosen.record is None and not chosen.failed:
        console.print("No DMARC record applies: no policy is asked for, and mail From it is delivered whatever it is.")
    if chosen.failed:
        console.print("DNS did not answer: whether there is another record is not known.")
    for note in chosen.notes:
        console.print(f"note: {note}", markup=False)
    for miss in chosen.near_misses:
        console.print(f"at {miss.name}: {miss.problem}. {miss.advice}", markup=False)
    for fault in chosen.faults:
        console.print(f"fault in {fault.tag}: {fault.problem}. {fault.advice}", markup=False)
    if chosen.record and not chosen.faults:
        console.print("No fault was found in the record.")


def _existence_lines(report: LookupReport, chosen: DiscoveredPolicy) -> list[str]:
    """Lines on whether the domain exists; none where it exists and has a record."""
    domain = report.domain
    if report.exists is False:
        return [f"The domain {domain} does not exist (NXDOMAIN)."]
    if report.exists is None:
        return [f"DNS did not answer whether the domain {domain} exists: {report.existence_failed}."]
    return [f"The domain {domain} exists."] if chosen.record is None else []


def _plain(value: str | None) -> Text:
    """For a rich table: text from DNS must not be read as markup."""
    return Text("-" if value is None else value)
