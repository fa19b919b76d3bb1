"""Checks of the files and folders that the conf names: they exist, are recent, and the filter's user may use them."""

import os
import stat
from datetime import date
from itertools import islice
from pathlib import Path

from dmarcmilter.config import account_rights, folder_access
from dmarcmilter.config import load as configuration
from dmarcmilter.config.account_rights import acting_as
from dmarcmilter.config.endpoint import parse_socket
from dmarcmilter.config.exposed_files import AS_ROOT
from dmarcmilter.config.finding import Finding, error, ok, warning
from dmarcmilter.config.schema import Config
from dmarcmilter.config_check.environment import Environment
from dmarcmilter.dmarc.public_suffix import OPERATOR_LIST, Suffixes, SuffixListError
from dmarcmilter.postfix.socket_access import first_closed

MAX_ENTRIES = 2000
"""Number of entries of one folder that are checked; further ones are not."""
STALE_DAYS = 180
"""Age in days above which a public suffix list is reported: about a hundred suffixes change in half a year."""
SQLITE = "sqlite:///"
"""Start of the URL of an SQLite database; the path of its file follows."""
SECRETS = frozenset({"[arc.seal] key_file", "[reports] sign_key", "[reports] relay_password_file"})
"""Keys whose file only the filter's user should be able to read."""


def findings(config: Config, environment: Environment) -> list[Finding]:
    """The findings on all files and folders but the conf file itself."""
    result = []
    if environment.user and environment.account is None:
        text = (
            f"there is no user {environment.user} on this machine: the check uses the rights of the user that runs it"
        )
        result.append(warning(text))
    if environment.account is not None and environment.account.uid == 0:
        result.append(warning(AS_ROOT))
    for check in (_suffix_list, _written_folders, _read_files, _generated_keys, _own_files):
        result += check(config, environment)
    return result


def conf_readable(path: str, environment: Environment) -> list[Finding]:
    """Check that the filter's user may read the conf file, as it must at each start and reload."""
    if environment.account is None:
        return []
    with acting_as(environment.account):
        if os.access(path, os.R_OK, effective_ids=True):
            return []
    text = f"{path} is not readable for {environment.tried_user}, so the filter neither starts nor reloads"
    text = f"{text}: {_command_to_make_readable(path, environment)}"
    # Only a warning for a draft in a folder of the administrator, which the filter does not read.
    paths_in_use = {configuration.DEFAULT_PATH, environment.unit.conf if environment.unit else ""}
    in_use = environment.is_user_known or os.path.realpath(path) in map(os.path.realpath, filter(None, paths_in_use))
    return [error(text) if in_use else warning(text)]


def _command_to_make_readable(path: str, environment: Environment) -> str:
    """The command that lets the filter's user read the file."""
    account = environment.account
    if account is None:
        return f"chmod +r {path}"
    closed = first_closed(Path(os.path.abspath(path)), account)  # noqa: PTH100  links are followed by access
    if closed is not None:
        return f"chgrp {account.group_name} {closed} && chmod g+x {closed}"
    return f"chgrp {account.group_name} {path} && chmod g+r {path}"


def _command_to_own(path: Path | str, environment: Environment) -> str:
    """The command that makes the filter's user the owner of a folder or file."""
    account = environment.account
    if account is None:
        return f"run the filter as a user that may use {path}"
    return f"chown -R {account.name}:{account.group_name} {path}"


def _suffix_list(config: Config, environment: Environment) -> list[Finding]:
    """Check the public suffix list that the filter would use, reading it with the rights of its user."""
    try:
        with acting_as(environment.account):
            suffix_list = Suffixes.load(config.dmarc.psl_file)
    except SuffixListError as problem:
        return [error(f"[dmarc] psl_file: not usable for {environment.tried_user}: {problem}")]
    skipped = [warning(f"[dmarc] psl_file: {text}") for text in suffix_list.skipped[:5]]
    return [*skipped, _freshness(suffix_list, environment.today)]


def _freshness(used: Suffixes, today: date) -> Finding:
    advice = f"put a new one from https://publicsuffix.org/list/ at {OPERATOR_LIST}, and reload"
    if not used.version:
        return warning(f"[dmarc] psl_file: the public suffix list in use is a library's, from 2019: {advice}")
    days = (today - date.fromisoformat(used.version)).days
    text = f"[dmarc] psl_file: the public suffix list in use, {used.source}, is of {used.version}"
    if days > STALE_DAYS:
        return warning(f"{text}, {days} days old: {advice}")
    return ok(text)


def _written_folders(config: Config, environment: Environment) -> list[Finding]:
    """Check the folders that the filter writes to with these settings."""
    folders = {
        "[history] journal": config.history.journal,
        "[policy] sampling_key": str(Path(config.policy.sampling_key).parent),
        "[defer] directory": config.defer.directory,
    }
    if (socket := parse_socket(config.milter.socket)).family == "unix":
        folders["[milter] socket"] = str(Path(socket.path).parent)
    if config.history.database.startswith(SQLITE + "/"):
        folders["[history] database"] = str(Path(config.history.database.removeprefix(SQLITE)).parent)
    if config.reports.enabled and config.reports.archive:
        folders["[reports] archive"] = config.reports.archive
    if config.reports.failure.enabled:
        folders["[reports.failure] spool"] = config.reports.failure.spool
    with acting_as(environment.account):
        return [finding for key, path in folders.items() for finding in _writable(key, path, environment)]


