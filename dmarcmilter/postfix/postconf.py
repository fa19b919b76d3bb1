"""What Postfix on this machine is configured to do with milters: asked of postconf(1), never read by ourselves."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from pathlib import Path

from dmarcmilter.config.endpoint import Socket

SECONDS = 10.0
"""For one call of postconf."""
NAMES = (
    "myhostname", "queue_directory", "mail_owner", "smtpd_milters", "milter_protocol", "milter_default_action",
    "enable_original_recipient",
    "milter_content_timeout", "compatibility_level", "non_smtpd_milters", "smtpd_proxy_filter", "smtpd_milter_maps",
    "receive_override_options", "multi_instance_directories", "smtpd_client_restrictions", "mynetworks",
    "smtpd_recipient_restrictions", "smtpd_relay_restrictions",
)  # fmt: skip
SUBMISSION = frozenset({"submission", "submissions", "smtps", "587", "465"})
"""Services for the own users, whose mail is not judged."""
REINJECTION = frozenset({"10025", "10026", "10027"})
"""Ports at which content filters hand mail back, by custom (FILTER_README of Postfix, amavis)."""
MAX_INSTANCES = 16
"""Further instances of Postfix that are looked at (multi_instance_directories)."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/bin")
_MAX_MILTERS = 64


class Kind(Enum):
    """Whose mail a service takes."""

    PUBLIC = "others"
    SUBMISSION = "the own users"
    REINJECTION = "a content filter, which hands back what has been here before"


@dataclass(frozen=True, slots=True)
class Service:
    """An smtpd of master.cf."""

    name: str
    chrooted: bool
    milters: tuple[str, ...]
    kind: Kind = Kind.PUBLIC
    settings: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Parameters that are in force for it: those of master.cf, else those of main.cf."""
    overridden: frozenset[str] = field(default_factory=frozenset, compare=False)
    """Names of those that master.cf sets."""


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
    """Those that take mail from others."""
    own: tuple[Service, ...] = ()
    """Those for the own users and for content filters."""
    main: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Parameters of main.cf."""
    directory: str = ""
    """Its configuration directory; empty: the default one."""

    @property
    def postconf(self) -> str:
        """The command that changes its configuration, for advice."""
        return f"postconf -c {self.directory}" if self.directory else "postconf"

    @property
    def reload(self) -> str:
        return f"postfix -c {self.directory} reload" if self.directory else "postfix reload"


def find(directory: str = "") -> Postfix | None:
    """Its configuration in that directory, by default its own; None: no Postfix here, or one that cannot be asked."""
    program = next((str(path) for folder in _FOLDERS if os.path.isfile(path := Path(folder, "postconf"))), None)  # noqa: PTH113
    if program is None or (directory and not os.path.isfile(Path(directory, "main.cf"))):  # noqa: PTH113
        return None
    command = [program, *(("-c", directory) if directory else ())]
    main = _run([*command, "-x", *NAMES])
    values = dict(map(_pair, main or ()))
    if not values.get("myhostname"):
        return None
    master, overrides = _run([*command, "-M"]), _run([*command, "-Px"])
    services = _services(master or (), dict(map(_pair, overrides or ())), values)
    return Postfix(
        hostname=values["myhostname"],
        queue_directory=values.get("queue_directory", ""),
        owner=values.get("mail_owner", "postfix"),
        protocol=values.get("milter_protocol", ""),
        default_action=values.get("milter_default_action", ""),
        content_timeout=seconds(values.get("milter_content_timeout", "")),
        services=tuple(service for service in services if service.kind is Kind.PUBLIC),
        own=tuple(service for service in services if service.kind is not Kind.PUBLIC),
        main=values,
        directory=directory,
    )


def other_instances(postfix: Postfix | None) -> tuple[Postfix, ...]:
    """Further instances that the main one manages (MULTI_INSTANCE_README)."""
    if postfix is None:
        return ()
    words = postfix.main.get("multi_instance_directories", "").replace(",", " ").split()[:MAX_INSTANCES]
    return tuple(found for word in words if (found := find(word)) is not None)


def is_running(postfix: Postfix) -> bool:
    """Whether its master process is there, as far as this user can see; True when it cannot."""
    try:
        text = Path(postfix.queue_directory, "pid", "master.pid").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    try:
        return Path(f"/proc/{int(text)}/comm").read_text(encoding="utf-8").strip() == "master"
    except (OSError, ValueError):
        return False


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
    rows = [columns for line in master if len(columns := line.split(None, 8)) >= 8 and columns[7] == "smtpd"]
    behind_loopback = all(_is_loopback(columns) for columns in rows if not _is_submission(columns[0]))
    found = []
    for columns in rows:
        name = f"{columns[0]}/{columns[1]}"
        own = {key.rpartition("/")[2]: value for key, value in overrides.items() if key.rpartition("/")[0] == name}
        settings = values | own
        found.append(
            Service(
                name,
                (usual if columns[4] == "-" else columns[4]) == "y",
                milter_names(settings.get("smtpd_milters", "")),
                _kind(columns, own, behind_loopback=behind_loopback),
                settings,
                frozenset(own),
            )
        )
    return found


