"""A private Postfix between the tests' SMTP client and their sink, with the filter under test as its milter.

It has its own configuration, queue and data directories and high ports on 127.0.0.1, so that a Postfix that runs on
the same host is not touched. Binaries and the users `postfix` and `postdrop` are those of the system's package.
"""

import contextlib
import grp
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.support.mta.smtp_client import submit, wait_for_port

__all__ = ["PostfixServer", "missing_postfix", "submit"]

READY_SECONDS = 60.0
STOP_SECONDS = 30.0
# Below the range from which the kernel takes ports for outgoing connections.
PORTS = (20_000, 32_000)

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {directory}/spool
data_directory = {directory}/data
maillog_file = {directory}/maillog
maillog_file_prefixes = {directory}
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.test.example
mydomain = test.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = all
local_recipient_maps =
alias_maps =
alias_database =
relay_domains = rcpt.example
default_transport = smtp:[127.0.0.1]:{sink}
relay_transport = smtp:[127.0.0.1]:{sink}
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_peername_lookup = no
smtpd_tls_security_level = none
smtputf8_enable = yes
smtp_dns_support_level = disabled
smtp_host_lookup = native
disable_dns_lookups = yes
append_dot_mydomain = no
local_header_rewrite_clients =
notify_classes =
biff = no
message_size_limit = 52428800
mailbox_size_limit = 0
in_flow_delay = 0
milter_protocol = 6
milter_default_action = {default_action}
milter_connect_timeout = 10s
milter_command_timeout = 30s
milter_content_timeout = 60s
smtpd_milters = {milter}
non_smtpd_milters =
"""

# Second column of the table: type; then private, unprivileged, chroot (never), wakeup, limit.
MASTER_CF = """\
127.0.0.1:{port} inet n - n - 50 smtpd
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
smtp      unix - - n - - smtp
error     unix - - n - - error
retry     unix - - n - - error
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
showq     unix n - n - - showq
postlog   unix-dgram n - n - 1 postlogd
"""


def missing_postfix() -> str:
    """Why a private Postfix cannot be run here; empty: it can."""
    if not shutil.which("postfix", path=_path()):
        return "Postfix is not installed: these tests need the package postfix"
    if os.geteuid() != 0:
        return "a private Postfix needs root (its daemons run as the package's user postfix)"
    with contextlib.suppress(KeyError):
        pwd.getpwnam("postfix"), grp.getgrnam("postdrop")
        return ""
    return "the users of the package postfix (postfix, postdrop) do not exist"


class PostfixServer:
    """Context manager. `milter` as in smtpd_milters: `unix:/path` or `inet:host:port`; empty: none."""

    def __init__(
        self,
        milter: str,
        *,
        sink_port: int,
        default_action: str = "tempfail",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="postfix-test-"))
        # The daemons run as postfix and must get to the queue; mkdtemp gives 0700.
        self.directory.chmod(0o755)
        self.config = self.directory / "conf"
        self._settings = dict(settings or {})
        self._main = MAIN_CF.format(
            directory=self.directory, sink=sink_port, milter=milter, default_action=default_action
        )
        self._master: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._write_configuration()
            self._run("postfix", "check")
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def log(self) -> str:
        path = self.directory / "maillog"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def wait_for_log(self, pattern: str, *, timeout: float = 60.0) -> re.Match[str]:
        """The first match in the log; AssertionError when none comes."""
        deadline = time.monotonic() + timeout
        while not (match := re.search(pattern, self.log())):
            assert time.monotonic() < deadline, f"no {pattern!r} in the log:\n{self.log()}"
            time.sleep(0.05)
        return match

    def hold_queue(self) -> list[str]:
        """Queue ids of the messages on hold."""
        return sorted(entry.name for entry in (self.directory / "spool" / "hold").iterdir() if entry.is_file())

    def held_message(self, queue_id: str) -> bytes:
        """Header and body of a message on hold, with CRLF line ends."""
        content = self._run("postcat", "-b", "-h", "-q", queue_id)
        return content.replace(b"\n", b"\r\n")

    def submit(self, **message: object) -> tuple[int, str]:
        """`submit` to this server's port."""
        return submit(self.port, **message)  # type: ignore[arg-type]

    def _write_configuration(self) -> None:
        self.config.mkdir()
        for name in ("spool", "data"):
            (self.directory / name).mkdir()
        shutil.chown(self.directory / "data", "postfix")
        extra = "".join(f"{name} = {value}\n" for name, value in self._settings.items())
        (self.config / "main.cf").write_text(self._main + extra)
        (self.config / "master.cf").write_text(MASTER_CF.format(port=self.port))

    def _start(self) -> None:
        daemons = self._run("postconf", "-h", "daemon_directory").decode().strip()
        # In the foreground, so that it is our child and ends by its process id; in its own session, because it
        # signals its whole process group when it ends.
        self._master = subprocess.Popen(
            [f"{daemons}/master", "-c", str(self.config), "-s"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if not wait_for_port(self.port, timeout=READY_SECONDS):
            raise RuntimeError(f"the private Postfix does not answer; its log:\n{self.log()}")

    def _run(self, program: str, *arguments: str) -> bytes:
        command = [program, "-c", str(self.config), *arguments]
        done = subprocess.run(
            command, capture_output=True, check=False, timeout=READY_SECONDS, env={**os.environ, "PATH": _path()}
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {(done.stdout + done.stderr).decode(errors='replace')}")
        return done.stdout

    def _stop(self) -> None:
        if self._master:
            self._master.terminate()
            try:
                self._master.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                # Its session is its process group, so this reaches its daemons and nothing else.
                os.killpg(self._master.pid, signal.SIGKILL)
                self._master.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def free_port() -> int:
    for _ in range(200):
        port = random.randrange(*PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")
