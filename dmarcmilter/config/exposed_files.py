"""Warns of files and folders of the filter that every user of the machine can read or write; changes nothing.

What the filter creates is private, but a folder may exist already, made by hand or by an older version.
"""

import os
import stat
from pathlib import Path
from typing import Final

from dmarcmilter.config.schema import Config
from dmarcmilter.history.database_url import without_password

AS_ROOT: Final = (
    "the filter runs as root and does not need to: start it with `run --user NAME`, or by a unit with User="
)
SQLITE = "sqlite:////"


def exposed(config: Config, conf_path: str = "") -> list[str]:
    """One sentence for each such file or folder that this user may look up. `conf_path`: the conf file."""
    paths = _private_paths(config)
    addresses = (config.history.database, config.recipients.database)
    if conf_path and any(without_password(url) != url for url in addresses):
        paths["the password of a database"] = os.path.abspath(conf_path)  # noqa: PTH100  links are followed by stat
    return [text for key, path in paths.items() if (text := _warning(key, Path(path)))]


def _private_paths(config: Config) -> dict[str, str]:
    """Paths that hold outcomes or secrets, by conf key."""
    paths = {
        "[policy] sampling_key": config.policy.sampling_key,
        "[history] journal": config.history.journal,
        "[defer] directory": config.defer.directory,
    }
    if config.history.database.startswith(SQLITE):
        paths["[history] database"] = "/" + config.history.database.removeprefix(SQLITE)
    if config.reports.archive:
        paths["[reports] archive"] = config.reports.archive
    if config.reports.failure.enabled:
        paths["[reports.failure] spool"] = config.reports.failure.spool
        paths["[reports.failure] key"] = config.reports.failure.key
    return paths


def _warning(key: str, path: Path) -> str:
    mode = _mode(path)
    if not mode & (stat.S_IROTH | stat.S_IWOTH) or not all(_mode(above) & stat.S_IXOTH for above in path.parents):
        return ""
    verb = "write to" if mode & stat.S_IWOTH else "read"
    return f"{key}: every user of this machine can {verb} {path}: chmod o-rwx {path}"


def _mode(path: Path) -> int:
    """The file mode; 0: missing, or not visible to this user."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
