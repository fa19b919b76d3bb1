"""Converts the values of OpenDMARC's settings to values of ours."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dmarcmilter.dmarc.public_suffix import SYSTEM_LIST
from dmarcmilter.mail import domain as domains
from dmarcmilter.opendmarc import host_lists
from dmarcmilter.opendmarc.config_file import Setting, is_true, listed, number
from dmarcmilter.opendmarc.setting_table import Fate
from dmarcmilter.value import Value, field

LONGEST_TIMEOUT = 60
"""Largest value of [dns] timeout, in seconds; a longer one becomes this."""
MAX_NAMES = 1_000
"""Number of domains or addresses that are taken over from one setting; further ones are left out."""

Values = dict[str, dict[str, Any]]
"""Our values by section and key."""
Pairs = dict[tuple[str, str], Any]
"""Our values by (section, key)."""


class NotTakenError(Exception):
    """A value that is not taken over; the text says why, or what to do."""


class Context(Value):
    """What a converter may use besides the value."""

    settings: Mapping[str, Setting]
    """All settings in the file, by name in lower case."""
    read_file: Callable[[str], bytes]
    so_far: Values
    """Our values from settings that were converted before."""

    @property
    def base_directory(self) -> str:
        """The directory that relative paths start from; empty: BaseDirectory is not in the file."""
        setting = self.settings.get("basedirectory")
        return setting.value if setting else ""

    def file(self, path: str) -> bytes:
        """The content of a file that a setting names; NotTakenError."""
        base = self.base_directory
        try:
            return self.read_file(str(Path(base, path)) if base else path)
        except (OSError, ValueError) as error:
            raise NotTakenError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


class Taken(Value):
    """A converted value."""

    values: Pairs = field(default_factory=dict)
    """Empty: nothing of ours is set."""
    text: str = ""
    """Text of the note; empty: that of the setting."""
    fate: Fate | None = None
    """Fate of a value for which nothing is set; None: that of the setting."""
    suggestions: tuple[str, ...] = ()
    """Lines of TOML that the administrator has to complete."""


Converter = Callable[[str, Context], Taken]

UNSET: dict[str, Pairs] = {
    "RejectFailures": {("policy", "mode"): "monitor"},
    "HoldQuarantinedMessages": {("policy", "quarantine_action"): "header"},
}
"""Our values where these settings are missing, so that no more is enforced than OpenDMARC did."""


def _boolean(value: str) -> bool:
    truth = is_true(value)
    if truth is None:
        raise NotTakenError("neither true nor false")
    return truth


def _switch(section: str, key: str) -> Converter:
    return lambda value, _: Taken({(section, key): _boolean(value)})


def _choice(section: str, key: str, when_true: str, when_false: str) -> Converter:
    return lambda value, _: Taken({(section, key): when_true if _boolean(value) else when_false})


def _enforcement(value: str, _: Context) -> Taken:
    if not _boolean(value):
        return Taken({("policy", "mode"): "monitor"})
    return Taken({("policy", "mode"): "enforce", ("dmarc", "temperror"): "tempfail"}, "as OpenDMARC then defers")


def _authserv_id(value: str, _: Context) -> Taken:
    if value.upper() == "HOSTNAME":
        return Taken(text="left empty: the MTA's own name, else the host name", fate=Fate.NEEDLESS)
    return Taken({("identity", "authserv_id"): value})


def _dns_timeout(value: str, _: Context) -> Taken:
    seconds = number(value)
    if seconds is None or seconds < 0:
        raise NotTakenError("not a number of seconds")
    if seconds == 0:
        raise NotTakenError("waiting without a limit is not possible; left at the default")
    timeout = min(seconds, LONGEST_TIMEOUT)
    return Taken({("dns", "timeout"): float(timeout)}, "" if timeout == seconds else "the longest there is")


def _sealers(names: list[str], context: Context) -> Taken:
    before = context.so_far.get("arc", {}).get("trusted_sealers", [])
    kept, text = _usable(names, lambda name: name)
    return Taken({("arc", "trusted_sealers"): list(dict.fromkeys([*before, *kept]))[:MAX_NAMES]}, text)


def _usable(entries: list[str], name_of: Callable[[str], str]) -> tuple[list[str], str]:
    """The entries that name a domain, in lower case and at most MAX_NAMES, and a text about those left out."""
    good = [entry.lower() for entry in entries if domains.parse(name_of(entry)) is not None]
    left_out = len(entries) - len(good[:MAX_NAMES])
    bad = next((entry for entry in entries if domains.parse(name_of(entry)) is None), "")
    text = f"{left_out} left out" + (f", as {bad[:80]!r}, which names no domain" if bad else "") if left_out else ""
    return good[:MAX_NAMES], text


def _whitelist(value: str, context: Context) -> Taken:
    return _sealers(listed(value), context)


def _whitelist_file(value: str, context: Context) -> Taken:
    return _sealers(host_lists.entries(context.file(value)), context)


def _ignored_hosts(value: str, context: Context) -> Taken:
    hosts = host_lists.parse(context.file(value))
    left_out = ", ".join(hosts.left_out[:10]) + (" and more" if len(hosts.left_out) > 10 else "")
    text = f"left out: {left_out}: give addresses" if left_out else ""
    return Taken({("ignore", "networks"): list(hosts.networks)}, text)


def _ignored_authors(value: str, _: Context) -> Taken:
    names = listed(value)[:MAX_NAMES]
    block = (
        "[[override]]",
        'name = "IgnoreMailFrom of OpenDMARC"',
        'action = "accept"',
        f"from_domain = [{', '.join(map(_quoted, names))}]",
        "client = []  # the networks that this mail really comes from; or dkim_domain, spf_domain, arc_sealer",
    )
    return Taken(suggestions=block)


def _quoted(text: str) -> str:
    return '"' + re.sub(r'["\\]', "?", text) + '"'


def _debug(value: str, _: Context) -> Taken:
    return Taken({("log", "level"): "debug"}) if number(value) else Taken(text="0 is no debugging", fate=Fate.NEEDLESS)


def _excluded(value: str, context: Context) -> Taken:
    kept, text = _usable(host_lists.entries(context.file(value)), lambda entry: entry.rpartition("@")[2])
    return Taken({("reports", "exclude"): kept}, text)


def _suffix_list(value: str, context: Context) -> Taken:
    if value == SYSTEM_LIST or Path(value) == Path(SYSTEM_LIST).parent:
        return Taken(text="the system's list is found without it, unless there is a newer one", fate=Fate.NEEDLESS)
    context.file(value)
    base = context.base_directory
    return Taken({("dmarc", "psl_file"): str(Path(base, value)) if base else value})


def _reject_string(value: str, _: Context) -> Taken:
    plain = value.replace("{", "(").replace("}", ")")
    return Taken({("policy", "reject_text"): plain.replace("%s", "{domain}").replace("%%", "%")})


def _required(value: str, _: Context) -> Taken:
    word = "reject" if _boolean(value) else "accept"
    return Taken({("author", "on_missing"): word, ("author", "on_malformed"): word})


def _required_headers(value: str, _: Context) -> Taken:
    if not _boolean(value):
        text = "mail whose From field names no domain is rejected all the same, see [author]"
        return Taken(text=text, fate=Fate.NEEDLESS)
    reject = {("author", "on_missing"): "reject", ("author", "on_malformed"): "reject"}
    return Taken(reject, "other fields are not counted")


def _umask(value: str, _: Context) -> Taken:
    mask = number(value)
    if mask is None or not 0 <= mask <= 0o777:
        raise NotTakenError("not a mask of permissions")
    return Taken({("milter", "socket_mode"): f"{0o666 & ~mask:04o}"})


def _user(value: str, _: Context) -> Taken:
    group = value.partition(":")[2]
    if not group:
        return Taken(text="the user is that of systemd's unit", fate=Fate.NEEDLESS)
    return Taken({("milter", "socket_group"): group}, "the user is that of systemd's unit")


def socket_address(value: str) -> str:
    """The address of a socket in our form; NotTakenError.

    OpenDMARC's forms: `local:PATH`, `unix:PATH`, `PATH`, `inet:PORT[@HOST]`, `inet6:PORT[@HOST]`.
    """
    kind, _, rest = value.partition(":")
    if value.startswith("/"):
        return f"unix:{value}"
    if kind.lower() in {"local", "unix"}:
        return f"unix:{rest}"
    port, _, host = rest.partition("@")
    everywhere, loopback = {"inet": ("0.0.0.0", "127.0.0.1"), "inet6": ("::", "::1")}.get(kind.lower(), ("", ""))  # noqa: S104
    if not everywhere or not port.isdigit():
        raise NotTakenError("not understood; give [milter] socket as unix:/PATH or inet:PORT@ADDRESS")
    host = host.strip("[]") or everywhere
    if host.lower().removesuffix(".") in host_lists.LOCAL_NAMES:
        host = loopback
    if ":" in host:
        kind = "inet6"
    if not re.fullmatch(r"[0-9a-fA-F:.]+", host):
        raise NotTakenError(f"names of hosts are not looked up: give the address of {host} in [milter] socket")
    return f"{kind.lower()}:{port}@{host}"


def _socket(value: str, _: Context) -> Taken:
    address = socket_address(value)
    text = ""
    if address.startswith("unix:"):
        text = "its folder must be writable for the filter's user, and OpenDMARC no longer use it"
    elif address.endswith(("@0.0.0.0", "@::")):
        text = "reachable from everywhere: better the address of one interface"
    return Taken({("milter", "socket"): address}, text)


CONVERTERS: dict[str, Converter] = {
    "AuthservID": _authserv_id,
    "DNSTimeout": _dns_timeout,
    "DomainWhitelist": _whitelist,
    "DomainWhitelistFile": _whitelist_file,
    "FailureReports": _switch("reports.failure", "enabled"),
    "FailureReportsOnNone": _switch("reports.failure", "on_none"),
    "HoldQuarantinedMessages": _choice("policy", "quarantine_action", "hold", "header"),
    "IgnoreAuthenticatedClients": _switch("ignore", "authenticated"),
    "IgnoreHosts": _ignored_hosts,
    "IgnoreMailFrom": _ignored_authors,
    "MilterDebug": _debug,
    "NoReportsList": _excluded,
    "PublicSuffixList": _suffix_list,
    "RejectFailures": _enforcement,
    "RejectMultiValueFrom": _choice("author", "on_multiple", "reject", "accept"),
    "RejectString": _reject_string,
    "RequiredFrom": _required,
    "RequiredHeaders": _required_headers,
    "Socket": _socket,
    "UMask": _umask,
    "UserID": _user,
}
"""Converters by setting: of all that are taken over, and of those whose note depends on the value."""
