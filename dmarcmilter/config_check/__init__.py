"""Checks of a valid conf file: settings that do less than the administrator expects, or do not fit this machine."""

from dmarcmilter.config.finding import Finding, Severity
from dmarcmilter.config.schema import Config
from dmarcmilter.config_check import files, mta, name_servers, settings_advice, softening_settings
from dmarcmilter.config_check.environment import Environment
from dmarcmilter.dns.resolver import system_nameservers

_ORDER = tuple(Severity)


def all_findings(config: Config, environment: Environment) -> list[Finding]:
    """The findings of all checks that neither send nor write anything, errors first."""
    servers = config.dns.servers() or system_nameservers()
    return in_order(
        [
            *settings_advice.findings(config),
            *softening_settings.findings(config, environment.today),
            *mta.findings(config, environment),
            *files.findings(config, environment),
            *name_servers.unreachable(servers),
        ]
    )


def in_order(findings: list[Finding]) -> list[Finding]:
    """The findings sorted by severity, errors first; the order within a severity is kept."""
    return sorted(findings, key=lambda finding: _ORDER.index(finding.severity))
