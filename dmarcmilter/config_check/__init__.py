"""What may be wrong with a conf file that is valid: silent ways not to enforce, and a machine that it does not fit.

choices         of the settings alone
exceptions      [[override]], forwarders, rollout, recipients: what lets through mail that fails (networks: too wide)
files           folders, rights, the public suffix list
mta             Postfix: name, chroot, user, patience; live: does it hand its mail to us
services        Postfix's services one by one: whose mail each takes, and whether the filter sees it
reach           whether Postfix can connect to the milter socket, tried with its rights in its chroot
live            asked of the running world: name servers, journal and database, relay, the filter
scene           what all of these are held against: accounts, units (systemd's), postfix (postconf's words)
finding         error, warning or ok, and a sentence
"""

from dmarcmilter.config.schema import Config
from dmarcmilter.config_check import files, mta, name_servers, settings_advice, softening_entries
from dmarcmilter.config_check.environment import Scene
from dmarcmilter.config_check.finding import Finding, Severity
from dmarcmilter.dns import system_nameservers

__all__ = ["Finding", "Severity", "advise"]

_ORDER = tuple(Severity)


def advise(config: Config, scene: Scene) -> list[Finding]:
    """All that is to say, errors first; within them what harms most first."""
    servers = config.dns.servers() or system_nameservers()
    found = [
        *settings_advice.judge(config),
        *softening_entries.judge(config, scene.today),
        *mta.judge(config, scene),
        *files.judge(config, scene),
        *name_servers.unreachable(servers),
    ]
    return in_order(found)


def in_order(found: list[Finding]) -> list[Finding]:
    return sorted(found, key=lambda finding: _ORDER.index(finding.severity))
