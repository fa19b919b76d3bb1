"""Files and folders of the conf: is each where it should be, fresh, and writable for the user of the filter?"""

import os
import stat
from datetime import date
from pathlib import Path

from dmarcmilter import privileges
from dmarcmilter.advice.accounts import acting_as
from dmarcmilter.advice.finding import Finding, error, ok, warning
from dmarcmilter.advice.scene import Scene
from dmarcmilter.dmarc.suffixes import KEPT_FRESH, Suffixes, SuffixListError
from dmarcmilter.endpoint import parse_socket
from dmarcmilter.settings import Config

STALE_DAYS = 180
"""Of a public suffix list: within half a year some hundred suffixes come and go."""
SQLITE = "sqlite:///"
SECRETS = frozenset({"[arc.seal] key_file", "[reports] sign_key", "[reports] relay_password_file"})


def judge(config: Config, scene: Scene) -> list[Finding]:
    found = []
    if scene.user and scene.account is None:
        found.append(warning(f"there is no user {scene.user} on this machine: rights are those of who runs this check"))
    if scene.account is not None and scene.account.uid == 0:
        found.append(warning(privileges.AS_ROOT))
    return [*found, *_suffixes(config, scene), *_folders(config, scene), *_read(config, scene)]


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
        return [finding for key, path in named.items() if path for finding in _readable(key, path, scene)]


def _readable(key: str, path: str, scene: Scene) -> list[Finding]:
    if not os.access(path, os.R_OK, effective_ids=True):
        return [warning(f"{key}: {path} is not readable for {scene.who}")]
    if key in SECRETS and Path(path).stat().st_mode & stat.S_IROTH:
        return [warning(f"{key}: {path} is a secret that every user of this machine can read")]
    return []


def _writable(key: str, path: str, scene: Scene) -> list[Finding]:
    unit = scene.unit
    if unit is not None and unit.keeps_out(path):
        return [warning(f"{key}: {unit.path} keeps {path} read-only for the filter: add it to ReadWritePaths=")]
    nearest = existing(Path(path))
    if os.access(nearest, os.W_OK | os.X_OK, effective_ids=True):
        return [ok(f"{key}: {nearest} is writable for {scene.who}")]
    if unit is not None and unit.makes(path) and nearest != Path(path):
        return [ok(f"{key}: systemd makes the folder when the filter starts")]
    return [warning(f"{key}: {nearest} is not writable for {scene.who}")]


def existing(path: Path) -> Path:
    """The path, or what of it is there. (os.access, because Path.exists raises where a folder may not be entered.)"""
    places = (path, *path.parents)
    return next((place for place in places if os.access(place, os.F_OK, effective_ids=True)), path)
