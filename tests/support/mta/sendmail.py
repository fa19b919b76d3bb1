"""A private Sendmail between the tests' SMTP client and their sink, with the filter under test as its milter.

Debian's sendmail packages, unpacked (not installed: they exclude Postfix) into a folder of the virtual environment by
scripts/bootstrap. It has its own configuration, queue and port on 127.0.0.1, runs in the foreground as our child, and
ends by its process id. A client's address is that of its end of the connection: anything in 127.0.0.0/8.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

from tests.support.mta.postfix import READY_SECONDS, STOP_SECONDS, free_port
from tests.support.mta.smtp_client import submit, wait_for_port

ROOT = Path(sys.prefix) / "sendmail"
BINARY = ROOT / "usr/libexec/sendmail/sendmail"
MACROS = ROOT / "usr/share/sendmail/cf"

# The line that conf/sendmail.mc gives to administrators comes from that file: {filter} is what a test puts in.
CONFIGURATION = """\
define(`_CF_DIR_', `{macros}/')dnl
include(`{macros}/m4/cf.m4')dnl
OSTYPE(`linux')dnl
define(`QUEUE_DIR', `{directory}/queue')dnl
define(`confPID_FILE', `{directory}/pid')dnl
define(`STATUS_FILE', `{directory}/statistics')dnl
define(`HELP_FILE', `/dev/null')dnl
define(`ALIAS_FILE', `')dnl
define(`confDOMAIN_NAME', `mx.test.example')dnl
define(`confCW_FILE', `-o /dev/null')dnl
define(`confCT_FILE', `-o /dev/null')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
define(`confTO_IDENT', `0')dnl
define(`confREFUSE_LA', `0')dnl
define(`confQUEUE_LA', `0')dnl
define(`confMAX_HEADERS_LENGTH', `1000000')dnl
define(`SMART_HOST', `relay:[127.0.0.1]')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {sink}')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`accept_unqualified_senders')dnl
FEATURE(`promiscuous_relay')dnl
FEATURE(`no_default_msa')dnl
DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port={port}')dnl
{filter}
MAILER(`local')dnl
MAILER(`smtp')dnl
"""


def missing_sendmail() -> str:
    """Why a private Sendmail cannot be run here; empty: it can."""
    if not BINARY.exists():
        return f"Sendmail is not unpacked in {ROOT}: scripts/bootstrap test does that"
    if not shutil.which("m4"):
        return "a configuration for Sendmail needs the package m4"
    return "" if os.geteuid() == 0 else "a private Sendmail needs root"


class SendmailServer:
    """Context manager. `line` is the INPUT_MAIL_FILTER line."""

    def __init__(self, line: str, *, sink_port: int) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="sendmail-test-"))
        self._text = CONFIGURATION.format(
            macros=MACROS, directory=self.directory, sink=sink_port, port=self.port, filter=line
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._write_configuration()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def submit(self, *, client_ip: str = "127.0.0.1", **message: object) -> tuple[int, str]:
        return submit(self.port, source=client_ip, **message)  # type: ignore[arg-type]

    def quarantined(self) -> dict[str, str]:
        """Queue id to reason, of the messages in quarantine: their control files begin with hf instead of qf."""
        found = {}
        for path in (self.directory / "queue").glob("hf*"):
            lines = path.read_text("utf-8", "replace").splitlines()
            found[path.name[2:]] = next((line[1:] for line in lines if line.startswith("q")), "")
        return found

    def queued_header(self, queue_id: str) -> str:
        """The header as it stands in a quarantined message's control file, flags (`H??`) taken off, unfolded."""
        text = (self.directory / "queue" / f"hf{queue_id}").read_text("utf-8", "replace")
        unfolded = text.replace("\n\t", " ").replace("\n ", " ")
        return "\n".join(line[3:] for line in unfolded.splitlines() if line.startswith("H??"))

    def _write_configuration(self) -> None:
        (self.directory / "queue").mkdir(mode=0o700)
        (self.directory / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        done = subprocess.run(["m4"], input=self._text.encode(), capture_output=True, check=True)
        (self.directory / "sendmail.cf").write_bytes(done.stdout)

    def _own_names(self) -> list[str]:
        """A host name with a dot in it and no DNS: for want of either, Sendmail waits for a minute when it starts.

        Where nothing can be mounted (in a chroot), the machine's DNS is asked, and should not be waited for.
        """
        inside = 'echo mx.test.example >/proc/sys/kernel/hostname && exec "$@"'
        if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
            return ["unshare", "--uts", "sh", "-c", inside, "sh"]
        mounting = f'mount --bind "$0" /etc/resolv.conf && {inside}'
        return ["unshare", "--mount", "--uts", "sh", "-c", mounting, str(self.directory / "resolv.conf")]

    def _start(self) -> None:
        with (self.directory / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [*self._own_names(), str(BINARY), "-C", str(self.directory / "sendmail.cf"), "-bD", "-q1s"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "RES_OPTIONS": "timeout:1 attempts:1"},
            )
        if not wait_for_port(self.port, timeout=READY_SECONDS):
            said = (self.directory / "output").read_text("utf-8", "replace")
            raise RuntimeError(f"the private Sendmail does not answer: {said}")
        time.sleep(0.1)
