"""The filters that are compared, how each is configured to do the same checks, and how it is started.

All accept every message and record their results in Authentication-Results fields.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from dmarcmilter.value import Value

AUTHSERV_ID = "mx.rx-receiver.net"
PUBLIC_SUFFIXES = Path("/usr/share/publicsuffix/public_suffix_list.dat")
ROOT = Path(__file__).resolve().parents[2]
RSPAMD_PLUGINS = Path("/usr/share/rspamd/plugins")
EVERYTHING = ("spf", "dkim", "dmarc", "arc")


class Setting(Value):
    """What the conf files of a run depend on."""

    folder: Path
    """Empty, for all files of the filter."""
    cache: Path
    """For what a filter keeps from one start to the next."""
    name_server: str
    workers: int
    """Processes, where a filter has a choice."""


class Stage(Value):
    """One program of a filter, which stays in the foreground."""

    command: tuple[str, ...]
    socket: str
    """unix:PATH or inet:PORT@127.0.0.1."""


class Filter(Value):
    name: str
    reports: tuple[str, ...]
    """Methods whose results are compared with the expected ones."""
    needs: tuple[Path, ...]
    """Files without which it cannot run."""
    stages: Callable[[Setting], tuple[Stage, ...]]
    """Write the conf files; more than one stage is a chain, in the order of calls."""


def own_filter(name: str, command: tuple[str, ...]) -> Filter:
    """A build of dmarcmilter, started by a command that takes `run --config FILE`."""

    def stages(setting: Setting) -> tuple[Stage, ...]:
        socket = f"unix:{setting.folder}/filter.sock"
        text = OURS.format(folder=setting.folder, socket=socket, workers=setting.workers, authserv_id=AUTHSERV_ID)
        (setting.folder / "journal").mkdir()
        conf = _write(setting, "dmarcmilter.toml", text)
        return (Stage((*command, "run", "--config", conf), socket),)

    return Filter(name, EVERYTHING, (), stages)


def _opendkim_and_opendmarc(setting: Setting) -> tuple[Stage, ...]:
    socket = f"{setting.folder}/opendkim.sock"
    text = OPENDKIM.format(socket=socket, authserv_id=AUTHSERV_ID, name_server=setting.name_server)
    opendkim = Stage(("opendkim", "-f", "-x", _write(setting, "opendkim.conf", text)), f"unix:{socket}")
    socket = f"{setting.folder}/opendmarc.sock"
    text = OPENDMARC.format(socket=socket, authserv_id=AUTHSERV_ID, suffixes=PUBLIC_SUFFIXES)
    opendmarc = Stage(("opendmarc", "-f", "-c", _write(setting, "opendmarc.conf", text)), f"unix:{socket}")
    return opendkim, opendmarc


def _rspamd(setting: Setting) -> tuple[Stage, ...]:
    used = {"arc", "dmarc", "milter_headers", "spf"}
    others = sorted(plugin.stem for plugin in RSPAMD_PLUGINS.glob("*.lua") if plugin.stem not in used)
    # Its compiled regular expressions. Without them a start takes 15 s, which happens once on a real machine.
    cache = setting.cache / "rspamd"
    cache.mkdir(exist_ok=True)
    text = RSPAMD
    values = {
        "FOLDER": setting.folder,
        "NAME_SERVER": setting.name_server,
        "WORKERS": setting.workers,
        "CACHE": cache,
        "PLUGINS": RSPAMD_PLUGINS,
        "OTHERS": "\n".join(f"{name} {{ enabled = false; }}" for name in others),
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    conf = _write(setting, "rspamd.conf", text)
    return (Stage(("rspamd", "--no-fork", "--insecure", "--config", conf), "inet:11332@127.0.0.1"),)


def _empty_pymilter(setting: Setting) -> tuple[Stage, ...]:
    socket = f"unix:{setting.folder}/empty.sock"
    return (Stage((sys.executable, "-m", "bench.peers.empty_milter", socket), socket),)


def _write(setting: Setting, name: str, text: str) -> str:
    path = setting.folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def _of_checkout(folder: Path) -> tuple[str, ...]:
    """The command that runs the program in this folder, whatever the working directory holds."""
    return ("env", "PYTHONSAFEPATH=1", f"PYTHONPATH={folder}", sys.executable, "-m", "dmarcmilter")


COMPILED = ROOT / "build" / "compiled"
"""Where scripts/compile puts the compiled program."""
FILTERS = (
    *([own_filter("dmarcmilter", _of_checkout(COMPILED))] if COMPILED.is_dir() else []),
    own_filter("interpreted", _of_checkout(ROOT)),
    Filter(
        "opendkim+opendmarc",
        ("spf", "dkim", "dmarc"),
        (Path("/usr/sbin/opendkim"), Path("/usr/sbin/opendmarc"), PUBLIC_SUFFIXES),
        _opendkim_and_opendmarc,
    ),
    Filter("rspamd", EVERYTHING, (Path("/usr/bin/rspamd"),), _rspamd),
    Filter("empty pymilter", (), (), _empty_pymilter),
)

# Monitor mode: what the policy asks for is recorded, and each message is accepted with its results.
OURS = """\
[milter]
socket = "{socket}"
workers = {workers}
[identity]
authserv_id = "{authserv_id}"
[policy]
mode = "monitor"
sampling_key = "{folder}/sampling.key"
[history]
journal = "{folder}/journal"
database = "sqlite:///{folder}/history.db"
"""

# Debian's OpenDKIM resolves by itself and must be given the name server.
OPENDKIM = """\
Mode v
Socket local:{socket}
AuthservID {authserv_id}
AlwaysAddARHeader yes
InternalHosts 127.0.0.1
Nameservers {name_server}
MinimumKeyBits 1024
Syslog no
"""

OPENDMARC = """\
Socket local:{socket}
AuthservID {authserv_id}
TrustedAuthservIDs {authserv_id}
SPFIgnoreResults true
SPFSelfValidate true
RejectFailures false
PublicSuffixList {suffixes}
Syslog false
"""

# Only what authenticates mail: no other plugin, no action below an unreachable score.
RSPAMD = """\
lua = "/usr/share/rspamd/rules/rspamd.lua";
options {
    filters = "dkim,spf";
    explicit_modules = [];
    check_all_filters = true;
    local_addrs = [192.168.0.0/16];
    dns { nameserver = ["@NAME_SERVER@:53:1"]; timeout = 2s; sockets = 16; retransmits = 3; }
    url_tld = "/usr/share/rspamd/effective_tld_names.dat";
    pidfile = "@FOLDER@/rspamd.pid";
    cache_file = "@FOLDER@/symbols.cache";
    history_file = "@FOLDER@/history";
    hs_cache_dir = "@CACHE@";
    control_socket = "@FOLDER@/control.sock mode=0600";
    disable_monitoring = true;
}
logging { type = "console"; level = "error"; }
worker "rspamd_proxy" {
    bind_socket = "127.0.0.1:11332";
    milter = yes;
    timeout = 120s;
    upstream "local" { default = yes; self_scan = yes; }
    count = @WORKERS@;
}
redis { }
group "none" { }
actions { reject = 10000; add_header = 9000; greylist = 8999; }
spf { spf_cache_size = 2k; spf_cache_expire = 1d; }
dkim { dkim_cache_size = 2k; dkim_cache_expire = 1d; time_jitter = 6h; }
arc { sign_inbound = false; sign_local = false; sign_authenticated = false; }
dmarc { }
milter_headers {
    use = ["authentication-results"];
    skip_local = false;
    routines { authentication-results { add_smtp_user = false; stop_chars = ";"; } }
}
modules { path = "@PLUGINS@/"; }
@OTHERS@
"""
