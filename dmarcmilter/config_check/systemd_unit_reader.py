"""systemd's unit of the filter: its user, the folders that it may write to, its conf file and its socket.

Read from the unit files, because checks also run where systemd does not: in a container, in the build of a package.
"""

import os
import re
from pathlib import Path

from dmarcmilter.value import Value

UNIT = "dmarcmilter.service"
SOCKET_UNIT = "dmarcmilter.socket"
DIRECTORIES = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
"""Directories of units; of two files with one name, that in the earlier directory counts (systemd.unit(5))."""
MAX_FILE = 262_144
"""Bytes of a unit file that are read; the rest is not."""
MAX_FILES = 50
"""Number of drop-ins that are read; further ones are not."""
_LISTS = frozenset({"ReadWritePaths", "StateDirectory", "RuntimeDirectory", "SupplementaryGroups", "ListenStream"})
"""Keys that add to what earlier lines say; of other keys the last line counts."""


class Unit(Value):
    """The settings of dmarcmilter.service that the checks need."""

    path: str
    """Path of the unit file."""
    user: str
    group: str
    """Empty: the user's own."""
    groups: tuple[str, ...]
    """Supplementary groups."""
    made: tuple[str, ...]
    """Folders that systemd makes for the service, writable for its user."""
    writable: tuple[str, ...]
    """`made`, and the folders that the unit lets the service write to."""
    closed: bool
    """All other folders are read-only for the service."""
    stop_seconds: float | None = None
    """Seconds from a stop until systemd kills the remaining processes; None: not set."""
    conf: str = ""
    """Path of the conf file that the unit starts the filter with; empty: it names none."""
    listens: tuple[str, ...] = ()
    """Addresses of dmarcmilter.socket if it is enabled; the filter then gets its socket from systemd."""

    def makes(self, path: str) -> bool:
        """Whether systemd makes the folder, or one above it."""
        return _is_below(path, self.made)

    def keeps_out(self, path: str) -> bool:
        """Whether the folder is read-only for the service."""
        return self.closed and not _is_below(path, self.writable)


def find(directories: tuple[str, ...] = DIRECTORIES) -> Unit | None:
    """The unit with its drop-ins; None: not installed."""
    main = _first_file(directories, UNIT)
    if main is None:
        return None
    values: dict[str, list[str]] = {}
    for path in [main, *_drop_ins(directories, UNIT)]:
        _read(path, values, "[Service]")
    last = {name: lines[-1] for name, lines in values.items() if lines}
    state = (f"/var/lib/{name}" for name in values.get("StateDirectory", ()))
    runtime = (f"/run/{name}" for name in values.get("RuntimeDirectory", ()))
    made = (*state, *runtime)
    opened = (path.lstrip("-+") for path in values.get("ReadWritePaths", ()))
    return Unit(
        path=str(main),
        user=last.get("User", "root"),
        group=last.get("Group", ""),
        groups=tuple(values.get("SupplementaryGroups", ())),
        made=made,
        writable=(*made, *opened),
        closed=last.get("ProtectSystem") == "strict",
        stop_seconds=_seconds(last.get("TimeoutStopSec", "")),
        conf=_conf(last.get("ExecStart", "")),
        listens=_listens(directories),
    )


def _conf(command: str) -> str:
    """The conf file that a command line names with --config; empty: none."""
    option = re.search(r"\s--config[\s=]+(\S+)", command)
    return option[1] if option else ""


def _listens(directories: tuple[str, ...]) -> tuple[str, ...]:
    """The addresses of the socket unit with its drop-ins; none if it is not enabled."""
    is_enabled = any(os.path.lexists(Path(directory, "sockets.target.wants", SOCKET_UNIT)) for directory in directories)
    main = _first_file(directories, SOCKET_UNIT)
    if not is_enabled or main is None:
        return ()
    values: dict[str, list[str]] = {}
    for path in [main, *_drop_ins(directories, SOCKET_UNIT)]:
        _read(path, values, "[Socket]")
    return tuple(values.get("ListenStream", ()))


def _first_file(directories: tuple[str, ...], unit: str) -> Path | None:
    """The file of a unit in the first directory that has it."""
    paths = (Path(directory, unit) for directory in directories)
    # Path.is_file raises for a folder that may not be entered.
    return next((path for path in paths if os.path.isfile(path)), None)  # noqa: PTH113


def _drop_ins(directories: tuple[str, ...], unit: str) -> list[Path]:
    """The drop-ins of a unit in the order of their names, in which systemd reads them."""
    drop_ins: dict[str, Path] = {}
    for directory in directories:
        for path in sorted(Path(directory, unit + ".d").glob("*.conf"))[:MAX_FILES]:
            drop_ins.setdefault(path.name, path)
    return [drop_ins[name] for name in sorted(drop_ins)][:MAX_FILES]


def _read(path: Path, values: dict[str, list[str]], wanted: str) -> None:
    """Add the keys of one section to `values`. An empty value clears those before it (systemd.syntax(7))."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE).decode("utf-8", "replace")
    except OSError:
        return
    section = ""
    for line in map(str.strip, text.splitlines()):
        name, equals, value = (part.strip() for part in line.partition("="))
        if line.startswith("["):
            section = line
        elif section == wanted and equals and not line.startswith(("#", ";")):
            new = value.split() if name in _LISTS else [value] if value else []
            values[name] = [*values.get(name, ()), *new] if new else []


def _seconds(text: str) -> float | None:
    """The seconds of a time such as `90`, `90s`, `1min 30s` or `5m` (systemd.time(7)); None: another form."""
    parts = re.findall(r"(\d{1,6})\s*(s|sec|min|m|h)?(?=\s|\d|$)", text)
    factors = {"": 1, "s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600}
    return float(sum(int(number) * factors[unit] for number, unit in parts)) if parts else None


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)
