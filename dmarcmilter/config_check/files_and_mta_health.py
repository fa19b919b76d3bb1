"""Health checks of the journal, the files and the MTA, with the rights of the filter's user and of Postfix.

They use the same findings as `config check`, so that both commands give the same advice.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dmarcmilter.config import account_rights, folder_access
from dmarcmilter.config.account_rights import acting_as
from dmarcmilter.config.endpoint import parse_socket
from dmarcmilter.config.finding import Finding, Severity
from dmarcmilter.config.schema import Config
from dmarcmilter.config_check import files, postfix_services
from dmarcmilter.config_check import mta as mta_check
from dmarcmilter.config_check.environment import Environment
from dmarcmilter.health.check_result import CheckResult, Health
from dmarcmilter.health.checks import megabytes
from dmarcmilter.metrics import gauges
from dmarcmilter.postfix import postconf
from dmarcmilter.postfix.socket_access import first_closed

LITTLE_ROOM: Final = 100 * 1_048_576
"""Bytes free on the journal's disk below which health is degraded: room for about 80,000 outcomes."""


def journal(config: Config, environment: Environment) -> CheckResult:
    """Check that the filter's user can write outcomes. If not, mail still flows and outcomes are only in the log."""
    name, directory = "journal", Path(config.history.journal)
    with acting_as(environment.account):
        if not os.path.lexists(directory):  # the first outcome makes it
            directory = directory.parent
        problem = folder_access.unusable_for_all(directory)
        is_folder = os.path.isdir(directory)  # noqa: PTH112  raises nothing for a folder that may not be entered
        writable = os.access(directory, os.W_OK | os.X_OK, effective_ids=True)
    if problem:
        fix = files.command_to_make_writable(config.history.journal, environment)
        return CheckResult(name, Health.DEGRADED, f"{problem}, so outcomes are lost: {fix}")
    if not is_folder and not first_closed(directory, environment.account):
        return CheckResult(name, Health.DEGRADED, f"{directory}: no such directory")
    if not is_folder or not writable:
        return CheckResult(name, Health.DEGRADED, f"{directory}: not writable for {_user_and_fix(config, environment)}")
    free = gauges.journal(str(directory)).free
    if free is None or free < LITTLE_ROOM:
        return CheckResult(name, Health.DEGRADED, f"{directory}: {megabytes(free or 0)} of room left")
    return CheckResult(name, Health.HEALTHY, f"writable, {megabytes(free)} of room")


def _user_and_fix(config: Config, environment: Environment) -> str:
    """The user whose rights were tried and the command that fixes it. Only root can try the rights of other users."""
    if environment.account is None and os.geteuid() != 0:
        return "the user that runs this check: run it as root or as the filter's user"
    fix = files.command_to_make_writable(config.history.journal, environment)
    return f"{environment.tried_user}, so outcomes are lost: {fix}"


def filters_files(config: Config, environment: Environment) -> CheckResult:
    """Check that the filter's user can use its files: the conf file, keys, lists, folders and the database."""
    name = "files"
    if environment.account is None and os.geteuid() == 0:
        return CheckResult(name, Health.HEALTHY, "not tried: the filter's user is not known here, name it with --user")
    if environment.account is None or not account_rights.can_act_as(environment.account):
        return CheckResult(name, Health.HEALTHY, "not tried: needs root")
    conf_findings = files.conf_readable(environment.conf, environment) if environment.conf else []
    findings = [*conf_findings, *files.findings(config, environment)]
    # The journal and the milter socket have checks of their own.
    others = [finding for finding in findings if not finding.text.startswith("[history] journal")]
    return _result_of(name, Health.DEGRADED, others, "usable")


def mta(config: Config, environment: Environment) -> CheckResult:
    """Check that Postfix hands all mail from others to the filter, and can connect to it."""
    name, socket = "mta", parse_socket(config.milter.socket)
    if environment.postfix is None:
        return CheckResult(name, Health.HEALTHY, "no Postfix here")
    instances = (environment.postfix, *environment.instances)
    is_named = any(postfix_services.names_us(postfix, socket) for postfix in instances)
    # A Postfix that the operator named counts in any case.
    if not is_named and not environment.postfix.directory and not postconf.is_running(environment.postfix):
        return CheckResult(name, Health.HEALTHY, "Postfix does not run here")
    findings = [
        *mta_check.socket_findings(config, environment),
        *mta_check.live_findings(config, environment),
    ]
    return _result_of(name, Health.DOWN, findings, "Postfix hands its mail to the filter")


def _result_of(name: str, health: Health, findings: Sequence[Finding], text_if_healthy: str) -> CheckResult:
    """The first error with the number of further ones; healthy without any."""
    errors = list(dict.fromkeys(finding.text for finding in findings if finding.severity is Severity.ERROR))
    if not errors:
        return CheckResult(name, Health.HEALTHY, text_if_healthy)
    more = f" (and {len(errors) - 1} more: dmarcmilter config check --live)" if errors[1:] else ""
    return CheckResult(name, health, errors[0] + more)
