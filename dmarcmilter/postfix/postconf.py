"""Postfix's configuration of milters and services on this machine, as postconf(1) prints it."""

import os
import re
import subprocess
from collections.abc import Mapping
from enum import Enum
from ipaddress import ip_address
from pathlib import Path

from dmarcmilter.config.endpoint import Socket
from dmarcmilter.value import Value, field

SECONDS = 10.0
"""Seconds that one call of postconf may take; then its output counts as missing."""
PARAMETERS = (
    "compatibility_level",
    "enable_original_recipient",
    "mail_owner",
    "milter_content_timeout",
    "milter_default_action",
    "milter_protocol",
    "multi_instance_directories",
    "myhostname",
    "mynetworks",
    "non_smtpd_milters",
    "queue_directory",
    "receive_override_options",
    "smtpd_client_restrictions",
    "smtpd_milter_maps",
    "smtpd_milters",
    "smtpd_proxy_filter",
    "smtpd_recipient_restrictions",
    "smtpd_relay_restrictions",
)
"""Parameters of main.cf that are read."""
SUBMISSION = frozenset({"submission", "submissions", "smtps", "587", "465"})
"""Services for the own users, whose mail is not evaluated."""
REINJECTION = frozenset({"10025", "10026", "10027"})
"""Ports at which content filters usually hand mail back (Postfix's FILTER_README, amavis)."""
MAX_INSTANCES = 16
"""Number of further instances of Postfix (multi_instance_directories) that are read; others are ignored."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
"""Seconds of each unit of a time in main.cf."""
_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/bin")
_MAX_MILTERS = 64
"""Number of entries of smtpd_milters that are read; further ones are ignored."""


class MailOrigin(Enum):
    """Whose mail a service receives."""

    PUBLIC = "others"
    SUBMISSION = "the own users"
    REINJECTION = "a content filter, which hands back what has been here before"


class Service(Value):
    """An smtpd of master.cf."""

    name: str
    chrooted: bool
    milters: tuple[str, ...]
    kind: MailOrigin = MailOrigin.PUBLIC
    settings: Mapping[str, str] = field(default_factory=dict)
    """Parameters in force for it: the value in master.cf, else that in main.cf."""
    overridden: frozenset[str] = frozenset()
    """Names of the parameters that master.cf sets."""


class Postfix(Value):
    """The configuration of one instance of Postfix."""

    hostname: str
    queue_directory: str
    owner: str
    """The user that smtpd runs as."""
    protocol: str
    default_action: str
    content_timeout: float | None
    """Seconds that it waits for the filter's answer at the end of a message; None: not understood."""
    services: tuple[Service, ...]
    """Services that receive mail from others."""
    own: tuple[Service, ...] = ()
    """Services for the own users and for content filters."""
    main: Mapping[str, str] = field(default_factory=dict)
    """Parameters of main.cf."""
    directory: str = ""
    """Its configuration directory; empty: the default one."""

    @property
    def postconf(self) -> str:
        """The start of the command that changes its configuration, for advice."""
        return f"postconf -c {self.directory}" if self.directory else "postconf"

    @property
    def reload(self) -> str:
        """The command that makes it read its configuration again, for advice."""
        return f"postfix -c {self.directory} reload" if self.directory else "postfix reload"


def find(directory: str = "") -> Postfix | None:
    """The Postfix with that configuration directory; empty: the default one. None: no Postfix, or postconf fails."""
    program = next((str(path) for folder in _FOLDERS if os.path.isfile(path := Path(folder, "postconf"))), None)  # noqa: PTH113
    if program is None or (directory and not os.path.isfile(Path(directory, "main.cf"))):  # noqa: PTH113
        return None
    command = [program, *(("-c", directory) if directory else ())]
    main = _run([*command, "-x", *PARAMETERS])
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
        services=tuple(service for service in services if service.kind is MailOrigin.PUBLIC),
        own=tuple(service for service in services if service.kind is not MailOrigin.PUBLIC),
        main=values,
        directory=directory,
    )


def other_instances(postfix: Postfix | None) -> tuple[Postfix, ...]:
    """Further instances that the main instance manages (MULTI_INSTANCE_README)."""
    if postfix is None:
        return ()
    directories = postfix.main.get("multi_instance_directories", "").replace(",", " ").split()[:MAX_INSTANCES]
    return tuple(instance for directory in directories if (instance := find(directory)) is not None)


