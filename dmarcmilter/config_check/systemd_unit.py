"""What systemd's unit of the filter says about its user and the folders that it may write to.

Read from the files, because the check is also made where systemd does not run: in a container, in a package's build.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

UNIT = "dmarcmilter.service"
SOCKET_UNIT = "dmarcmilter.socket"
DIRECTORIES = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
MAX_FILE = 262_144
"""Octets of a unit file that are read."""
MAX_FILES = 50
"""Drop-ins that are read."""
_LISTS = frozenset({"ReadWritePaths", "StateDirectory", "RuntimeDirectory", "SupplementaryGroups", "ListenStream"})


@dataclass(frozen=True, slots=True)
class Unit:
    path: str
    user: str
    group: str
    groups: tuple[str, ...]
    made: tuple[str, ...]
    """Folders that systemd makes for the service, writable for its user."""
    writable: tuple[str, ...]
    """The same and those that the unit opens."""
    closed: bool
    """All other folders are read-only for the service."""
    stop_seconds: float | None = None
    """After a stop, until systemd kills what is left; None: not told."""
    conf: str = ""
    """The conf file that it starts the filter with; empty: it names none."""
    listens: tuple[str, ...] = ()
    """Where dmarcmilter.socket listens, if that is enabled; the filter then gets its socket from systemd."""

    def makes(self, path: str) -> bool:
        return _is_below(path, self.made)

    def keeps_out(self, path: str) -> bool:
        return self.closed and not _is_below(path, self.writable)


def find(directories: tuple[str, ...] = DIRECTORIES) -> Unit | None:
    """The unit with its drop-ins; None: not installed."""
    main = next((path for place in directories if _is_there(path := Path(place, UNIT))), None)
    if main is None:
        return None
    values: dict[str, list[str]] = {}
    for path in [main, *_drop_ins(directories)]:
        _read(path, values)
    last = {name: found[-1] for name, found in values.items() if found}
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
    found = re.search(r"\s--config[\s=]+(\S+)", command)
    return found[1] if found else ""


def _listens(directories: tuple[str, ...]) -> tuple[str, ...]:
    """The addresses of the socket unit with its drop-ins; none if it is not enabled."""
    enabled = any(os.path.lexists(Path(place, "sockets.target.wants", SOCKET_UNIT)) for place in directories)
    main = next((path for place in directories if _is_there(path := Path(place, SOCKET_UNIT))), None)
    if not enabled or main is None:
        return ()
    values: dict[str, list[str]] = {}
    for path in [main, *_drop_ins(directories, SOCKET_UNIT)]:
        _read(path, values, "[Socket]")
    return tuple(values.get("ListenStream", ()))


def _is_there(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113  Path.is_file raises for a folder that may not be entered


def _drop_ins(directories: tuple[str, ...], unit: str = UNIT) -> list[Path]:
    """By name; of two with one name, that of the first directory counts (systemd.unit(5))."""
    found: dict[str, Path] = {}
    for place in directories:
        for path in sorted(Path(place, unit + ".d").glob("*.conf"))[:MAX_FILES]:
            found.setdefault(path.name, path)
    return [found[name] for name in sorted(found)][:MAX_FILES]


def _read(path: Path, values: dict[str, list[str]], wanted: str = "[Service]") -> None:
    """The keys of one section: a list grows, an empty value forgets what was there (systemd.syntax(7))."""
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
    """`90`, `90s`, `1min 30s`, `5m` (systemd.time(7)); None: something else."""
    parts = re.findall(r"(\d{1,6})\s*(s|sec|min|m|h)?(?=\s|\d|$)", text)
    factors = {"": 1, "s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600}
    return float(sum(int(number) * factors[unit] for number, unit in parts)) if parts else None


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)
