"""Settings that are valid and may not do what their owner thinks. Nothing but the conf is looked at."""

from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from dmarcmilter.advice.finding import Finding, ok, warning
from dmarcmilter.rules import AuthorAction, Mode, QuarantineAction, RejectAction
from dmarcmilter.settings import Config

WIDE = {4: 15, 6: 31}
"""A public network with no longer prefix is more than one organisation's: a /16 or an IPv6 /32 is still one's own."""
QUERIES_OF_ONE = 2
"""Queries that one after the other must at least fit into a message's time for DNS."""
REPORT_DAYS = 3
"""Outcomes of yesterday are reported today, and what arrives late a little after."""

Network = IPv4Network | IPv6Network


def judge(config: Config) -> list[Finding]:
    return [*_enforcement(config), *_author(config), *_ignored(config), *_times(config), *_reports(config)]


def _enforcement(config: Config) -> list[Finding]:
    policy = config.policy
    found = []
    if policy.mode is Mode.MONITOR:
        found.append('[policy] mode is "monitor": results are recorded, no policy is enforced')
    if policy.reject_action is RejectAction.NONE:
        found.append('[policy] reject_action is "none": mail that fails p=reject is delivered')
    if policy.quarantine_action is QuarantineAction.NONE:
        found.append('[policy] quarantine_action is "none": mail that fails p=quarantine is delivered unmarked')
        if policy.reject_action is RejectAction.QUARANTINE:
            found.append('[policy] reject_action is "quarantine", which quarantine_action "none" turns into delivery')
    if not found:
        return [ok(f"[policy] enforced: p=reject is answered with {policy.reject_action}")]
    return [warning(text) for text in found]


def _author(config: Config) -> list[Finding]:
    author = config.author
    return [
        warning(f'[author] {key} is "accept": mail without one clear Author Domain passes without any policy')
        for key in ("on_missing", "on_multiple", "on_malformed")
        if getattr(author, key) is AuthorAction.ACCEPT
    ]


def _ignored(config: Config) -> list[Finding]:
    networks = config.ignore.parsed()
    found = []
    for version, name in ((4, "IPv4"), (6, "IPv6")):
        # Halves of the Internet, listed one by one, are the Internet, too.
        merged = list(collapse_addresses(network for network in networks if network.version == version))
        wide = [network for network in merged if network.prefixlen <= WIDE[version] and _is_public(network)]
        if any(network.prefixlen == 0 for network in merged):
            found.append(f"[ignore] networks holds all of {name}: no mail that comes by it is judged")
        elif wide:
            shown = ", ".join(str(network) for network in wide[:3])
            found.append(f"[ignore] networks holds much of the {name} Internet ({shown}): its mail is not judged")
    return [warning(text) for text in found]


def _is_public(network: Network) -> bool:
    return not (network.is_private or network.is_loopback or network.is_link_local)


def _times(config: Config) -> list[Finding]:
    dns = config.dns
    if dns.timeout * QUERIES_OF_ONE <= dns.message_budget:
        return []
    return [
        warning(
            f"[dns] timeout ({dns.timeout:g} s) is more than half of message_budget ({dns.message_budget:g} s): "
            "one slow name server uses up the time of all checks of a message"
        )
    ]


def _reports(config: Config) -> list[Finding]:
    reports = config.reports
    if not reports.enabled:
        return []
    found = []
    if not reports.sign_domain:
        found.append(
            "[reports] sign_domain is empty: unless the relay signs with DKIM, reports do not pass DMARC, "
            "and receivers may drop them (RFC 9990 3.5.2)"
        )
    if 0 < config.history.retention_days < REPORT_DAYS:
        found.append(
            f"[history] retention_days is {config.history.retention_days}: "
            "outcomes may be gone before their day is reported"
        )
    return [warning(text) for text in found]