def _kind(columns: list[str], own: Mapping[str, str], *, behind_loopback: bool) -> Kind:
    """`behind_loopback`: no service is bound to anything else, so loopback is where mail from outside arrives, too."""
    restrictions = [value for key, value in own.items() if key.endswith("_restrictions")]
    only_logins = any(re.fullmatch(r"\s*permit_sasl_authenticated[\s,]+reject\s*", value) for value in restrictions)
    if _is_submission(columns[0]) or only_logins:
        return Kind.SUBMISSION
    port = columns[0].rpartition(":")[2]
    only_local = re.fullmatch(
        r"[\s,]*(127\.0\.0\.0/8|127\.0\.0\.1(/32)?)[\s,]*(\[::1\](/128)?)?", own.get("mynetworks", "")
    )
    if columns[1] != "inet":
        return Kind.PUBLIC if columns[1] == "pass" else Kind.REINJECTION
    if port in REINJECTION or only_local or (_is_loopback(columns) and not behind_loopback):
        return Kind.REINJECTION
    return Kind.PUBLIC


def _is_submission(name: str) -> bool:
    return name.rpartition(":")[2] in SUBMISSION


def _is_loopback(columns: list[str]) -> bool:
    host = columns[0].rpartition(":")[0].strip("[]")
    try:
        return columns[1] == "inet" and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        return False


def milter_words(text: str) -> tuple[str, ...]:
    """The entries of smtpd_milters as written, one with options in its braces (postconf(5))."""
    return tuple(re.findall(r"\{[^{}]*\}|[^\s,{}]+", text)[:_MAX_MILTERS])


def milter_names(text: str) -> tuple[str, ...]:
    """The addresses in smtpd_milters; one with options stands in braces, `{ ADDRESS, key=value }` (postconf(5))."""
    return tuple(name for word in milter_words(text) if (name := milter_name(word)))


def milter_name(word: str) -> str:
    """The address of one entry."""
    parts = word.strip("{} \t").replace(",", " ").split()
    return parts[0] if parts else ""


def milter_option(word: str, name: str) -> str:
    """The value of `name=VALUE` in an entry with options; empty: it has none."""
    found = re.search(rf"[\s,{{]{name}\s*=\s*([^\s,}}]+)", word)
    return found[1] if found else ""


def seconds(text: str) -> float | None:
    """A time of main.cf: a number and a unit, s by default."""
    found = re.fullmatch(r"(\d{1,9})([smhdw]?)", text)
    return float(int(found[1]) * _UNITS[found[2] or "s"]) if found else None


def path_of(milter: str, queue_directory: str, *, chrooted: bool) -> Path | None:
    """Where that word of smtpd_milters leads in the file system; None: no path.

    In a chroot every path starts at the queue directory; without one only a relative path does.
    """
    kind, _, rest = milter.partition(":")
    if kind != "unix":
        return None
    inside = chrooted or not rest.startswith("/")
    return Path(queue_directory, rest.lstrip("/")) if inside else Path(rest)


def names(milter: str, where: Socket, queue_directory: str, *, chrooted: bool) -> bool:
    """Whether that word of smtpd_milters leads to our socket."""
    path = path_of(milter, queue_directory, chrooted=chrooted)
    if path is not None and where.family == "unix":
        return path == Path(where.path) or _is_same_file(path, Path(where.path))
    kind, _, rest = milter.partition(":")
    host, _, port = rest.rpartition(":")
    if kind != "inet" or where.family == "unix" or port != str(where.port):
        return False
    return _is_same_host(host.strip("[]").lower(), where)


def spelled(where: Socket, queue_directory: str, *, chrooted: bool) -> str:
    """Our socket in smtpd_milters' spelling; empty: no spelling leads there, as it is outside of the chroot."""
    if where.family != "unix":
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(where.host, where.host)  # noqa: S104
        return f"inet:[{host}]:{where.port}" if ":" in host else f"inet:{host}:{where.port}"
    path, queue = Path(where.path), Path(queue_directory)
    if queue_directory and path.is_relative_to(queue):
        return f"unix:{path.relative_to(queue)}"
    return "" if chrooted else f"unix:{path}"


def _is_same_file(one: Path, other: Path) -> bool:
    """By symbolic links, doubled slashes, or a folder that is mounted in two places."""
    try:
        return os.path.realpath(one) == os.path.realpath(other) or one.samefile(other)
    except (OSError, ValueError):
        return False


def _is_same_host(name: str, where: Socket) -> bool:
    if where.host in {"0.0.0.0", "::", name}:  # noqa: S104  what the conf says, nothing is bound here
        return True
    if name == "localhost":
        return where.host in {"127.0.0.1", "::1"}
    # Another name may lead to us: only DNS could tell.
    return not re.fullmatch(r"[0-9a-f.:]+", name)