def _read_files(config: Config, environment: Environment) -> list[Finding]:
    """Check the files that the filter reads, some of which hold secrets."""
    paths = {
        "[recipients] file": config.recipients.file,
        "[arc.seal] key_file": config.arc.seal.key_file,
        "[reports] sign_key": config.reports.sign_key,
        "[reports] relay_password_file": config.reports.relay_password_file,
        "[reports] relay_ca_file": config.reports.relay_ca_file,
    }
    with acting_as(environment.account):
        unreadable = {key for key, path in paths.items() if path and not os.access(path, os.R_OK, effective_ids=True)}
    return [
        finding
        for key, path in paths.items()
        if path
        for finding in _readable(key, path, environment, is_readable=key not in unreadable)
    ]


def _generated_keys(config: Config, environment: Environment) -> list[Finding]:
    """Check the keys that the filter makes at its first start: if it may not read one, each start makes another."""
    paths = {"[policy] sampling_key": config.policy.sampling_key}
    if config.reports.failure.enabled:
        paths["[reports.failure] key"] = config.reports.failure.key
    result = []
    for key, path in paths.items():
        with acting_as(environment.account):
            exists = os.access(path, os.F_OK, effective_ids=True)
            unreadable = exists and not os.access(path, os.R_OK, effective_ids=True)
        if unreadable or os.path.isdir(path):  # noqa: PTH112
            fix = _command_to_own(path, environment) if unreadable else f"rmdir {path}"
            text = f"{key}: {path} is not readable for {environment.tried_user}, so each start uses another key"
            result.append(error(f"{text}: {fix}"))
    return result


def _readable(key: str, path: str, environment: Environment, *, is_readable: bool) -> list[Finding]:
    if not is_readable:
        missing = not os.path.lexists(path)
        fix = "create it, or remove it from the conf" if missing else _command_to_make_readable(path, environment)
        return [error(f"{key}: {path} is not readable for {environment.tried_user}: {fix}")]
    if key in SECRETS and Path(path).stat().st_mode & stat.S_IROTH:
        return [warning(f"{key}: {path} is a secret that every user of this machine can read: chmod o-rwx {path}")]
    return []


def _writable(key: str, path: str, environment: Environment) -> list[Finding]:
    unit = environment.unit
    if unit is not None and unit.keeps_out(path):
        text = f"{key}: {unit.path} keeps {path} read-only for the filter: add it to ReadWritePaths="
        return [error(f"{text} (systemctl edit dmarcmilter: [Service], ReadWritePaths={path})")]
    nearest = folder_access.existing(Path(path))
    problem = folder_access.why_not_writable(Path(path), environment.tried_user)
    if not problem:
        return [ok(f"{key}: {nearest} is writable for {environment.tried_user}")]
    if unit is not None and unit.makes(path) and nearest != Path(path):
        return [ok(f"{key}: systemd makes the folder when the filter starts")]
    fix = command_to_make_writable(path, environment)
    return [error(f"{key}: {problem}: {fix}")]


def command_to_make_writable(path: str, environment: Environment) -> str:
    """What makes a folder writable for the filter's user, or creates it: a command where one is enough."""
    nearest = folder_access.existing(Path(path))
    if not folder_access.is_folder(nearest):
        return f"move {nearest} away, or name another folder"
    if folder_access.is_read_only(nearest):
        return "mount it writable, or name another folder"
    if os.path.isdir(path) or environment.account is None:  # noqa: PTH112
        closed = first_closed(Path(path), environment.account)
        return f"chmod o+x {closed}" if closed else _command_to_own(path, environment)
    account = environment.account
    return f"install -d -o {account.name} -g {account.group_name} -m 750 {path}"


def _own_files(config: Config, environment: Environment) -> list[Finding]:
    """Check that the filter may write its own files: a command run as root can leave files that it may not."""
    account = environment.account
    if account is None or not account_rights.can_act_as(account):
        return []
    result = []
    folders = {"[defer] directory": config.defer.directory}
    if config.reports.failure.enabled:
        folders["[reports.failure] spool"] = config.reports.failure.spool
    if config.history.database.startswith(SQLITE + "/"):
        folders["[history] database"] = config.history.database.removeprefix(SQLITE)
    with acting_as(account):
        for key, path in folders.items():
            entries = (entry for entry in _entries(path) if not os.access(entry, os.W_OK, effective_ids=True))
            if (unwritable := next(entries, None)) is not None:
                fix = _command_to_own(unwritable, environment)
                result.append(error(f"{key}: {unwritable} is not writable for {environment.tried_user}: {fix}"))
    return result


def _entries(path: str) -> list[str]:
    """Paths of the entries of a folder; for a SQLite file, itself and the files that SQLite keeps beside it."""
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in islice(entries, MAX_ENTRIES)]
    except NotADirectoryError:
        return [name for name in (path, f"{path}-wal", f"{path}-shm") if os.path.lexists(name)]
    except OSError:
        return []
