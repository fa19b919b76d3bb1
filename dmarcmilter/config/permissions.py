"""Files and folders of the filter that every user of the machine can read, or worse. Told, not changed.

What we make ourselves is private. But a folder may be there already, made by hand or by an older start.
"""

import os
import stat
from pathlib import Path
from typing import Final

from dmarcmilter.config.schema import Config
from dmarcmilter.history.database_url import without_password

AS_ROOT: Final = (
    "the filter runs as root, and needs no right of root's: start it with `run --user NAME`, or by a unit with User="
)
SQLITE = "sqlite:////"


def exposed(config: Config, conf_path: str = "") -> list[str]:
    """A sentence for each, as far as the asking user can see. `conf_path`: where the conf was read from."""
    kept = _kept(config)
    addresses = (config.history.database, config.recipients.database)
    if conf_path and any(without_password(url) != url for url in addresses):
        kept["the password of a database"] = os.path.abspath(conf_path)  # noqa: PTH100  links are followed by stat
    return [text for key, path in kept.items() if (text := _told(key, Path(path)))]


def _kept(config: Config) -> dict[str, str]:
    """What holds outcomes or secrets, by its key."""
    kept = {
        "[policy] sampling_key": config.policy.sampling_key,
        "[history] journal": config.history.journal,
        "[defer] directory": config.defer.directory,
    }
    if config.history.database.startswith(SQLITE):
        kept["[history] database"] = "/" + config.history.database.removeprefix(SQLITE)
    if config.reports.archive:
        kept["[reports] archive"] = config.reports.archive
    if config.reports.failure.enabled:
        kept["[reports.failure] spool"] = config.reports.failure.spool
        kept["[reports.failure] key"] = config.reports.failure.key
    return kept


def _told(key: str, path: Path) -> str:
    mode = _mode(path)
    if not mode & (stat.S_IROTH | stat.S_IWOTH) or not all(_mode(above) & stat.S_IXOTH for above in path.parents):
        return ""
    what = "write to" if mode & stat.S_IWOTH else "read"
    return f"{key}: every user of this machine can {what} {path}: chmod o-rwx {path}"


def _mode(path: Path) -> int:
    """0: not there, or not to be seen by us."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
