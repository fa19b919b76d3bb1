"""Files and folders of the conf: is each where it should be, fresh, and writable for the user of the filter?"""

import os
import stat
from datetime import date
from itertools import islice
from pathlib import Path

from dmarcmilter.config import load as configuration
from dmarcmilter.config.endpoint import parse_socket
from dmarcmilter.config.permissions import AS_ROOT
from dmarcmilter.config.schema import Config
from dmarcmilter.config_check.environment import Scene
from dmarcmilter.config_check.finding import Finding, error, ok, warning
from dmarcmilter.dmarc.public_suffix import KEPT_FRESH, Suffixes, SuffixListError
from dmarcmilter.postfix import accounts
from dmarcmilter.postfix.accounts import acting_as
from dmarcmilter.postfix.socket_access import first_closed

MAX_ENTRIES = 2000
"""Of a folder that are looked at."""
STALE_DAYS = 180
"""Of a public suffix list: within half a year some hundred suffixes come and go."""
SQLITE = "sqlite:///"
SECRETS = frozenset({"[arc.seal] key_file", "[reports] sign_key", "[reports] relay_password_file"})


def judge(config: Config, scene: Scene) -> list[Finding]:
    found = []
    if scene.user and scene.account is None:
        found.append(warning(f"there is no user {scene.user} on this machine: rights are those of who runs this check"))
    if scene.account is not None and scene.account.uid == 0:
        found.append(warning(AS_ROOT))
    return [*found, *_suffixes(config, scene), *_folders(config, scene), *_read(config, scene), *_kept(config, scene)]


def conf_readable(path: str, scene: Scene) -> list[Finding]:
    """Whether the filter's user may read the conf file: it does at each start and reload."""
    if scene.account is None:
        return []
    with acting_as(scene.account):
        if os.access(path, os.R_OK, effective_ids=True):
            return []
    text = f"{path} is not readable for {scene.who}, so the filter neither starts nor reloads"
    text = f"{text}: {_letting_read(path, scene)}"
    # A draft that the administrator has in a folder of his own is not what the filter reads.
    named = {configuration.DEFAULT_PATH, scene.unit.conf if scene.unit else ""}
    in_use = scene.asked_for or os.path.realpath(path) in map(os.path.realpath, filter(None, named))
    return [error(text) if in_use else warning(text)]


def _letting_read(path: str, scene: Scene) -> str:
    """The command after which the filter's user may read that file."""
    account = scene.account
    if account is None:
        return f"chmod +r {path}"
    closed = first_closed(Path(os.path.abspath(path)), account)  # noqa: PTH100  links are followed by access
    if closed is not None:
        return f"chgrp {account.group_name} {closed} && chmod g+x {closed}"
    return f"chgrp {account.group_name} {path} && chmod g+r {path}"


def _owning(path: Path | str, scene: Scene) -> str:
    """The command that gives a folder or file to the filter's user."""
    account = scene.account
    if account is None:
        return f"run the filter as a user that may use {path}"
    return f"chown -R {account.name}:{account.group_name} {path}"


def _suffixes(config: Config, scene: Scene) -> list[Finding]:
    """The list that the filter would take, read as its user."""
    try:
        with acting_as(scene.account):
            list_used = Suffixes.load(config.dmarc.psl_file)
    except SuffixListError as problem:
        return [error(f"[dmarc] psl_file: not usable for {scene.who}: {problem}")]
    skipped = [warning(f"[dmarc] psl_file: {text}") for text in list_used.skipped[:5]]
    return [*skipped, _freshness(list_used, scene.today)]


def _freshness(used: Suffixes, today: date) -> Finding:
    advice = f"put a new one from https://publicsuffix.org/list/ at {KEPT_FRESH}, and reload"
    if not used.version:
        return warning(f"[dmarc] psl_file: the public suffix list in use is the one of a library, of 2019; {advice}")
    days = (today - date.fromisoformat(used.version)).days
    text = f"[dmarc] psl_file: the public suffix list in use, {used.source}, is of {used.version}"
    if days > STALE_DAYS:
        return warning(f"{text}, {days} days old: {advice}")
    return ok(text)


def _folders(config: Config, scene: Scene) -> list[Finding]:
    """Those that are written to whatever else is set, and those of what is switched on."""
    wanted = {
        "[history] journal": config.history.journal,
        "[policy] sampling_key": str(Path(config.policy.sampling_key).parent),
        "[defer] directory": config.defer.directory,
    }
    if (where := parse_socket(config.milter.socket)).family == "unix":
        wanted["[milter] socket"] = str(Path(where.path).parent)
    if config.history.database.startswith(SQLITE + "/"):
        wanted["[history] database"] = str(Path(config.history.database.removeprefix(SQLITE)).parent)
    if config.reports.enabled and config.reports.archive:
        wanted["[reports] archive"] = config.reports.archive
    if config.reports.failure.enabled:
        wanted["[reports.failure] spool"] = config.reports.failure.spool
    with acting_as(scene.account):
        return [finding for key, path in wanted.items() for finding in _writable(key, path, scene)]


