"""`dmarcmilter config`: check a conf file, show the settings in force, convert that of OpenDMARC."""

import json
from typing import Any

import click
import msgspec

from dmarcmilter import receiver
from dmarcmilter.cli.command_setup import EXIT_ERROR, fail, json_option, load
from dmarcmilter.cli.config_from_opendmarc import from_opendmarc
from dmarcmilter.config import load as configuration
from dmarcmilter.config.exposed_files import exposed
from dmarcmilter.config.finding import Finding, Severity, warning
from dmarcmilter.config.load import ConfigError
from dmarcmilter.config_check import all_findings, files, in_order
from dmarcmilter.config_check.environment import gather
from dmarcmilter.config_check.live import try_all
from dmarcmilter.daemon import running_conf_path
from dmarcmilter.history.database_url import without_password

EXIT_FINDINGS = 1
"""Exit status of `config check` for an error, or with --strict a warning."""


@click.group()
def config() -> None:
    """Check, show or convert a conf file."""


config.add_command(from_opendmarc)


@config.command("check")
@click.argument("path", metavar="[FILE]", default="")
@click.option("--live", is_flag=True, help="Also test name servers, journal, database, relay, Postfix and the filter.")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings, too.")
@click.option(
    "--user",
    default="",
    metavar="NAME",
    help="The user that the filter runs as, whose rights are tested when run by root; default: the systemd unit's.",
)
@click.option("--postfix", "postfix_directory", default="", metavar="DIR", help="Postfix's configuration directory.")
@click.option(
    "--running",
    "pid",
    type=int,
    metavar="PID",
    help="Check only whether the filter with this process id would accept its conf file on reload.",
)
@json_option
def check(
    path: str, user: str, postfix_directory: str, pid: int | None, *, live: bool, strict: bool, as_json: bool
) -> None:
    """Validate FILE, and warn of settings that do not enforce or do not fit this machine.

    FILE is /etc/dmarcmilter/dmarcmilter.toml unless given. One line for each finding: error, warning or ok. Without
    --live nothing is sent and nothing written.

    Exit status: 0 valid (perhaps with warnings), 1 there is an error, or with --strict a warning, 2 not valid.
    """
    path = _path(path, pid)
    try:
        loaded = configuration.read(path)
    except ConfigError as error:
        _refuse(path, str(error), as_json=as_json)
    if pid is not None:
        try:
            receiver.check_files(loaded.config)
        except ConfigError as error:
            _refuse(path, str(loaded.located(error)), as_json=as_json)
        _tell(path or "the defaults", list(map(warning, loaded.warnings)), as_json=as_json)
        return
    environment = gather(user, postfix_directory=postfix_directory)
    config = loaded.config
    warnings = map(warning, [*loaded.warnings, *exposed(config, path)])
    findings = in_order([*files.conf_readable(path, environment), *all_findings(config, environment), *warnings])
    if live:
        findings = in_order([*findings, *try_all(config, environment)])
    _tell(path, findings, as_json=as_json)
    worst = {finding.severity for finding in findings}
    if Severity.ERROR in worst or (strict and Severity.WARNING in worst):
        raise SystemExit(EXIT_FINDINGS)


def _path(path: str, pid: int | None) -> str:
    """The file to check; empty: the running filter has none."""
    if pid is None:
        return path or configuration.DEFAULT_PATH
    if path:
        fail("--running takes the conf file of that filter: leave out FILE")
    try:
        return running_conf_path.conf_path(pid)
    except running_conf_path.NotRunningError as error:
        fail(f"--running: {error}")


def _refuse(path: str, problem: str, *, as_json: bool) -> None:
    if not as_json:
        fail(problem)
    click.echo(json.dumps({"file": path, "valid": False, "findings": [{"severity": "error", "text": problem}]}))
    raise SystemExit(EXIT_ERROR)


def _tell(path: str, findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        plain = [{"severity": str(finding.severity), "text": finding.text} for finding in findings]
        click.echo(json.dumps({"file": path, "valid": True, "findings": plain}))
        return
    for finding in findings:
        click.echo(str(finding))
    summary = f"{path}: valid"
    for severity in (Severity.ERROR, Severity.WARNING):
        if count := sum(finding.severity is severity for finding in findings):
            summary += f", {count} {severity}{'s' if count > 1 else ''}"
    click.echo(summary)


@config.command("show")
@click.argument("path", metavar="[FILE]", default="")
@click.option("-n", "--changed", "only_changed", is_flag=True, help="Only settings that differ from the defaults.")
def show(path: str, *, only_changed: bool) -> None:
    """Print the effective settings as TOML. Passwords of databases are left out.

    FILE is /etc/dmarcmilter/dmarcmilter.toml unless given; without either, the defaults are shown.
    """
    settings = load(path)
    values = configuration.changed(settings) if only_changed else configuration.plain(settings)
    for section, table in values.items():
        _print(section, table)


def _print(section: str, value: Any) -> None:
    """A table, with the tables in it after its own keys, or an array of tables."""
    is_array = isinstance(value, list | tuple)
    for entry in value if is_array else [value]:
        click.echo(f"[[{section}]]" if is_array else f"[{section}]")
        inner = {key: table for key, table in entry.items() if isinstance(table, dict)}
        # TOML has no null: a key without a value is left out.
        for key in [name for name in entry if name not in inner and entry[name] is not None]:
            value = without_password(entry[key]) if key == "database" else entry[key]
            click.echo(f"{key} = {_toml(value)}")
        click.echo()
        for key, table in inner.items():
            _print(f"{section}.{key}", table)


def _toml(value: object) -> str:
    """Strings, numbers, booleans and lists of strings read the same in JSON and TOML."""
    return msgspec.json.encode(value).decode()
