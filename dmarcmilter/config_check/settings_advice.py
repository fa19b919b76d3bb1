"""Settings that are valid but may not do what the administrator expects. Looks only at the conf."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from dmarcmilter.config.finding import Finding, ok, warning
from dmarcmilter.config.schema import IGNORED, Config
from dmarcmilter.config_check.wide_networks import too_wide
from dmarcmilter.policy.rules import AuthorAction, DuplicateAction, Mode, QuarantineAction, RejectAction

MIN_QUERIES = 2
"""Number of queries that should be able to time out one after another within a message's DNS budget."""
REPORT_DAYS = 3
"""Days that outcomes have to be kept for reports: a day is reported on the next one, late outcomes a little after."""


def findings(config: Config) -> list[Finding]:
    """The findings on settings by themselves."""
    return [
        *_enforcement(config),
        *_unclear_authors(config),
        *_ignored_networks(config),
        *_trusted_networks(config),
        *_dns_timeout(config),
        *_retention(config),
        *_reports(config),
    ]


def _enforcement(config: Config) -> list[Finding]:
    policy = config.policy
    texts = []
    if policy.mode is Mode.MONITOR:
        texts.append('[policy] mode is "monitor": results are recorded, no policy is enforced')
    if policy.reject_action is RejectAction.NONE:
        texts.append('[policy] reject_action is "none": mail that fails p=reject is delivered')
    if policy.quarantine_action is QuarantineAction.NONE:
        texts.append('[policy] quarantine_action is "none": mail that fails p=quarantine is delivered unmarked')
        if policy.reject_action is RejectAction.REJECT:
            texts.append(
                '[policy] quarantine_action is "none": so is mail of a domain with p=reject when a DNS lookup fails, '
                "and a sender can choose names whose lookup fails"
            )
        if policy.reject_action is RejectAction.QUARANTINE:
            texts.append('[policy] reject_action is "quarantine", which quarantine_action "none" turns into delivery')
    if policy.on_unsigned_duplicate is DuplicateAction.QUARANTINE and policy.quarantine_action is QuarantineAction.NONE:
        texts.append(
            '[policy] on_unsigned_duplicate is "quarantine", which quarantine_action "none" turns into delivery'
        )
    in_force = [ok(f"[policy] mode in force: {policy.in_force()}")]
    if not texts:
        in_force.append(ok(f"[policy] enforced: p=reject is answered with {policy.reject_action}"))
    return [*map(warning, texts), *in_force]


def _unclear_authors(config: Config) -> list[Finding]:
    author = config.author
    return [
        warning(f'[author] {key} is "accept": mail without one clear Author Domain passes without any policy')
        for key in ("on_missing", "on_multiple", "on_malformed")
        if getattr(author, key) is AuthorAction.ACCEPT
    ]


def _ignored_networks(config: Config) -> list[Finding]:
    texts = too_wide(config.ignore.parsed())
    return [warning(f"[ignore] networks {text}: mail that comes from there is not evaluated") for text in texts]


def _trusted_networks(config: Config) -> list[Finding]:
    """Compare [identity] trusted_networks with [ignore] networks."""
    ignored = config.ignore.parsed()
    own = [text for text in config.identity.trusted_networks if text != IGNORED]
    evaluated = [text for text in own if not _is_in(ip_network(text, strict=False), ignored)]
    texts = []
    if evaluated:
        texts.append(
            f"[identity] trusted_networks {', '.join(evaluated)}: mail from there is evaluated, so results in our name "
            "are removed all the same: they would be there twice; add it to [ignore] networks, or remove it here"
        )
    wide = too_wide(config.identity.trusted(ignored)) if own else []
    texts += [f"[identity] trusted_networks {text}: anyone there can write results in our name" for text in wide]
    return [warning(text) for text in texts]


def _is_in(network: IPv4Network | IPv6Network, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether the networks together hold all addresses of `network`."""
    same_version = [each for each in networks if each.version == network.version]
    return any(network.subnet_of(each) for each in collapse_addresses(same_version))  # type: ignore[arg-type,type-var]


def _dns_timeout(config: Config) -> list[Finding]:
    dns = config.dns
    if dns.timeout * MIN_QUERIES <= dns.message_budget:
        return []
    return [
        warning(
            f"[dns] timeout ({dns.timeout:g} s) is more than half of message_budget ({dns.message_budget:g} s): "
            "one slow name server uses up the time of all checks of a message"
        )
    ]


def _retention(config: Config) -> list[Finding]:
    """How long journal files and outcomes are kept."""
    journal, database = config.history.delete_journal_after_days, config.history.retention_days
    if journal == 0:
        text = "[history] delete_journal_after_days is 0: journal files are never deleted and fill the disk"
        if database:
            text += f", and outcomes stay in them beyond retention_days ({database})"
        return [warning(text)]
    if 0 < database < journal:
        text = f"[history] delete_journal_after_days is {journal}: outcomes stay in journal files beyond retention_days"
        return [warning(f"{text} ({database})")]
    outcomes = f"outcomes {database} days after they came" if database else "outcomes never"
    text = f"[history] journal files are deleted {journal} days after their last line, once they are in the database"
    return [ok(f"{text}; {outcomes}")]


def _reports(config: Config) -> list[Finding]:
    reports = config.reports
    if not (reports.enabled or reports.failure.enabled):
        return []
    texts = []
    if not reports.sign_domain:
        texts.append(
            "[reports] sign_domain is empty: unless the relay signs with DKIM, reports do not pass DMARC, "
            "and receivers may drop them (RFC 9990 3.5.2)"
        )
    if 0 < config.history.retention_days < REPORT_DAYS:
        texts.append(
            f"[history] retention_days is {config.history.retention_days}: "
            "outcomes may be gone before their day is reported"
        )
    return [warning(text) for text in texts]