def _read(config: Config, scene: Scene) -> list[Finding]:
    """Files that the filter reads, of which some hold secrets."""
    named = {
        "[recipients] file": config.recipients.file,
        "[arc.seal] key_file": config.arc.seal.key_file,
        "[reports] sign_key": config.reports.sign_key,
        "[reports] relay_password_file": config.reports.relay_password_file,
        "[reports] relay_ca_file": config.reports.relay_ca_file,
    }
    with acting_as(scene.account):
        unreadable = {key for key, path in named.items() if path and not os.access(path, os.R_OK, effective_ids=True)}
    found = [finding for key, path in named.items() if path for finding in _readable(key, path, scene, unreadable)]
    return [*found, *_keys(config, scene)]


def _keys(config: Config, scene: Scene) -> list[Finding]:
    """Keys that the filter makes at its first start: without one that it may read, each start has another."""
    named = {"[policy] sampling_key": config.policy.sampling_key}
    if config.reports.failure.enabled:
        named["[reports.failure] key"] = config.reports.failure.key
    found = []
    for key, path in named.items():
        with acting_as(scene.account):
            bad = os.access(path, os.F_OK, effective_ids=True) and not os.access(path, os.R_OK, effective_ids=True)
        if bad or os.path.isdir(path):  # noqa: PTH112
            fix = _owning(path, scene) if bad else f"rmdir {path}"
            found.append(error(f"{key}: {path} is not readable for {scene.who}, so each start has another key: {fix}"))
    return found


def _readable(key: str, path: str, scene: Scene, unreadable: set[str]) -> list[Finding]:
    if key in unreadable:
        missing = not os.path.lexists(path)
        fix = "make it, or take it out of the conf" if missing else _letting_read(path, scene)
        return [error(f"{key}: {path} is not readable for {scene.who}: {fix}")]
    if key in SECRETS and Path(path).stat().st_mode & stat.S_IROTH:
        return [warning(f"{key}: {path} is a secret that every user of this machine can read: chmod o-rwx {path}")]
    return []


def _writable(key: str, path: str, scene: Scene) -> list[Finding]:
    unit = scene.unit
    if unit is not None and unit.keeps_out(path):
        text = f"{key}: {unit.path} keeps {path} read-only for the filter: add it to ReadWritePaths="
        return [error(f"{text} (systemctl edit dmarcmilter: [Service], ReadWritePaths={path})")]
    nearest = existing(Path(path))
    if os.access(nearest, os.W_OK | os.X_OK, effective_ids=True):
        return [ok(f"{key}: {nearest} is writable for {scene.who}")]
    if unit is not None and unit.makes(path) and nearest != Path(path):
        return [ok(f"{key}: systemd makes the folder when the filter starts")]
    return [error(f"{key}: {nearest} is not writable for {scene.who}: {making_writable(path, scene)}")]


def making_writable(path: str, scene: Scene) -> str:
    """The command for a folder that is there, and for one that is still to be made."""
    if os.path.isdir(path) or scene.account is None:  # noqa: PTH112
        closed = first_closed(Path(path), scene.account)
        return f"chmod o+x {closed}" if closed else _owning(path, scene)
    if os.path.lexists(path):
        return f"it is no folder: move {path} away"
    account = scene.account
    return f"install -d -o {account.name} -g {account.group_name} -m 750 {path}"


def _kept(config: Config, scene: Scene) -> list[Finding]:
    """Files among the filter's own that it cannot use, as they are left by a command run as root."""
    account = scene.account
    if account is None or not accounts.can_act_as(account):
        return []
    found = []
    folders = {"[defer] directory": config.defer.directory}
    if config.reports.failure.enabled:
        folders["[reports.failure] spool"] = config.reports.failure.spool
    if config.history.database.startswith(SQLITE + "/"):
        folders["[history] database"] = config.history.database.removeprefix(SQLITE)
    with acting_as(account):
        for key, path in folders.items():
            bad = next((one for one in _entries(path) if not os.access(one, os.W_OK, effective_ids=True)), None)
            if bad is not None:
                found.append((key, bad))
    return [error(f"{key}: {bad} is not writable for {scene.who}: {_owning(bad, scene)}") for key, bad in found]


def _entries(path: str) -> list[str]:
    """What is in a folder, or a SQLite file with those that SQLite keeps beside it."""
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in islice(entries, MAX_ENTRIES)]
    except NotADirectoryError:
        return [name for name in (path, f"{path}-wal", f"{path}-shm") if os.path.lexists(name)]
    except OSError:
        return []


def existing(path: Path) -> Path:
    """The path, or what of it is there. (os.access, because Path.exists raises where a folder may not be entered.)"""
    places = (path, *path.parents)
    return next((place for place in places if os.access(place, os.F_OK, effective_ids=True)), path)
