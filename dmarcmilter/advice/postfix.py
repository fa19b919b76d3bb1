"""What Postfix on this machine is configured to do with milters: asked of postconf(1), never read by ourselves."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dmarcmilter.endpoint import Socket

SECONDS = 10.0
"""For one call of postconf."""
NAMES = (
    "myhostname", "queue_directory", "mail_owner", "smtpd_milters", "milter_protocol", "milter_default_action",
    "milter_content_timeout", "compatibility_level",
)  # fmt: skip
SUBMISSION = frozenset({"submission", "submissions", "smtps", "587", "465"})
"""Services for the own users, whose mail is not judged."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/bin")
_MAX_MILTERS = 64


@dataclass(frozen=True, slots=True)
class Service:
    """An smtpd of master.cf that takes mail from others."""

    name: str
    chrooted: bool
    milters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Postfix:
    hostname: str
    queue_directory: str
    owner: str
    """The user that smtpd runs as."""
    protocol: str
    default_action: str
    content_timeout: float | None
    """Seconds that it waits for an answer at the end of a message; None: not understood."""
    services: tuple[Service, ...]


def find(directory: str = "") -> Postfix | None:
    """Its configuration in that directory, by default its own; None: no Postfix here, or one that cannot be asked."""
    program = next((str(path) for folder in _FOLDERS if (path := Path(folder, "postconf")).is_file()), None)
    if program is None or (directory and not Path(directory, "main.cf").is_file()):
        return None
    command = [program, *(("-c", directory) if directory else ())]
    main = _run([*command, "-x", *NAMES])
    values = dict(map(_pair, main or ()))
    if not values.get("myhostname"):
        return None
    master, overrides = _run([*command, "-M"]), _run([*command, "-P"])
    return Postfix(
        hostname=values["myhostname"],
        queue_directory=values.get("queue_directory", ""),
        owner=values.get("mail_owner", "postfix"),
        protocol=values.get("milter_protocol", ""),
        default_action=values.get("milter_default_action", ""),
        content_timeout=seconds(values.get("milter_content_timeout", "")),
        services=tuple(_services(master or (), dict(map(_pair, overrides or ())), values)),
    )


def _run(command: list[str]) -> list[str] | None:
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=SECONDS, stdin=subprocess.DEVNULL)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").splitlines() if done.returncode == 0 else None


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    return name.strip(), value.strip()


def _services(master: list[str] | tuple[()], overrides: dict[str, str], values: dict[str, str]) -> list[Service]:
    """Those with the command smtpd, by inet or behind postscreen (master(5): eight columns)."""
    # Before Postfix 3 a "-" in the column chroot meant yes.
    usual = "y" if values.get("compatibility_level", "3").split(".")[0] == "0" else "n"
    found = []
    for line in master:
        columns = line.split(None, 8)
        if len(columns) < 8 or columns[7] != "smtpd" or columns[0].rpartition(":")[2] in SUBMISSION:
            continue
        name = f"{columns[0]}/{columns[1]}"
        chroot = usual if columns[4] == "-" else columns[4]
        milters = overrides.get(f"{name}/smtpd_milters", values.get("smtpd_milters", ""))
        found.append(Service(name, chroot == "y", milter_names(milters)))
    return found


def milter_names(text: str) -> tuple[str, ...]:
    """The addresses in smtpd_milters; one with options stands in braces, `{ ADDRESS, key=value }` (postconf(5))."""
    words = re.findall(r"\{[^{}]*\}|[^\s,{}]+", text)[:_MAX_MILTERS]
    bare = (word.strip("{} \t").replace(",", " ").split() for word in words)
    return tuple(parts[0] for parts in bare if parts)


def seconds(text: str) -> float | None:
    """A time of main.cf: a number and a unit, s by default."""
    found = re.fullmatch(r"(\d{1,9})([smhdw]?)", text)
    return float(int(found[1]) * _UNITS[found[2] or "s"]) if found else None


def names(milter: str, where: Socket, queue_directory: str, *, chrooted: bool) -> bool:
    """Whether that word of smtpd_milters leads to our socket.

    In a chroot every path starts at the queue directory; without one only a relative path does.
    """
    kind, _, rest = milter.partition(":")
    if kind == "unix" and where.family == "unix":
        inside = chrooted or not rest.startswith("/")
        path = Path(queue_directory, rest.lstrip("/")) if inside else Path(rest)
        return path == Path(where.path)
    host, _, port = rest.rpartition(":")
    if kind != "inet" or where.family == "unix" or port != str(where.port):
        return False
    return _is_same_host(host.strip("[]").lower(), where)


def _is_same_host(name: str, where: Socket) -> bool:
    if where.host in {"0.0.0.0", "::", name}:  # noqa: S104  what the conf says, nothing is bound here
        return True
    if name == "localhost":
        return where.host in {"127.0.0.1", "::1"}
    # Another name may lead to us: only DNS could tell.
    return not re.fullmatch(r"[0-9a-f.:]+", name)