def is_running(postfix: Postfix) -> bool:
    """Whether its master process runs; also True when this user may not see that."""
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
    """The lines that a command prints; None: it failed."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=SECONDS, stdin=subprocess.DEVNULL)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").splitlines() if done.returncode == 0 else None


def _pair(line: str) -> tuple[str, str]:
    """Name and value of `name = value`."""
    name, _, value = line.partition("=")
    return name.strip(), value.strip()


def _services(master: list[str] | tuple[()], overrides: dict[str, str], values: dict[str, str]) -> list[Service]:
    """The services of master.cf with the command smtpd (master(5): eight columns)."""
    # Before Postfix 3 a "-" in the column chroot meant yes.
    default_chroot = "y" if values.get("compatibility_level", "3").split(".")[0] == "0" else "n"
    rows = [columns for line in master if len(columns := line.split(None, 8)) >= 8 and columns[7] == "smtpd"]
    behind_loopback = all(_is_loopback(columns) for columns in rows if not _is_submission(columns[0]))
    services = []
    for columns in rows:
        name = f"{columns[0]}/{columns[1]}"
        own = {key.rpartition("/")[2]: value for key, value in overrides.items() if key.rpartition("/")[0] == name}
        settings = values | own
        services.append(
            Service(
                name,
                (default_chroot if columns[4] == "-" else columns[4]) == "y",
                milter_names(settings.get("smtpd_milters", "")),
                _kind(columns, own, behind_loopback=behind_loopback),
                settings,
                frozenset(own),
            )
        )
    return services


def _kind(columns: list[str], own: Mapping[str, str], *, behind_loopback: bool) -> MailOrigin:
    """Whose mail the service receives.

    `behind_loopback`: all services listen at loopback addresses, so mail from outside arrives there, too.
    """
    restrictions = [value for key, value in own.items() if key.endswith("_restrictions")]
    only_logins = any(re.fullmatch(r"\s*permit_sasl_authenticated[\s,]+reject\s*", value) for value in restrictions)
    if _is_submission(columns[0]) or only_logins:
        return MailOrigin.SUBMISSION
    port = columns[0].rpartition(":")[2]
    only_local = re.fullmatch(
        r"[\s,]*(127\.0\.0\.0/8|127\.0\.0\.1(/32)?)[\s,]*(\[::1\](/128)?)?", own.get("mynetworks", "")
    )
    if columns[1] != "inet":
        return MailOrigin.PUBLIC if columns[1] == "pass" else MailOrigin.REINJECTION
    if port in REINJECTION or only_local or (_is_loopback(columns) and not behind_loopback):
        return MailOrigin.REINJECTION
    return MailOrigin.PUBLIC


def _is_submission(name: str) -> bool:
    return name.rpartition(":")[2] in SUBMISSION


def _is_loopback(columns: list[str]) -> bool:
    host = columns[0].rpartition(":")[0].strip("[]")
    try:
        return columns[1] == "inet" and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        return False


def milter_words(text: str) -> tuple[str, ...]:
    """The entries of smtpd_milters as written, those with options in their braces (postconf(5))."""
    return tuple(re.findall(r"\{[^{}]*\}|[^\s,{}]+", text)[:_MAX_MILTERS])


def milter_names(text: str) -> tuple[str, ...]:
    """The addresses in smtpd_milters, whose entries are `ADDRESS` or `{ ADDRESS, key=value }` (postconf(5))."""
    return tuple(name for word in milter_words(text) if (name := milter_name(word)))


def milter_name(word: str) -> str:
    """The address of an entry of smtpd_milters."""
    parts = word.strip("{} \t").replace(",", " ").split()
    return parts[0] if parts else ""


def milter_option(word: str, name: str) -> str:
    """The value of an option of an entry of smtpd_milters, `name=VALUE`; empty: it has none."""
    option = re.search(rf"[\s,{{]{name}\s*=\s*([^\s,}}]+)", word)
    return option[1] if option else ""


def seconds(text: str) -> float | None:
    """The seconds of a time in main.cf, a number and a unit (default s); None: not a time."""
    time = re.fullmatch(r"(\d{1,9})([smhdw]?)", text)
    return float(int(time[1]) * _UNITS[time[2] or "s"]) if time else None


def path_of(milter: str, queue_directory: str, *, chrooted: bool) -> Path | None:
    """The path of a milter's socket in the file system; None: its address is not a path.

    In a chroot every path starts at the queue directory; without one only relative paths do.
    """
    kind, _, rest = milter.partition(":")
    if kind != "unix":
        return None
    inside = chrooted or not rest.startswith("/")
    return Path(queue_directory, rest.lstrip("/")) if inside else Path(rest)


def leads_to(milter: str, milter_socket: Socket, queue_directory: str, *, chrooted: bool) -> bool:
    """Whether an address in smtpd_milters is that of our socket."""
    path = path_of(milter, queue_directory, chrooted=chrooted)
    if path is not None and milter_socket.family == "unix":
        return path == Path(milter_socket.path) or _is_same_file(path, Path(milter_socket.path))
    kind, _, rest = milter.partition(":")
    host, _, port = rest.rpartition(":")
    if kind != "inet" or milter_socket.family == "unix" or port != str(milter_socket.port):
        return False
    return _is_same_host(host.strip("[]").lower(), milter_socket)


def milter_address(milter_socket: Socket, queue_directory: str, *, chrooted: bool) -> str:
    """The address of our socket as smtpd_milters has to give it; empty: the socket is outside of the chroot."""
    if milter_socket.family != "unix":
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(milter_socket.host, milter_socket.host)  # noqa: S104
        return f"inet:[{host}]:{milter_socket.port}" if ":" in host else f"inet:{host}:{milter_socket.port}"
    path, queue = Path(milter_socket.path), Path(queue_directory)
    if queue_directory and path.is_relative_to(queue):
        return f"unix:{path.relative_to(queue)}"
    return "" if chrooted else f"unix:{path}"


def _is_same_file(path: Path, other: Path) -> bool:
    """Whether both paths lead to one file: through links, doubled slashes, or a folder that is mounted twice."""
    try:
        return os.path.realpath(path) == os.path.realpath(other) or path.samefile(other)
    except (OSError, ValueError):
        return False


def _is_same_host(name: str, milter_socket: Socket) -> bool:
    if milter_socket.host in {"0.0.0.0", "::", name}:  # noqa: S104  what the conf says, nothing is bound here
        return True
    if name == "localhost":
        return milter_socket.host in {"127.0.0.1", "::1"}
    # A name may lead to our address, which only DNS could tell; an address does not.
    return not re.fullmatch(r"[0-9a-f.:]+", name)
